"""Importance sampling in tiles, a block of data by some draws, with noise that is each datum's own."""

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from itertools import islice

import torch
from torch import Tensor
from torch.distributions import Distribution

from elbo_cli.bounds.draws import Draws, LatentVariableModel, log_likelihood
from elbo_cli.bounds.weights import WeightStream, WeightSummary
from elbo_cli.data.split import Split
from elbo_cli.errors import RunError, choose
from elbo_cli.gap.findings import Weighed, findings
from elbo_cli.gap.fits import Fits
from elbo_cli.gap.jobs import Job, blocks, exchanged, gathered
from elbo_cli.gap.proposals.laplace import draws_nothing
from elbo_cli.gap.proposals.mixture import Mixture
from elbo_cli.gap.proposals.recipes import PROPOSALS, Proposal, posterior
from elbo_cli.gap.settings import CPU, DATA_TILE, DRAW_TILE, Settings
from elbo_cli.gap.streams import Streams
from elbo_cli.models.vae import VAE
from elbo_cli.ranks import ranks
from elbo_cli.records import GapFindings, Tick
from elbo_cli.runtime import abreast, noise, single_threaded

TOGETHER = 64  # blocks of data whose weights are kept as one
ELBO_DRAWS = 64  # of q for the ELBO, where log p(x) has another proposal: the spread over data outweighs the rest


@dataclass(frozen=True, slots=True)
class Plan:
    """What is settled before the first draw, because the guarantee needs it settled."""

    K: int
    proposal: Proposal
    seed: int
    rows: int = DATA_TILE * DRAW_TILE  # decoder rows computed at once: memory, not the answer
    device: torch.device = CPU
    elbo: bool = True  # whether anybody will look at the ELBO
    fits: Fits | None = None  # what was fitted to each datum before, and is to be kept
    abreast: int = 1  # tiles weighed at a time; no bit depends on it


def weigh_block(model: LatentVariableModel, x: Tensor, job: Job, plan: Plan) -> Weighed:
    """The weights of a block of data; the noise of each depends on the seed and its place in the split alone.

    Args:
        model: the three distributions.
        x: the block's data, [n, ...], n <= DATA_TILE.
        job: which data of the split they are.
        plan: K, proposal, seed.

    Raises:
        RunError: a log-weight is NaN or +inf; the sentence names the datum.
    """
    with naming(job.index):
        qz_x, mixture = proposed(model, x, job, plan)
        proposal = summarise(model, x, mixture, plan.K, plan, job, "draws")
        if plan.proposal.recipe is posterior or not plan.elbo:
            return Weighed(job.index, proposal, proposal)
        own = Mixture(posterior(model, x, qz_x))
        return Weighed(job.index, proposal, summarise(model, x, own, min(plan.K, ELBO_DRAWS), plan, job, "elbo"))


def proposed(model: LatentVariableModel, x: Tensor, job: Job, plan: Plan) -> tuple[Distribution, Mixture]:
    """q and the proposal; outside `noise`, where others may work beside it, if both are known to draw nothing."""
    if plan.proposal.quiet and isinstance(model, VAE):
        qz_x = model.posterior(x)
        if draws_nothing(model, qz_x):
            return qz_x, _fitted(model, x, qz_x, job, plan)
    with noise(plan.seed, "gap", job.number, "proposal", device=plan.device):
        qz_x = model.posterior(x)
        return qz_x, _fitted(model, x, qz_x, job, plan)


def _fitted(model: LatentVariableModel, x: Tensor, qz_x: Distribution, job: Job, plan: Plan) -> Mixture:
    """The proposal, made of what was fitted before where that was kept; else fitted now, and kept."""
    around, fits = plan.proposal.around, plan.fits
    if around is None or fits is None:
        return Mixture(plan.proposal(model, x, qz_x))
    near = fits.near(job.index)
    if near is not None:
        return Mixture(around(near, qz_x, model.prior()))
    mixture = Mixture(plan.proposal(model, x, qz_x))
    first = mixture.components[0].distribution
    if first is not qz_x:  # else there was nothing to be fitted
        fits.keep(job.index, first)
    return mixture


