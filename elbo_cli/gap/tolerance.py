"""`--tolerance`: an accuracy is asked for, and not a K. Pilots find what each datum needs, and are thrown away."""

from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from elbo_cli.bounds.draws import LatentVariableModel
from elbo_cli.data.split import Split
from elbo_cli.gap.findings import Weighed, findings
from elbo_cli.gap.fits import Fits
from elbo_cli.gap.importance import Plan, decodes, latent_size, plan_of, weigh_jobs
from elbo_cli.gap.jobs import Job, exchanged
from elbo_cli.gap.proposals.recipes import posterior
from elbo_cli.gap.settings import DATA_TILE, DRAW_TILE, Settings
from elbo_cli.gap.showing import draws_to_show
from elbo_cli.gap.verdict import spent
from elbo_cli.ranks import ranks
from elbo_cli.records import GapFindings, Tick, Verdict
from elbo_cli.runtime import derive

PILOT = DRAW_TILE  # draws for each datum of the first pilot
ROUNDS = 3  # measurements at most: one that falls short is the next one's pilot
MOST = 2**17  # draws for a datum at most
TOGETHER = 4 * DATA_TILE  # data that are shared out to one process
AIM = 0.5  # of the tolerance that a round plans to use up: pilots see too little of heavy tails


@dataclass(frozen=True, slots=True)
class Need:
    """What the weights of a pilot say each datum needs."""

    index: Tensor  # [N], the data
    cv: Tensor  # [N], coefficient of variation of their weights: sqrt(K / ESS - 1), where all are 0 as where one is not

    @classmethod
    def of(cls, weighed: Sequence[Weighed]) -> "Need":
        """What a pilot's weights say, by the order of the data."""
        index = torch.cat([w.index for w in weighed])
        cv = torch.cat([(w.proposal.K / w.proposal.ess.clamp(min=1) - 1).clamp(min=0).sqrt() for w in weighed])
        order = index.argsort()
        return cls(index[order], cv[order])

    def allocation(self, tolerance: float) -> Tensor:
        """K for each datum, [N], powers of two: bias and two Monte Carlo errors together within `tolerance` nats.

            bias = mean_n CV_n^2 / 2 K_n,    se = sqrt( sum_n CV_n^2 / K_n ) / N,    K_n proportional to CV_n

        Neyman (1934): among all allocations of one cost, this one has the least variance; and here the least bias too.
        """
        N, cv = len(self.cv), self.cv.clamp(min=0.05)
        # K_n = c CV_n: bias = mean(CV) / 2 c and 2 se = 2 sqrt( sum CV / c ) / N, so 1/sqrt(c) solves a quadratic
        a, b = cv.mean() / 2, 2 * cv.sum().sqrt() / N
        root = (-b + (b.square() + 4 * a * tolerance).sqrt()) / (2 * a)
        K = (cv / root.square()).clamp(PILOT, MOST)
        return (2 ** K.log2().ceil()).long()


class Rival(Protocol):
    """Another way to the same accuracy."""

    def beats(self, decodes: float) -> Generator[Tick, None, bool]:
        """Whether it would cost less than so many decoder evaluations for each datum."""
        ...


def to_tolerance(
    model: LatentVariableModel, split: Split, settings: Settings, rival: Rival | None = None, rounds: int = ROUNDS
) -> Generator[Tick, None, GapFindings]:
    """Measure log p(x) to within `settings.tolerance` nats per datum, or say that it was not to be had.

    A pilot of 64 draws finds each datum's relative weight variance; the draws are shared out by it and taken anew, from
    the same proposal: what was fitted to a datum is kept (`Fits`), for a fit is no draw that is weighed. A round that
    falls short is the pilot of the next, three at most, unless a rival would cost less than the next one. The
    certificate pays for the choice among `rounds` measurements.

    Raises:
        RunError: a log-weight is NaN or +inf.
        UserError: there is no such proposal.
    """
    proposal = plan_of(settings).proposal
    D, allocation = latent_size(model), torch.full((len(split),), PILOT)
    fits = Fits(D)
    pilot = replace(plan_of(settings), elbo=False, fits=fits)
    weighed = yield from _measured(model, split, allocation, pilot, "pilot")
    cost, again = _cost(weighed, pilot, D), max(0, len(split) - fits.room) / len(split)
    least = draws_to_show(weighed, len(split))
    for number in range(1, ROUNDS + 1):
        need = Need.of(weighed)
        planned = need.allocation(AIM * settings.tolerance).clamp(min=least)
        # a round that fell short had too few draws, whatever its own weights say of it
        allocation = planned if number == 1 else torch.maximum(planned, (4 * allocation).clamp(max=MOST))
        price = again * proposal.decodes(D) + allocation.double().mean().item()
        if number > 1 and rival is not None and (yield from rival.beats(price)):
            break
        plan = replace(pilot, elbo=True)
        weighed = yield from _measured(model, split, allocation, plan, f"round {number}")
        cost += _cost(weighed, plan, D) - round((1 - again) * len(split)) * proposal.decodes(D)
        found = findings(
            weighed, defended=proposal.defended, delta=settings.delta, tolerance=settings.tolerance, rounds=rounds
        )
        if found.verdict.resolved or not proposal.defended or bool((allocation >= MOST).all()):
            break
    verdict = told(found, settings.tolerance)
    return replace(found, proposal=settings.proposal, decodes=cost // len(split), verdict=verdict)


def _measured(
    model: LatentVariableModel, split: Split, allocation: Tensor, plan: Plan, name: str
) -> Generator[Tick, None, list[Weighed]]:
    """The weights of all data with `allocation` [N] draws each, data of equal K together, with noise of its own."""
    jobs, size = _jobs(allocation), ranks().size
    own = [n for n, job in enumerate(jobs) if int(job.index[0]) // TOGETHER % size == ranks().rank]
    mine = [jobs[n] for n in own]
    weighed, done, total = [], 0, sum(job.K * len(job.index) for job in mine)
    plan = replace(plan, seed=derive(plan.seed, "tolerance", name))
    for job, each in zip(mine, weigh_jobs(model, split, mine, lambda job: replace(plan, K=job.K)), strict=True):
        weighed.append(each)
        done += job.K * len(job.index)
        yield Tick(done=done, total=total, what=name)
    return exchanged(weighed, jobs, not plan.elbo or plan.proposal.recipe is posterior, own)


def _jobs(allocation: Tensor) -> list[Job]:
    """Blocks of data of equal K, of TOGETHER neighbours at a time: they stay with one process, as their fits do."""
    jobs: list[Job] = []
    for some in torch.split(torch.arange(len(allocation)), TOGETHER):
        for K in allocation[some].unique().tolist():  # type: ignore[no-untyped-call]  # torch leaves it untyped
            for block in torch.split(some[allocation[some] == K], DATA_TILE):
                jobs.append(Job(len(jobs), K, block))
    return jobs


def _cost(weighed: Sequence[Weighed], plan: Plan, D: int) -> int:
    return sum(decodes(replace(plan, K=w.proposal.K), D) * len(w.index) for w in weighed)


def told(found: GapFindings, tolerance: float) -> Verdict:
    """The verdict, with what would be needed where the tolerance was not met."""
    if found.verdict.resolved:
        return found.verdict
    left = spent(found)
    more = f" About {left / tolerance:.0f} times the draws would be needed." if left > tolerance else ""
    return replace(
        found.verdict, reason=f"{found.verdict.reason}; the tolerance of {tolerance:g} nat was not met.{more}"
    )
