"""Where the draws behind L_K come from: any proposal that has not seen its draws keeps exp L_K unbiased."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import Distribution

from elbo_cli.bounds.draws import LatentVariableModel
from elbo_cli.gap.laplace import applies, laplace
from elbo_cli.gap.laplace import decodes as cost_of_laplace
from elbo_cli.gap.refine import decodes as cost_of_refined
from elbo_cli.gap.refine import refined_normal
from elbo_cli.gap.variational import decodes as cost_of_variational
from elbo_cli.gap.variational import variational


@dataclass(frozen=True, slots=True)
class Component:
    """One distribution of a mixture, with its share of the draws."""

    distribution: Distribution  # batch [N], or [] where it is one for all data; event [D]
    share: float


class Mixture:
    """A mixture over components, each draw weighed by the density of the whole: q(z) = sum_c s_c q_c(z).

    The draws are independent, and each weight is p(x, z) / q(z), so E[exp L_K] = p(x) whatever the components are.
    With a share s of the amortised q, no weight exceeds 1/s times the weight that q alone would have given it.

    Reference: Hesterberg (1995); Owen and Zhou (2000), safe and effective importance sampling.
    """

    def __init__(self, components: tuple[Component, ...]) -> None:
        total = sum(c.share for c in components)
        self.components = tuple(Component(c.distribution, c.share / total) for c in components)

    def sample(self, k: int, N: int) -> Tensor:
        """K draws for each of N data, [k, N, D]."""
        if len(self.components) == 1:
            return _sample(self.components[0].distribution, k, N)
        shares = torch.tensor([c.share for c in self.components])
        labels = torch.multinomial(shares, k * N, replacement=True).view(k, N)
        parts = [_picked(c.distribution, labels == i) for i, c in enumerate(self.components)]
        return torch.stack([part for part in parts if part is not None]).sum(0)

    def log_prob(self, z: Tensor) -> Tensor:
        """log q(z) at z [k, N, D], [k, N], in nats, float64."""
        parts = [c.distribution.log_prob(z).double() + math.log(c.share) for c in self.components]
        return torch.stack(parts).logsumexp(0) if len(parts) > 1 else parts[0]


def _sample(q: Distribution, k: int, N: int) -> Tensor:
    return q.sample(torch.Size((k,) if q.batch_shape else (k, N)))


def _picked(q: Distribution, here: Tensor) -> Tensor | None:
    """Draws of q where `here` [k, N] is true and zeros elsewhere, [k, N, D]; as many as the fullest datum needs."""
    most = int(here.sum(0).max())
    if most == 0:
        return None
    z = _sample(q, most, here.shape[1])
    here = here.to(z.device)
    rank = (here.cumsum(0) - 1).clamp(min=0)
    return torch.where(here.unsqueeze(-1), z.gather(0, rank.unsqueeze(-1).expand(*rank.shape, z.shape[-1])), 0.0)


Recipe = Callable[[LatentVariableModel, Tensor, Distribution], tuple[Component, ...]]


def posterior(model: LatentVariableModel, x: Tensor, qz_x: Distribution) -> tuple[Component, ...]:
    """The amortised q itself: the customary estimate, for comparison with papers."""
    return (Component(qz_x, 1.0),)


def defensive(model: LatentVariableModel, x: Tensor, qz_x: Distribution) -> tuple[Component, ...]:
    """q with a tenth of the prior: the weights are bounded by ten times p(x | z). Hesterberg (1995)."""
    return (Component(qz_x, 0.9), Component(model.prior(), 0.1))


def laplace_alone(model: LatentVariableModel, x: Tensor, qz_x: Distribution) -> tuple[Component, ...]:
    """A normal at the mode of each datum's posterior. For study: a mode that it missed stays unseen."""
    return (Component(laplace(model, x, qz_x), 1.0),)


def auto(model: LatentVariableModel, x: Tensor, qz_x: Distribution) -> tuple[Component, ...]:
    """Mostly a normal fitted to the posterior, with shares of q and of the prior: what it missed shows as a weight.

    Where there is no such normal to be had (see `laplace.applies`), q with a share of the prior.
    """
    if not applies(model, qz_x):
        return defensive(model, x, qz_x)
    return (Component(variational(model, x, qz_x), 0.86), Component(qz_x, 0.1), Component(model.prior(), 0.04))


def refined(model: LatentVariableModel, x: Tensor, qz_x: Distribution) -> tuple[Component, ...]:
    """Mostly a normal found by climbing each datum's own ELBO, which needs a gradient and no Fisher information."""
    best = refined_normal(model, x, qz_x)
    return (Component(best, 0.86), Component(qz_x, 0.1), Component(model.prior(), 0.04))


@dataclass(frozen=True, slots=True)
class Proposal:
    """A way to make the draws: its recipe, what it costs for each datum, and whether it can be wrong in silence."""

    recipe: Recipe
    decodes: Callable[[int], int]  # D -> decoder evaluations before the first draw
    defended: bool  # holds a share that reaches what its main part may have missed; without one nothing is `resolved`

    def __call__(self, model: LatentVariableModel, x: Tensor, qz_x: Distribution) -> tuple[Component, ...]:
        """The components for data x [N, ...]."""
        return self.recipe(model, x, qz_x)


PROPOSALS: dict[str, Proposal] = {
    "auto": Proposal(auto, cost_of_variational, defended=True),
    "posterior": Proposal(posterior, lambda D: 0, defended=False),
    "defensive": Proposal(defensive, lambda D: 0, defended=True),
    "laplace": Proposal(laplace_alone, cost_of_laplace, defended=False),
    "refined": Proposal(refined, cost_of_refined, defended=True),
}
