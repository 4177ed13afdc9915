"""Families of p(z): modules, because a prior may be learned. Each gives p(z) from the model's own q(z | x)."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from elbo_cli.models.choices import Choices
from elbo_cli.models.flows import FlowNormal, Transforms
from elbo_cli.models.mixtures import MixturePrior
from elbo_cli.models.normals import normal, standard_normal

Encode = Callable[[Tensor], Distribution]  # x -> q(z | x); only a VampPrior looks at it


class StandardNormal(nn.Module):
    """N(0, I) on D latents."""

    zero: Tensor
    one: Tensor

    def __init__(self, D: int) -> None:
        super().__init__()
        self.register_buffer("zero", torch.zeros(D), persistent=False)
        self.register_buffer("one", torch.ones(D), persistent=False)

    def forward(self, posterior: Encode) -> Distribution:
        """p(z), event [D]."""
        return standard_normal(self.zero, self.one)


class NormalMixture(nn.Module):
    """A mixture of C diagonal normals; weights, means and standard deviations are learned."""

    def __init__(self, D: int, components: int) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(components))
        self.mu = nn.Parameter(torch.randn(components, D))
        self.log_sigma = nn.Parameter(torch.zeros(components, D))

    def forward(self, posterior: Encode) -> Distribution:
        """p(z) = sum_c pi_c N(z; mu_c, diag sigma_c^2)."""
        sigma = self.log_sigma.exp()
        components = normal(self.mu, sigma)
        return MixturePrior(self.logits.log_softmax(0), components, lambda c: normal(self.mu[c], sigma[c]))


class VampPrior(nn.Module):
    """The mixture of q(z | u_c) over learned pseudo-inputs u_c, points of the data's space.

    Tomczak and Welling (2018). https://arxiv.org/abs/1705.07120
    """

    log_pi: Tensor

    def __init__(self, pseudo_inputs: Tensor) -> None:
        super().__init__()
        C = len(pseudo_inputs)
        self.u = nn.Parameter(pseudo_inputs.clone())
        self.register_buffer("log_pi", torch.full((C,), 1 / C).log(), persistent=False)

    def forward(self, posterior: Encode) -> Distribution:
        """p(z) = 1/C sum_c q(z | u_c)."""
        return MixturePrior(self.log_pi, posterior(self.u), lambda c: posterior(self.u[c]))


class FlowPrior(nn.Module):
    """f(z) ~ N(0, I): the transforms run from z to noise, so that a density is one pass whatever their kind."""

    zero: Tensor
    one: Tensor

    def __init__(self, D: int, choices: Choices) -> None:
        super().__init__()
        self.register_buffer("zero", torch.zeros(D), persistent=False)
        self.register_buffer("one", torch.ones(D), persistent=False)
        self.transforms = Transforms(choices.flow, D, 0, choices.transforms, choices.flow_hidden)

    def forward(self, posterior: Encode) -> Distribution:
        """p(z) = N(f(z); 0, I) |df / dz|."""
        return FlowNormal(self.zero, self.one, self.transforms().inv, smooth=self.transforms.smooth)


def _vamp(D: int, choices: Choices) -> nn.Module:
    assert choices.pseudo_inputs is not None, "build gives a VampPrior its pseudo-inputs"
    return VampPrior(choices.pseudo_inputs)


PRIORS: dict[str, Callable[[int, Choices], nn.Module]] = {
    "standard_normal": lambda D, choices: StandardNormal(D),
    "mixture": lambda D, choices: NormalMixture(D, choices.components),
    "vamp": _vamp,
    "flow": FlowPrior,
}
