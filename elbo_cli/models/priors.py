"""Families of p(z): modules, because a prior may be learned."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from elbo_cli.models.posteriors import normal


class StandardNormal(nn.Module):
    """N(0, I) on D latents."""

    zero: Tensor
    one: Tensor

    def __init__(self, D: int) -> None:
        super().__init__()
        self.register_buffer("zero", torch.zeros(D), persistent=False)
        self.register_buffer("one", torch.ones(D), persistent=False)

    def forward(self) -> Distribution:
        """p(z), event [D]."""
        return normal(self.zero, self.one)


PRIORS: dict[str, Callable[[int], nn.Module]] = {
    "standard_normal": StandardNormal,
}
