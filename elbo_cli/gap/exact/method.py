"""`--method exact`: log p(x), the ELBO and the gap without sampling, where the model is of a kind that allows it."""

import copy
import math
from collections.abc import Callable, Generator

import torch
from torch import Tensor

from elbo_cli.bounds.draws import LatentVariableModel
from elbo_cli.data.split import Split
from elbo_cli.errors import RunError, UserError
from elbo_cli.gap.exact.closed_form import ROUNDING, knows, linear_gaussian
from elbo_cli.gap.exact.findings import Elbo, Found, findings
from elbo_cli.gap.exact.integrands import (
    CUT,
    Bound,
    Density,
    Evidence,
    Frame,
    Joint,
    location_and_scale,
    smooth,
    summable,
)
from elbo_cli.gap.exact.lattice import Lattice
from elbo_cli.gap.exact.quadrature import GOAL, integrate
from elbo_cli.gap.settings import DATA_TILE, DRAW_TILE, Settings
from elbo_cli.models.vae import VAE
from elbo_cli.records import GapFindings, Tick
from elbo_cli.runtime import noise

CLOSED_FORM, TRAPEZOID = "closed form", "trapezoid"
BLOCK = 128  # data to a block: the more, the more often the same point of the grid serves several of them
ELBO_DRAWS = 1000  # of q, for the ELBO of a q over more latents that is not normal
LARGEST_LATENT = 2  # a grid over more would have millions of points

REACH, REACH_Q = 8.0, 6.0  # standard deviations, where the search begins; it goes on as far as there is anything

# Steps in standard deviations of the prior: what p(x) is searched with before its mass leads the way. A bump of log
# p(x | z) that is a quarter of a step wide still shows in the differences between the grids.
EVIDENCE = {1: Lattice(1, side=64, step=1 / 64), 2: Lattice(2, side=8, step=1 / 8)}
# Under q the unit is the prior's, halved until it is at most 3/4 of q's, so that data whose q are alike share a grid;
# and HALVED times in any case: the step is then no longer than the other.
BOUND = {1: Lattice(1, side=16, step=1 / 2), 2: Lattice(2, side=8, step=1 / 2)}
HALVED, FITTING = {1: 5, 2: 2}, 0.75


def applies(model: LatentVariableModel, x: Tensor) -> str | None:
    """Which exact method there is for a model: `closed form`, `trapezoid` or None.

    Args:
        model: the three distributions.
        x: one or more data, [N, ...], to see how the likelihood takes them.
    """
    model = _precise(model)
    if linear_gaussian(model) is not None:
        return CLOSED_FORM
    return TRAPEZOID if _integrable(model, _taken(model, x[:2])) else None


def exact(model: LatentVariableModel, split: Split, settings: Settings) -> Generator[Tick, None, GapFindings]:
    """Log p(x) and gap of every datum without sampling; yields progress, returns the findings.

    elbo's own networks are evaluated in float64.

    Raises:
        UserError: there is no exact method for this model.
        RunError: the model gives no finite number.
    """
    rule = applies(model, next(split.blocks(2)))
    if rule is None:
        raise UserError(
            f"--method exact does not apply to this model of {_latents(model)} latents: it needs a linear decoder, a "
            f"gaussian likelihood and a standard_normal prior, or at most {LARGEST_LATENT} latents and a smooth prior. "
            "Type --method importance."
        )
    model = _precise(model)
    method = METHODS[rule]
    blocks: list[Found] = []
    done = 0
    for number, x in enumerate(split.blocks(BLOCK)):
        with torch.no_grad(), noise(settings.seed, "exact", number, device=settings.device):
            blocks.append(method(model, _taken(model, x), settings, done))
        done += len(x)
        yield Tick(done=done, total=len(split), what=f"exact ({rule})")
    return findings(Found.joined(blocks), rule, settings)


def _precise(model: LatentVariableModel) -> LatentVariableModel:
    """The model in float64, where it is elbo's own: a copy, whose rounding cannot be seen."""
    return copy.deepcopy(model).double() if isinstance(model, VAE) else model


def _taken(model: LatentVariableModel, x: Tensor) -> Tensor:
    """The data in the type that the model's networks take."""
    return x.to(next(model.parameters()).dtype) if isinstance(model, VAE) else x


def _latents(model: LatentVariableModel) -> str:
    return " x ".join(map(str, model.prior().event_shape)) or "1"


@torch.no_grad()
def _integrable(model: LatentVariableModel, x: Tensor) -> bool:
    """Whether p(z) is a density over one or two latents that a grid holds, and p(x | z) a function of z and of x.

    The prior's own integral must come out as 1. That refuses what is no density over the plane (whole-numbered
    latents, those within bounds) and tails too heavy for any grid.
    """
    try:
        pz, shape = model.prior(), model.prior().event_shape
        if len(shape) != 1 or shape[0] > LARGEST_LATENT or pz.batch_shape or model.posterior(x).event_shape != shape:
            return False
        with noise(0, "exact", "applies", device=x.device):
            z, joint = pz.sample(torch.Size([64])), Joint(model, x, rows=DATA_TILE * DRAW_TILE)
        if (z == z.round()).all() or not _well_defined(joint, shape[0]):
            return False
        mass = integrate(Density(lambda data: pz, joint.prior, CUT), *_everywhere(shape[0], 1), 1)
    except (NotImplementedError, RuntimeError, ValueError, RunError):
        return False
    return bool(mass.value.abs() + mass.error < 2 * GOAL + 1e3 * torch.finfo(joint.prior.centre.dtype).eps)


