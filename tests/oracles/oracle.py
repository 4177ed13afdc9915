"""What every oracle is: a model of three distributions, of which log p(x) is known without sampling."""

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, Normal

from elbo_cli.runtime import noise

DTYPE = torch.float64


def diagonal_normal(loc: Tensor, sd: Tensor | float) -> Independent:
    """N(loc, diag sd^2), event [D]."""
    return Independent(Normal(loc, sd, validate_args=False), 1, validate_args=False)


def independent(pixels: Distribution) -> Independent:
    """Pixels that are independent given z: the last axis becomes the event."""
    return Independent(pixels, 1, validate_args=False)


class Oracle(ABC):
    """A latent-variable model with prior N(0, I) in `latent_dim` dimensions and known log p(x), all in float64."""

    latent_dim: int

    def prior(self) -> Distribution:
        """p(z) = N(0, I), event [D]."""
        return diagonal_normal(torch.zeros(self.latent_dim, dtype=DTYPE), 1.0)

    @abstractmethod
    def posterior(self, x: Tensor) -> Distribution:
        """q(z | x), batch [N], event [D]: the amortised one, as good or as bad as the case wants it."""

    @abstractmethod
    def likelihood(self, z: Tensor) -> Distribution:
        """p(x | z) for z [D], [N, D] or [K, N, D]."""

    @abstractmethod
    def log_px(self, x: Tensor) -> Tensor:
        """log p(x) in nats, [N], exact."""

    def simulate(self, N: int, seed: int = 0) -> tuple[Tensor, Tensor]:
        """z ~ p(z) [N, D] and x ~ p(x | z) [N, P]: each z is an exact draw of p(z | x)."""
        with noise(seed, "oracle", type(self).__name__):
            z = self.prior().sample((N,))
            return z, self.likelihood(z).sample()

    def data(self, N: int, seed: int = 0) -> Tensor:
        """The x [N, P] that the case is about: simulated, unless the case needs particular ones."""
        return self.simulate(N, seed)[1]


class GapOracle(Oracle):
    """An oracle whose ELBO is known too, and with it the gap."""

    @abstractmethod
    def elbo(self, x: Tensor) -> Tensor:
        """The ELBO of `posterior` in nats, [N], without sampling."""

    def gap(self, x: Tensor) -> Tensor:
        """KL( q(z | x) || p(z | x) ) = log p(x) - ELBO, [N]."""
        return self.log_px(x) - self.elbo(x)


class WithPosterior(Oracle):
    """The same model with any other q(z | x): its log p(x) stays, what was known of its ELBO does not."""

    def __init__(self, model: Oracle, encoder: Callable[[Tensor], Distribution]) -> None:
        self.model, self.encoder, self.latent_dim = model, encoder, model.latent_dim

    def posterior(self, x: Tensor) -> Distribution:
        return self.encoder(x)

    def likelihood(self, z: Tensor) -> Distribution:
        return self.model.likelihood(z)

    def log_px(self, x: Tensor) -> Tensor:
        return self.model.log_px(x)

    def simulate(self, N: int, seed: int = 0) -> tuple[Tensor, Tensor]:
        return self.model.simulate(N, seed)

    def data(self, N: int, seed: int = 0) -> Tensor:
        return self.model.data(N, seed)


class Silent(Distribution):
    """A density that cannot be drawn from, of a family that nobody knows."""

    arg_constraints: dict[str, object] = {}  # noqa: RUF012

    def __init__(self, inner: Distribution) -> None:
        super().__init__(inner.batch_shape, inner.event_shape, validate_args=False)
        self.inner = inner

    def log_prob(self, value: Tensor) -> Tensor:
        return self.inner.log_prob(value)


def kl_to_standard_normal(loc: Tensor, var: Tensor) -> Tensor:
    """KL( N(loc, diag var) || N(0, I) ) for each coordinate, in nats."""
    return 0.5 * (var + loc.square() - 1 - var.log())
