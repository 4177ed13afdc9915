"""Where the draws behind L_K come from: any proposal that has not seen its draws keeps exp L_K unbiased."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import Distribution

from elbo_cli.bounds.draws import LatentVariableModel
from elbo_cli.errors import UserError
from elbo_cli.gap.proposals.laplace import LARGEST_LATENT, applies, laplace
from elbo_cli.gap.proposals.laplace import decodes as cost_of_laplace
from elbo_cli.gap.proposals.mixture import Component
from elbo_cli.gap.proposals.refine import decodes as cost_of_refined
from elbo_cli.gap.proposals.refine import refined_normal
from elbo_cli.gap.proposals.variational import decodes as cost_of_variational
from elbo_cli.gap.proposals.variational import variational
from elbo_cli.runtime import noise

Recipe = Callable[[LatentVariableModel, Tensor, Distribution], tuple[Component, ...]]
Around = Callable[[Distribution, Distribution, Distribution], tuple[Component, ...]]  # what was fitted, q, the prior


def posterior(model: LatentVariableModel, x: Tensor, qz_x: Distribution) -> tuple[Component, ...]:
    """The amortised q itself: the customary estimate, for comparison with papers."""
    return (Component(qz_x, 1.0),)


def defensive(model: LatentVariableModel, x: Tensor, qz_x: Distribution) -> tuple[Component, ...]:
    """q with a tenth of the prior: the weights are bounded by ten times p(x | z). Hesterberg (1995)."""
    return (Component(qz_x, 0.9), Component(model.prior(), 0.1))


def laplace_alone(model: LatentVariableModel, x: Tensor, qz_x: Distribution) -> tuple[Component, ...]:
    """A normal at the mode of each datum's posterior. For study: a mode that it missed stays unseen."""
    with noise(0, "applies", device=x.device):  # the question takes none of the fit's noise
        fits = applies(model, x, qz_x)
    if not fits:
        raise UserError(
            f"--proposal laplace does not apply to this model of {qz_x.event_shape.numel()} latents: it needs at most "
            f"{LARGEST_LATENT}, a likelihood of a family that is known here, and a decoder with derivatives. Type "
            "--proposal auto, or --proposal refined."
        )
    return alone(laplace(model, x, qz_x), qz_x, model.prior())


def alone(near: Distribution, qz_x: Distribution, pz: Distribution) -> tuple[Component, ...]:
    """What was fitted, and nothing else."""
    return (Component(near, 1.0),)


def defended(near: Distribution, qz_x: Distribution, pz: Distribution) -> tuple[Component, ...]:
    """What was fitted, with shares of q and of the prior."""
    return (Component(near, 0.86), Component(qz_x, 0.1), Component(pz, 0.04))


def auto(model: LatentVariableModel, x: Tensor, qz_x: Distribution) -> tuple[Component, ...]:
    """Mostly a normal fitted to the posterior, with shares of q and of the prior: what it missed shows as a weight.

    Where there is no such normal to be had (see `laplace.applies`), q with a share of the prior.
    """
    if not applies(model, x, qz_x):
        return defensive(model, x, qz_x)
    return defended(variational(model, x, qz_x), qz_x, model.prior())


def refined(model: LatentVariableModel, x: Tensor, qz_x: Distribution) -> tuple[Component, ...]:
    """Mostly a normal found by climbing each datum's own ELBO, which needs a gradient and no Fisher information."""
    return defended(refined_normal(model, x, qz_x), qz_x, model.prior())


@dataclass(frozen=True, slots=True)
class Proposal:
    """A way to make the draws: its recipe, what it costs for each datum, and whether it can be wrong in silence."""

    recipe: Recipe
    decodes: Callable[[int], int]  # D -> decoder evaluations before the first draw
    defended: bool  # holds a share that reaches what its main part may have missed; without one nothing is `resolved`
    quiet: bool = False  # draws nothing, where `laplace.draws_nothing` holds
    largest: float = math.inf  # D up to which it is tried unasked
    around: Around | None = None  # the components around what was fitted, where something is; that is the first

    def __call__(self, model: LatentVariableModel, x: Tensor, qz_x: Distribution) -> tuple[Component, ...]:
        """The components for data x [N, ...]."""
        return self.recipe(model, x, qz_x)


PROPOSALS: dict[str, Proposal] = {
    "auto": Proposal(auto, cost_of_variational, defended=True, quiet=True, around=defended),
    "posterior": Proposal(posterior, lambda D: 0, defended=False, quiet=True),
    "defensive": Proposal(defensive, lambda D: 0, defended=True, quiet=True),
    "laplace": Proposal(laplace_alone, cost_of_laplace, defended=False, quiet=True, around=alone),
    "refined": Proposal(refined, cost_of_refined, defended=True, largest=LARGEST_LATENT, around=defended),
}


def had(name: str, model: LatentVariableModel, x: Tensor) -> str:
    """What a proposal comes to for data x [N, ...]: `auto` is `defensive` where no normal can be fitted.

    The draws are the same under either name; what they cost, and what is said of them, is not.
    """
    if name != "auto":
        return name
    with torch.no_grad(), noise(0, "applies", device=x.device):
        return name if applies(model, x, model.posterior(x)) else "defensive"
