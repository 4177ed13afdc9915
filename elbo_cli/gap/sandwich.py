"""log p(x) between two certified bounds, on data simulated from the model: there an exact posterior draw is known."""

from collections.abc import Callable, Generator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from elbo_cli.bounds.curve import log_mean_exp
from elbo_cli.bounds.draws import LatentVariableModel
from elbo_cli.bounds.upper import certified_lower, certified_upper, with_exact
from elbo_cli.bounds.weights import WeightStream
from elbo_cli.errors import UserError, choose
from elbo_cli.estimates import estimate
from elbo_cli.gap.annealing.ais import counted, frozen
from elbo_cli.gap.annealing.annealer import Course, prepare
from elbo_cli.gap.annealing.starts import STARTS
from elbo_cli.gap.importance import Plan, latent_size, naming, weigh_tiles, weigher
from elbo_cli.gap.jobs import Job
from elbo_cli.gap.proposals.mixture import Mixture
from elbo_cli.gap.proposals.recipes import PROPOSALS, had
from elbo_cli.gap.settings import DATA_TILE, Settings
from elbo_cli.records import SandwichFindings, Tick
from elbo_cli.runtime import noise


@dataclass(frozen=True, slots=True)
class Simulated:
    """A block of data with the latents that they came from, each an exact draw of p(z | x)."""

    number: int  # of the block, of the noise
    z: Tensor  # [n, D]
    x: Tensor  # [n, ...], float32 as data are

    @property
    def index(self) -> Tensor:
        """Which of all simulated data they are, [n]."""
        return torch.arange(len(self.x)) + self.number * DATA_TILE


@dataclass(frozen=True, slots=True)
class Bounds:
    """Two bounds for each datum of a block, in nats, [n] float64; each is valid by itself, they may share draws."""

    lower: Tensor  # E[exp lower] = p(x)
    se_lower: Tensor  # Monte Carlo error within these data
    upper: Tensor  # E[exp -upper] = 1 / p(x)


Work = Generator[None, None, Bounds]


@dataclass(frozen=True, slots=True)
class Way:
    """A way to both bounds, settled before the first draw."""

    bound: Callable[[LatentVariableModel, Simulated], Work]
    units: int  # times that it yields for a block
    decodes: int  # decoder evaluations for each datum