@contextmanager
def naming(index: Tensor) -> Iterator[None]:
    """Say among which data of the split a number failed.

    Raises:
        RunError: in the place of an ArithmeticError, or of a covariance that cannot be factored.
    """
    among = f"Among data {int(index.min())} to {int(index.max())}:"
    try:
        yield
    except ArithmeticError as error:
        raise RunError(f"{among} {error} The model gives no finite number here.") from error
    except torch.linalg.LinAlgError as error:  # type: ignore[attr-defined]  # its documented name
        raise RunError(f"{among} a covariance is not positive definite. The model gives no density here.") from error


def summarise(
    model: LatentVariableModel, x: Tensor, mixture: Mixture, K: int, plan: Plan, job: Job, name: str
) -> WeightSummary:
    """The summary of K draws of a mixture for a block's data x [n, ...]; see `weigh_tiles`."""
    stream = WeightStream(K, len(x))
    for log_w in weigh_tiles(model, x, mixture, K, plan, job, name):
        stream.add(log_w)
    return stream.summary()


@torch.no_grad()
def weigh_tiles(
    model: LatentVariableModel, x: Tensor, mixture: Mixture, K: int, plan: Plan, job: Job, name: str
) -> Iterator[Tensor]:
    """log w of K draws, in the order of the draws, [k, n] at a time: as many tiles as `plan.rows` has room for."""
    together = max(1, plan.rows // (DRAW_TILE * len(x)))
    tiles = _joined(tiles_of_draws(mixture, K, plan, job, name), together)
    yield from abreast(weigher(model, x, mixture, plan.rows), tiles, plan.abreast)


def _joined(tiles: Iterator[Tensor], together: int) -> Iterator[Tensor]:
    """Some tiles as one."""
    while pieces := list(islice(tiles, together)):
        yield torch.cat(pieces) if len(pieces) > 1 else pieces[0]


def tiles_of_draws(mixture: Mixture, K: int, plan: Plan, job: Job, name: str) -> Iterator[Tensor]:
    """K draws of a mixture for each datum of a block, [<= DRAW_TILE, n, D] at a time.

    Each datum has noise of its own (`Streams`). Of a family that is not known as a function of noise, the block is
    drawn together, and each tile's noise is its own, by block, name and first draw.
    """
    made, sizes = mixture.from_noise(), [min(DRAW_TILE, K - first) for first in range(0, K, DRAW_TILE)]
    if made is not None:
        yield from map(Streams(plan.seed, name, job.index, made).draw, sizes)
        return
    for number, size in enumerate(sizes):
        with noise(plan.seed, "gap", job.number, name, number * DRAW_TILE, device=plan.device):
            z = mixture.sample(size, len(job.index))
        yield z


def weigher(
    model: LatentVariableModel, x: Tensor, proposal: Mixture | Distribution, rows: int
) -> Callable[[Tensor], Tensor]:
    """log w = log p(x, z) - log q(z), [K, N] float64, of z [K, N, D], decoding at most about `rows` rows at a time."""
    log_px, log_pz = log_likelihood(model, x), model.prior().log_prob

    def weigh(z: Tensor) -> Tensor:
        pieces = torch.split(z, max(1, rows // len(x)))
        return torch.cat([Draws(z, log_px(z), log_pz(z), proposal.log_prob(z)).log_w for z in pieces])

    return weigh


def importance(model: LatentVariableModel, split: Split, settings: Settings) -> Generator[Tick, None, GapFindings]:
    """L_K from K draws of the proposal for every datum; yields progress, returns the findings.

    Ranks share the blocks of data out and tell each other what they weighed: the findings are the same on each.

    Raises:
        RunError: a log-weight is NaN or +inf.
        UserError: there is no such proposal.
    """
    jobs = [Job(number, settings.K, index) for number, index in enumerate(blocks(len(split)))]
    together = TOGETHER if ranks().size == 1 else 1  # others are told block by block
    own = yield from weigh_blocks(model, split, settings, jobs[ranks().strided], together)
    return conclude(exchanged(own, jobs, alike(settings)), latent_size(model), settings)


def weigh_blocks(
    model: LatentVariableModel, split: Split, settings: Settings, jobs: Sequence[Job], together: int = 1
) -> Generator[Tick, None, list[Weighed]]:
    """The weights of some blocks of data, of which others may weigh the rest; as many kept as one as `together`."""
    plan, done, total = plan_of(settings), 0, sum(len(job.index) for job in jobs)
    weighed: list[Weighed] = []
    some: list[Weighed] = []
    for job, each in zip(jobs, weigh_jobs(model, split, jobs, lambda job: plan), strict=True):
        some.append(each)
        if len(some) == together or job is jobs[-1]:
            weighed.append(gathered(some, alike(settings)) if len(some) > 1 else each)
            some = []
        done += len(job.index)
        yield Tick(done=done, total=total, what="importance sampling")
    return weighed


def weigh_jobs(
    model: LatentVariableModel, split: Split, jobs: Sequence[Job], plan: Callable[[Job], Plan]
) -> Iterator[Weighed]:
    """The weights of each job's data, with all threads at work where the model is one that allows it.

    As many whole blocks are weighed at a time as there are threads; of those that are left, fewer or short, one at a
    time with several of its tiles abreast. Each tile is computed by one thread: no bit depends on how many there are.
    """
    n = workers(model, split.device)
    whole = sum(len(job.index) == DATA_TILE for job in jobs) // n * n

    def weigh(job: Job, tiles: int = 1) -> Weighed:
        return weigh_block(model, split.batch(job.index), job, replace(plan(job), abreast=tiles))

    yield from abreast(weigh, jobs[:whole], n)
    with single_threaded() if n > 1 else nullcontext():
        yield from (weigh(job, n) for job in jobs[whole:])


def workers(model: LatentVariableModel, device: torch.device) -> int:
    """How much may be weighed at a time: as much as there are threads, for a plain VAE on the CPU; else one piece.

    Of other models nobody knows whether they may be asked by two threads at once.
    """
    plain = isinstance(model, VAE) and model.eta_layers() is not None
    return torch.get_num_threads() if plain and device.type == "cpu" else 1


def conclude(weighed: Sequence[Weighed], D: int, settings: Settings) -> GapFindings:
    """The findings, from the weights of all data of a model with D latents, wherever they were weighed."""
    plan = plan_of(settings)
    defended = plan.proposal.defended
    found = findings(weighed, defended=defended, delta=settings.delta, tolerance=settings.tolerance)
    return replace(found, proposal=settings.proposal, decodes=decodes(plan, D))


def plan_of(settings: Settings) -> Plan:
    """The plan that the settings ask for.

    Raises:
        UserError: there is no such proposal.
    """
    proposal = choose(PROPOSALS, settings.proposal, "proposal")
    return Plan(settings.K, proposal, settings.seed, settings.rows, settings.device)


def alike(settings: Settings) -> bool:
    """Whether ELBO and log p(x) are of the same draws."""
    return plan_of(settings).proposal.recipe is posterior


def decodes(plan: Plan, D: int) -> int:
    """Decoder evaluations for each datum: the proposal's own, K draws, and q's draws for the ELBO."""
    own = 0 if plan.proposal.recipe is posterior or not plan.elbo else min(plan.K, ELBO_DRAWS)
    return plan.proposal.decodes(D) + plan.K + own


def latent_size(model: LatentVariableModel) -> int:
    """D, the number of latents."""
    return model.prior().event_shape.numel()
