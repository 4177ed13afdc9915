"""q refined: the parameters of q(z | x) climb each datum's own ELBO, with no encoder in between."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.distributions import Distribution, MultivariateNormal

from elbo_cli.bounds.draws import LatentVariableModel, mean_and_spread
from elbo_cli.errors import UserError, choose
from elbo_cli.gap.proposals.ascent import JUDGES, Ascent, diagonal, full
from elbo_cli.gap.proposals.flow import flow
from elbo_cli.gap.proposals.own import own
from elbo_cli.gap.proposals.sight import feels
from elbo_cli.models.normals import FullNormal, normal
from elbo_cli.runtime import noise

STEPS = 48  # of the climb over full normals; D where that is more, for it learns D^2 numbers
DRAWS = 16  # to a step
PROPOSAL_STEPS = 24  # where q is only to draw from: half as far is near enough
INFLATE = 1.2  # of a proposal's covariance: the climb minimises KL(q || p), which is too narrow; weights want tails
GRADIENT = 3  # decodes that a value with its gradient costs


@dataclass(frozen=True, slots=True)
class Refined:
    """A q of its own for every datum, and what finding it cost."""

    distribution: Distribution  # batch [N], event [D]
    decodes: int  # decoder evaluations for each datum; a gradient counts as 3


@dataclass(frozen=True, slots=True)
class Begun:
    """Where the search of every family begins."""

    start: FullNormal  # q's own mean and spread
    whole: FullNormal  # the best full-covariance normal found


def refine(
    model: LatentVariableModel,
    x: Tensor,
    qz_x: Distribution,
    family: str,
    *,
    steps: int | None = None,
    draws: int = DRAWS,
    seed: int,
) -> Refined:
    r"""The q of a family that maximises the ELBO of each datum by itself.

        q* = argmax_q E_q[ log p(x, z) - log q(z) ],    for every x a q of its own

    Every family's search begins at a full-covariance normal that climbed first, and its end is held against its start
    on draws of their own. All of that noise is thrown away: the ELBO of q* on fresh draws is unbiased, and exp L_K
    with q* for a proposal is too.

    Args:
        model: the three distributions; the decoder needs a gradient.
        x: data, [N, ...].
        qz_x: where to begin, batch [N], event [D]; its mean and standard deviations are all that is used of it, and
            its covariance where it is a MultivariateNormal.
        family: `diagonal`, `full`, `flow`, or `own` for the family of an elbo model's q, whatever it is.
        steps: of the climb over full normals; null: 48, or D where that is more.
        draws: to a step, an even number.
        seed: of the search's noise.

    Raises:
        UserError: there is no such family, its package is not installed, or the decoder has no gradient.

    Reference: Cremer et al. (2018), https://arxiv.org/abs/1801.03558.
    """
    return refine_all(model, x, qz_x, (family,), steps=steps, draws=draws, seed=seed)[family]


@torch.no_grad()
def refine_all(
    model: LatentVariableModel,
    x: Tensor,
    qz_x: Distribution,
    families: Sequence[str],
    *,
    steps: int | None = None,
    draws: int = DRAWS,
    seed: int,
) -> dict[str, Refined]:
    """`refine` for several families at once: they share the search that each begins with."""
    assert draws in range(2, 2**20, 2), f"{draws} draws are not mirrored pairs"
    fits = {family: choose(FAMILIES, family, "family of q") for family in families}
    with noise(seed, "refine", device=x.device):
        start = moments(qz_x)
        _refuse_without_gradient(model, x, start.loc)
        ascent = Ascent(model, x, steps or max(STEPS, start.loc.shape[-1]), draws)
        begun = Begun(start, ascent.better(start, full(ascent, start)))
    found = {}
    for family, fit in fits.items():
        with noise(seed, "refine", family, device=x.device):
            refined = fit(ascent, begun)
        found[family] = replace(refined, decodes=GRADIENT + _cost(ascent) + refined.decodes)
    return found


def moments(qz_x: Distribution) -> FullNormal:
    """The normal with the mean and the standard deviations of q; with its covariance too where q is a full normal."""
    if isinstance(qz_x, MultivariateNormal):
        return FullNormal(qz_x.loc.detach(), qz_x.scale_tril.detach())
    mu, sigma = mean_and_spread(qz_x, JUDGES)
    return FullNormal(mu.detach().contiguous(), torch.diag_embed(sigma.detach()))  # a foreign mean may be expanded


def refined_normal(model: LatentVariableModel, x: Tensor, qz_x: Distribution) -> FullNormal:
    """The full normal nearest to each datum's posterior, a little inflated: a proposal for `PROPOSALS`.

    Draws its noise from the global generator, as proposals do. It wants a gradient of the decoder and nothing else.
    """
    seed = int(torch.randint(2**62, ()))
    q = refine(model, x, qz_x, "full", steps=_proposal_steps(qz_x.event_shape.numel()), seed=seed).distribution
    assert isinstance(q, FullNormal)
    return inflated(q)


def inflated(q: FullNormal) -> FullNormal:
    """q with its covariance times `INFLATE`."""
    return FullNormal(q.loc, q.scale_tril * INFLATE**0.5)


def decodes(D: int) -> int:
    """Decoder evaluations of `refined_normal` for each datum."""
    return GRADIENT + GRADIENT * _proposal_steps(D) * DRAWS + 2 * JUDGES


def _proposal_steps(D: int) -> int:
    return max(PROPOSAL_STEPS, D // 2)


def _refuse_without_gradient(model: LatentVariableModel, x: Tensor, z: Tensor) -> None:
    """Insist that the likelihood at z [N, D] can be differentiated: else every search would end at the prior."""
    if feels(model, x, z):
        return
    raise UserError(
        "q cannot be refined: the likelihood of this model has no gradient by z. Write likelihood(z) without detach, "
        "no_grad or numpy, or leave out what refines q: --split-gap, --proposal refined."
    )


def _cost(ascent: Ascent) -> int:
    """Decodes of a climb and of the comparison of its two ends."""
    return GRADIENT * ascent.steps * ascent.draws + 2 * JUDGES


def _diagonal(ascent: Ascent, begun: Begun) -> Refined:
    ascent = replace(ascent, steps=max(1, ascent.steps // 3))  # it begins close
    own = FullNormal(begun.start.loc, torch.diag_embed(begun.start.stddev))
    q = ascent.better(own, diagonal(ascent, begun.whole))
    return Refined(normal(q.loc, q.stddev), _cost(ascent))


def _full(ascent: Ascent, begun: Begun) -> Refined:
    return Refined(begun.whole, 0)


def _flow(ascent: Ascent, begun: Begun) -> Refined:
    ascent = replace(ascent, steps=8 * ascent.steps)  # Adam knows no curvature
    return Refined(flow(ascent, begun.whole), _cost(ascent))


def _own(ascent: Ascent, begun: Begun) -> Refined:
    ascent = replace(ascent, steps=6 * ascent.steps)
    return Refined(own(ascent), _cost(ascent))


Fit = Callable[[Ascent, Begun], Refined]

FAMILIES: dict[str, Fit] = {
    "diagonal": _diagonal,
    "full": _full,
    "flow": _flow,
    "own": _own,  # whatever family the model's q is of
}
