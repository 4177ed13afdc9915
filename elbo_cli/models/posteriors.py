"""Families of q(z | x): how many numbers the encoder gives for D latents, and the distribution made of them."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor
from torch.distributions import Distribution, Independent, Normal


def normal(mu: Tensor, sigma: Tensor) -> Distribution:
    """A diagonal normal N(mu, sigma^2), event [D]. Unchecked: a NaN is found where it can be named."""
    return Independent(Normal(mu, sigma, validate_args=False), 1, validate_args=False)


def diagonal_normal(parameters: Tensor) -> Distribution:
    """N(mu, diag sigma^2) from [..., 2 D]: mu, then log sigma."""
    mu, log_sigma = parameters.chunk(2, dim=-1)
    return normal(mu, log_sigma.exp())


@dataclass(frozen=True, slots=True)
class Posterior:
    """A family of q(z | x)."""

    size: Callable[[int], int]  # D -> how many numbers the encoder gives
    distribution: Callable[[Tensor], Distribution]  # [..., size] -> batch [...], event [D]


POSTERIORS: dict[str, Posterior] = {
    "diagonal_normal": Posterior(lambda D: 2 * D, diagonal_normal),
}