def sandwich(
    model: LatentVariableModel, N: int, settings: Settings, method: str = "importance"
) -> Generator[Tick, None, SandwichFindings]:
    r"""Bounds on the mean log p(x) of N data simulated from the model, from below and from above; yields progress.

    z ~ p(z), x ~ p(x | z): then z is an exact draw of p(z | x). By importance sampling, with z_k ~ q(z | x),

        L_K = log 1/K sum_{k=1}^K w_k,    U_{K+1} = log 1/(K+1) (w_0 + sum_{k=1}^K w_k),    w_0 the exact draw's weight

    on the same K draws: each is valid by itself, and what they share makes their difference less noisy. By annealing,
    L is forward AIS from the start and U is AIS backwards from the exact draw (bidirectional Monte Carlo), with the
    steps of one tuning and noise of their own; `auto` then begins at the fitted normal alone, for here a mode that it
    missed shows as width. Either certificate takes half of delta, so that both hold together with 1 - delta.

    Args:
        model: the three distributions.
        N: how many data to simulate.
        settings: K (chains, if annealed), proposal, delta, temperatures, seed.
        method: `importance` or `ais`.

    Raises:
        UserError: there is no such method or proposal, or the model cannot draw data.
        RunError: a log-weight is NaN or +inf.

    Reference: Grosse et al. (2015), https://arxiv.org/abs/1511.02543; Brekelmans et al. (2022),
    https://arxiv.org/abs/2303.06992
    """
    if N < 1:
        raise UserError(f"A sandwich of {N} simulated data bounds nothing: give 1 or more, as 200.")
    if method == "importance":
        settings = replace(settings, proposal=had(settings.proposal, model, simulate(model, 1, 0, settings).x))
    way = choose(WAYS, method, "method of a sandwich")(settings, latent_size(model))
    total = -(-N // DATA_TILE) * way.units
    found = yield from counted(bounds(model, N, settings, way), total, "simulated data")
    return _found(found, settings, method, way.decodes)


def bounds(model: LatentVariableModel, N: int, settings: Settings, way: Way) -> Generator[None, None, list[Bounds]]:
    """Both bounds for N simulated data, block by block; `simulate` gives the same data again."""
    found = []
    with frozen(model):
        for number, index in enumerate(torch.split(torch.arange(N), DATA_TILE)):
            data = simulate(model, len(index), number, settings)
            with naming(index):
                found.append((yield from way.bound(model, data)))
    return found


@torch.no_grad()
def simulate(model: LatentVariableModel, n: int, number: int, settings: Settings) -> Simulated:
    """Block `number` of simulated data: n of them, with their latents.

    Raises:
        UserError: the prior or the likelihood cannot be drawn from.
    """
    with noise(settings.seed, "sandwich", number, device=settings.device):
        try:
            z = model.prior().sample(torch.Size([n]))
            x = model.likelihood(z).sample()
        except NotImplementedError as error:
            raise UserError(
                "A sandwich needs data simulated from the model, and its prior or its likelihood has no sample(). "
                "Give the distribution one, or leave --sandwich out."
            ) from error
    return Simulated(number, z, x.to(torch.float32))


def _by_importance(settings: Settings, D: int) -> Way:
    proposal = choose(PROPOSALS, settings.proposal, "proposal")
    plan = Plan(settings.K, proposal, settings.seed, settings.rows, settings.device)

    def bound(model: LatentVariableModel, data: Simulated) -> Work:
        x, n = data.x, len(data.x)
        with torch.no_grad(), noise(plan.seed, "sandwich", data.number, "proposal", device=plan.device):
            mixture = Mixture(proposal(model, x, model.posterior(x)))
        stream, job = WeightStream(plan.K, n), Job(data.number, plan.K, data.index)
        for log_w in weigh_tiles(model, x, mixture, plan.K, plan, job, "sandwich"):
            stream.add(log_w)
        with torch.no_grad():
            exact = weigher(model, x, mixture, plan.rows)(data.z.unsqueeze(0)).squeeze(0).cpu()
        weights = stream.summary()
        yield
        return Bounds(weights.log_px, weights.se_log_px, with_exact(weights.log_px, exact, plan.K + 1))

    return Way(bound, 1, proposal.decodes(D) + plan.K + 1)


def _by_annealing(settings: Settings, D: int) -> Way:
    course = Course.of(settings)
    if course.start is STARTS["auto"]:
        course = replace(course, start=STARTS["laplace"])

    def bound(model: LatentVariableModel, data: Simulated) -> Work:
        annealer = yield from prepare(model, data.x, data.number, course)
        forwards = annealer.summary((yield from annealer.forwards()))
        backwards = yield from annealer.backwards(data.z)
        return Bounds(forwards.log_px, forwards.se_log_px, -log_mean_exp(-backwards).cpu())

    return Way(bound, course.units(runs=2), course.decodes(D, runs=2))


WAYS: dict[str, Callable[[Settings, int], Way]] = {
    "importance": _by_importance,
    "ais": _by_annealing,
}


def _found(blocks: list[Bounds], settings: Settings, method: str, decodes: int) -> SandwichFindings:
    lower, upper = torch.cat([b.lower for b in blocks]), torch.cat([b.upper for b in blocks])
    se_lower = torch.cat([b.se_lower for b in blocks])
    N, half = len(lower), settings.delta / 2
    below = estimate(lower, se_lower)
    return SandwichFindings(
        examples=N,
        samples=settings.K,
        method=method,
        proposal=settings.proposal,
        lower=below,
        upper=estimate(upper),  # of one exact draw a datum
        width=estimate(upper - lower),
        log_px_at_least=certified_lower(below.mean, N, half),
        log_px_at_most=certified_upper(upper.mean().item(), N, half),
        delta=settings.delta,
        decodes=decodes,
    )
