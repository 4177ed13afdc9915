"""Importance sampling in tiles: a fixed block of data by a fixed block of draws, each with noise of its own."""

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.distributions import Distribution

from elbo_cli.bounds.draws import Draws, LatentVariableModel, weigh
from elbo_cli.bounds.weights import WeightStream, WeightSummary
from elbo_cli.data.split import Split
from elbo_cli.errors import RunError, choose
from elbo_cli.gap.findings import Weighed, findings
from elbo_cli.gap.jobs import Job, blocks, exchanged
from elbo_cli.gap.proposals.laplace import draws_nothing
from elbo_cli.gap.proposals.mixture import Mixture
from elbo_cli.gap.proposals.recipes import PROPOSALS, Proposal, posterior
from elbo_cli.gap.settings import CPU, DATA_TILE, DRAW_TILE, Settings
from elbo_cli.models.vae import VAE
from elbo_cli.records import GapFindings, Tick
from elbo_cli.runtime import abreast, noise, ranks

ELBO_DRAWS = 64  # of q for the ELBO, where log p(x) has another proposal: the spread over data outweighs the rest


@dataclass(frozen=True, slots=True)
class Plan:
    """What is settled before the first draw, because the guarantee needs it settled."""

    K: int
    proposal: Proposal
    seed: int
    rows: int = DATA_TILE * DRAW_TILE  # decoder rows computed at once: memory, not the answer
    device: torch.device = CPU


def weigh_block(model: LatentVariableModel, x: Tensor, index: Tensor, number: int, plan: Plan) -> Weighed:
    """The weights of a block of data; its noise depends on the seed and the block's number alone.

    Args:
        model: the three distributions.
        x: the block's data, [n, ...], n <= DATA_TILE.
        index: which data of the split they are, [n].
        number: the block's number, of the noise.
        plan: K, proposal, seed.

    Raises:
        RunError: a log-weight is NaN or +inf; the sentence names the datum.
    """
    qz_x, mixture = proposed(model, x, number, plan)
    with naming(index):
        proposal = summarise(model, x, mixture, plan.K, plan, number, "draws")
        if plan.proposal.recipe is posterior:
            return Weighed(index, proposal, proposal)
        own = Mixture(posterior(model, x, qz_x))
        return Weighed(index, proposal, summarise(model, x, own, min(plan.K, ELBO_DRAWS), plan, number, "elbo"))


def proposed(model: LatentVariableModel, x: Tensor, number: int, plan: Plan) -> tuple[Distribution, Mixture]:
    """q and the proposal; outside `noise`, where others may work beside it, if both are known to draw nothing."""
    if plan.proposal.quiet and isinstance(model, VAE):
        qz_x = model.posterior(x)
        if draws_nothing(model, qz_x):
            return qz_x, Mixture(plan.proposal(model, x, qz_x))
    with noise(plan.seed, "gap", number, "proposal", device=plan.device):
        qz_x = model.posterior(x)
        return qz_x, Mixture(plan.proposal(model, x, qz_x))


@contextmanager
def naming(index: Tensor) -> Iterator[None]:
    """Say among which data of the split a number failed.

    Raises:
        RunError: in the place of an ArithmeticError.
    """
    try:
        yield
    except ArithmeticError as error:
        first, last = int(index.min()), int(index.max())
        raise RunError(f"Among data {first} to {last}: {error} The model gives no finite number here.") from error


def summarise(
    model: LatentVariableModel, x: Tensor, mixture: Mixture, K: int, plan: Plan, number: int, name: str
) -> WeightSummary:
    """The summary of K draws of a mixture for a block's data x [n, ...]; see `weigh_tiles`."""
    stream = WeightStream(K, len(x))
    for log_w in weigh_tiles(model, x, mixture, K, plan, number, name):
        stream.add(log_w)
    return stream.summary()


@torch.no_grad()
def weigh_tiles(
    model: LatentVariableModel, x: Tensor, mixture: Mixture, K: int, plan: Plan, number: int, name: str
) -> Iterator[Tensor]:
    """log w of K draws, [<= DRAW_TILE, n] at a time; each tile's noise is its own, by block, name and first draw."""
    for first in range(0, K, DRAW_TILE):
        last = min(first + DRAW_TILE, K)
        with noise(plan.seed, "gap", number, name, first, device=plan.device):
            z = mixture.sample(last - first, len(x))
        yield log_weights(model, x, z, mixture, plan.rows)


def log_weights(
    model: LatentVariableModel, x: Tensor, z: Tensor, proposal: Mixture | Distribution, rows: int
) -> Tensor:
    """log w = log p(x, z) - log q(z), [K, N], decoding at most about `rows` rows at a time."""
    pieces = torch.split(z, max(1, rows // len(x)))
    return torch.cat([_weighed(model, x, piece, proposal).log_w for piece in pieces])


def _weighed(model: LatentVariableModel, x: Tensor, z: Tensor, proposal: Mixture | Distribution) -> Draws:
    return weigh(model, x, z, proposal.log_prob(z))


def importance(model: LatentVariableModel, split: Split, settings: Settings) -> Generator[Tick, None, GapFindings]:
    """L_K from K draws of the proposal for every datum; yields progress, returns the findings.

    Ranks share the blocks of data out and tell each other what they weighed: the findings are the same on each.

    Raises:
        RunError: a log-weight is NaN or +inf.
        UserError: there is no such proposal.
    """
    jobs = [Job(number, settings.K, index) for number, index in enumerate(blocks(len(split)))]
    own = yield from weigh_blocks(model, split, settings, jobs[ranks().strided])
    return conclude(exchanged(own, jobs, alike(settings)), latent_size(model), settings)


def weigh_blocks(
    model: LatentVariableModel, split: Split, settings: Settings, jobs: Sequence[Job]
) -> Generator[Tick, None, list[Weighed]]:
    """The weights of some blocks of data, of which others may weigh the rest."""
    plan, done, total = plan_of(settings), 0, sum(len(job.index) for job in jobs)
    weighed = []
    for job, each in zip(jobs, weigh_jobs(model, split, jobs, lambda job: plan), strict=True):
        weighed.append(each)
        done += len(job.index)
        yield Tick(done=done, total=total, what="importance sampling")
    return weighed


def weigh_jobs(
    model: LatentVariableModel, split: Split, jobs: Sequence[Job], plan: Callable[[Job], Plan]
) -> Iterator[Weighed]:
    """The weights of each job's data, several jobs at a time where the model is one that allows it."""

    def weigh(job: Job) -> Weighed:
        return weigh_block(model, split.batch(job.index), job.index, job.number, plan(job))

    return abreast(weigh, jobs, workers(model, split.device))


def workers(model: LatentVariableModel, device: torch.device) -> int:
    """How many blocks may be weighed at a time: as many as there are threads, for a plain VAE on the CPU; else one.

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
    own = 0 if plan.proposal.recipe is posterior else min(plan.K, ELBO_DRAWS)
    return plan.proposal.decodes(D) + plan.K + own


def latent_size(model: LatentVariableModel) -> int:
    """D, the number of latents."""
    return model.prior().event_shape.numel()