def _well_defined(joint: Joint, D: int) -> bool:
    """Whether p(x, z) is a number out to the rim of the grid, and the same at every call.

    A decoder that draws noise of its own has no integral.
    """
    z = joint.prior.z(torch.cartesian_prod(*[torch.linspace(-REACH, REACH, 9)] * D).view(-1, 1, D).double())
    everyone = torch.arange(len(joint.x))
    return torch.equal(joint(z, everyone), joint(z, everyone))


def _closed_form(model: LatentVariableModel, x: Tensor, settings: Settings, first: int) -> Found:
    """A block of a linear-Gaussian model: all of it in closed form, if q is normal; else all but the ELBO."""
    truth, qz_x, flat = linear_gaussian(model), model.posterior(x), summable(x).flatten(1)
    assert truth is not None, "a model of which applies() says that it is linear-Gaussian"
    log_px, size = truth.log_px(flat)
    if not knows(qz_x):
        elbo = _elbo(Joint(model, x, settings.rows, first))
        return Found.of(log_px, elbo, gap=log_px - elbo.value, error=ROUNDING * size)
    gap, size_of_gap = truth.gap(flat, qz_x)
    elbo = Elbo(log_px - gap, ROUNDING * size_of_gap)
    return Found.of(log_px, elbo, gap=gap, error=ROUNDING * size, least_gap=truth.approximation_gap(qz_x))


def _trapezoid(model: LatentVariableModel, x: Tensor, settings: Settings, first: int) -> Found:
    """A block of a model of one or two latents, by the trapezoid rule."""
    joint, N = Joint(model, x, settings.rows, first), len(x)
    found = integrate(Evidence(joint), *_everywhere(model.prior().event_shape[0], N), N)
    elbo = _elbo(joint)
    gap = (found.value - elbo.value).clamp(min=0.0)
    return Found.of(found.value, elbo, gap=gap, error=_stated(found.error), step=found.step, decodes=joint.decoded / N)


def _everywhere(D: int, N: int) -> tuple[Lattice, Tensor]:
    """The grid for p(x), and all of where the prior is for each of N data."""
    reach = torch.full((N, D), REACH)
    return EVIDENCE[D], EVIDENCE[D].covering(-reach, reach)


def _elbo(joint: Joint) -> Elbo:
    """The ELBO of a block: by the trapezoid rule, or from draws of a q that has kinks or more than two latents."""
    qz_x, N, D = joint.qz_x, len(joint.x), joint.qz_x.event_shape[0]
    if D > LARGEST_LATENT or not smooth(qz_x):
        z = qz_x.sample(torch.Size([ELBO_DRAWS]))
        log_w = joint(z, torch.arange(N)) - summable(qz_x.log_prob(z))
        return Elbo(log_w.mean(0), torch.zeros(N).double(), log_w.std(0) / math.sqrt(ELBO_DRAWS))
    loc, scale = (summable(part) for part in location_and_scale(qz_x))
    halvings = (summable(joint.prior.scale) / (FITTING * scale)).log2().ceil().clamp(min=HALVED[D])
    elbo = Elbo(torch.full((N,), math.nan).double(), torch.full((N,), math.inf).double())
    for group in torch.unique(halvings, dim=0):
        members = (halvings == group).all(1).nonzero().squeeze(1)
        frame = Frame(joint.prior.centre, joint.prior.scale * (0.5**group).to(joint.prior.scale))
        elbo.value[members], elbo.error[members] = _bound(joint, frame, members, loc[members], scale[members])
    return elbo


def _bound(joint: Joint, frame: Frame, members: Tensor, loc: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """The ELBO of some data and its error, over the frame that fits their q."""
    bound, lattice, N = Bound(joint, frame), BOUND[loc.shape[1]], len(joint.x)
    centre, unit = summable(frame.centre), summable(frame.scale)
    seeds = lattice.covering((loc - REACH_Q * scale - centre) / unit, (loc + REACH_Q * scale - centre) / unit)
    seeds[:, 0] = members[seeds[:, 0]]
    mass, found = integrate(bound.q, lattice, seeds, N), integrate(bound, lattice, seeds, N)
    # a part of q that the grid has not seen, or a log_prob that is no density's, shows in q's own integral
    lost = torch.expm1(mass.value).abs() + mass.error
    return found.value[members], (_stated(found.error) + lost * (1 + found.value.abs()))[members]


def _stated(error: Tensor) -> Tensor:
    """No grid's error is stated as less than what grids are refined to, however small it may seem."""
    return error.clamp(min=GOAL)


METHODS: dict[str, Callable[[LatentVariableModel, Tensor, Settings, int], Found]] = {
    CLOSED_FORM: _closed_form,
    TRAPEZOID: _trapezoid,
}
