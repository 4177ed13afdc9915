"""A mixture as p(z): its density for many components at once, and draws that cost one component each."""

import math
from collections.abc import Callable

import torch
from torch import Size, Tensor
from torch.distributions import Distribution, Independent, Normal, constraints


class MixturePrior(Distribution):
    """p(z) = sum_c pi_c p_c(z), batch [], event [D], from components with batch [C].

    Its draws have no gradient: which component is drawn does not move smoothly.
    """

    arg_constraints: dict[str, constraints.Constraint] = {}  # noqa: RUF012  # torch's own class attribute
    has_rsample = False

    def __init__(self, log_pi: Tensor, components: Distribution, pick: Callable[[Tensor], Distribution]) -> None:
        """`log_pi` [C] sums to one; `pick` gives the components of some labels [n], as a batch [n]."""
        super().__init__(torch.Size(), components.event_shape, validate_args=False)
        self.log_pi, self.components, self.pick = log_pi, components, pick

    @torch.no_grad()
    def sample(self, sample_shape: Size | list[int] | tuple[int, ...] = ()) -> Tensor:
        """Draws, [*sample_shape, D]."""
        count = math.prod(sample_shape)
        labels = torch.multinomial(self.log_pi.exp(), count, replacement=True)
        return self.pick(labels).sample().reshape(*sample_shape, *self.event_shape)

    def log_prob(self, value: Tensor) -> Tensor:
        """log p(z) for z [..., D], in nats."""
        return (self.log_pi + component_log_prob(self.components, value)).logsumexp(-1).to(value.dtype)

    @property
    def mean(self) -> Tensor:
        """E[z], [D]."""
        return torch.einsum("c,cd->d", self.log_pi.exp(), self.components.mean)

    @property
    def variance(self) -> Tensor:
        """Var z_j, [D]: within components, and between their means."""
        second = self.components.variance + (self.components.mean - self.mean).square()
        return torch.einsum("c,cd->d", self.log_pi.exp(), second)


def component_log_prob(components: Distribution, z: Tensor) -> Tensor:
    """log p_c(z) of every component, [..., C], for z [..., D].

    For diagonal normals |(z - mu) / sigma|^2 = z^2 sigma^-2 - 2 z mu sigma^-2 + mu^2 sigma^-2 as products of matrices,
    with no number held for each latent of each pair; in float64, because the three terms cancel.
    """
    if not (isinstance(components, Independent) and type(components.base_dist) is Normal):
        log_p: Tensor = components.log_prob(z.unsqueeze(-2))
        return log_p
    z, mu = z.double(), components.base_dist.loc.double()
    precision, log_sigma = components.base_dist.scale.double().pow(-2), components.base_dist.scale.double().log()
    square = z.square() @ precision.mT - 2 * z @ (mu * precision).mT + (mu.square() * precision).sum(-1)
    return -0.5 * square - log_sigma.sum(-1) - 0.5 * z.shape[-1] * math.log(2 * math.pi)
