"""Annealed importance sampling of a data set, in blocks of data by tiles of chains."""

import math
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TypeVar

import torch
from torch import Tensor, nn

from elbo_cli.bounds.curve import trend
from elbo_cli.bounds.draws import LatentVariableModel
from elbo_cli.bounds.weights import WeightSummary
from elbo_cli.data.split import Split
from elbo_cli.gap.annealing.annealer import Course, prepare
from elbo_cli.gap.findings import Weighed, findings
from elbo_cli.gap.importance import ELBO_DRAWS, Plan, latent_size, naming, summarise
from elbo_cli.gap.jobs import Job, blocks, exchanged
from elbo_cli.gap.proposals.mixture import Mixture
from elbo_cli.gap.proposals.recipes import posterior
from elbo_cli.gap.settings import Settings
from elbo_cli.gap.verdict import Agreement, interval, judge_chains, remainder
from elbo_cli.ranks import ranks
from elbo_cli.records import GapFindings, Tick

S = TypeVar("S")


@contextmanager
def frozen(model: LatentVariableModel) -> Iterator[None]:
    """Without gradients by the model's parameters, for which autograd would keep more of each decode than z needs."""
    learned = [p for p in model.parameters() if p.requires_grad] if isinstance(model, nn.Module) else []
    for parameter in learned:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in learned:
            parameter.requires_grad_(True)


def counted(work: Generator[None, None, S], total: int, what: str) -> Generator[Tick, None, S]:
    """Work as ticks, one for each time that it yields."""
    done = 0
    while True:
        try:
            next(work)
        except StopIteration as stop:
            return stop.value  # type: ignore[no-any-return]  # a generator's result comes untyped
        done += 1
        yield Tick(done=done, total=total, what=what)


def ais(
    model: LatentVariableModel, split: Split, settings: Settings, rounds: int = 1
) -> Generator[Tick, None, GapFindings]:
    r"""log p(x) of every datum from `settings.K` chains of `settings.temperatures` steps; yields progress.

        log w_c = sum_t (beta_t - beta_{t-1}) log p(x, z_{t-1}) / q0(z_{t-1}),    L_C = log 1/C sum_c w_c

    with q0 the start that `settings.proposal` names and z_t a step of HMC at beta_t from z_{t-1}. E[w] = p(x), so L_C
    is a lower bound in expectation, and the certificate is the one of importance sampling: C and T are fixed, the noise
    is fresh, and start, scale and step sizes were found without a look at these chains. The ELBO is the amortised q's
    own, from its own draws. In the findings chains are called samples, and `rows` bounds the ELBO's decodes alone: a
    tile of up to 64 chains by 32 data is annealed at once. Where this is one of several `rounds` and is kept for what
    it showed, the certificate pays for each.

    Raises:
        RunError: a log-weight is NaN or +inf.
        UserError: there is no such start, or the model's log-densities have no gradient by z.

    Reference: Neal (2001), https://arxiv.org/abs/physics/9803008; Wu et al. (2017), https://arxiv.org/abs/1611.04273
    """
    jobs = [Job(number, settings.K, index) for number, index in enumerate(blocks(len(split)))]
    own = yield from anneal_blocks(model, split, settings, jobs[ranks().strided])
    return conclude(exchanged(own, jobs, alike=False), latent_size(model), settings, rounds)


def anneal_blocks(
    model: LatentVariableModel, split: Split, settings: Settings, jobs: Sequence[Job]
) -> Generator[Tick, None, list[Weighed]]:
    """The weights of chains for some blocks of data, of which others may anneal the rest."""
    course = Course.of(settings)
    return (yield from counted(_weighed(model, split, jobs, course), len(jobs) * course.units(), "annealing"))


def conclude(weighed: Sequence[Weighed], D: int, settings: Settings, rounds: int = 1) -> GapFindings:
    """The findings, from the chains of all data of a model with D latents, wherever they were annealed."""
    course = Course.of(settings)
    defended = course.start.free > 0
    found = findings(weighed, defended=defended, delta=settings.delta, tolerance=settings.tolerance, rounds=rounds)
    climb = trend((1, 4, 16), torch.cat([w.steps for w in weighed], -1))
    free = course.start.free * settings.K * found.examples
    seen = Agreement(climb, found.log_px.se_mc or 0.0, free, settings.tolerance)
    if math.isinf(found.khat_median or 0.0):  # too few chains for a tail
        found = replace(found, khat_median=None, khat_above=None)
    verdict = judge_chains(seen, settings.K, course.T)
    return replace(
        found,
        method="ais",
        proposal=settings.proposal,
        temperatures=course.T,
        decodes=course.decodes(D) + ELBO_DRAWS,
        verdict=verdict,
        interval=interval(found.log_px, remainder(climb)) if verdict.resolved else None,
    )


def _weighed(
    model: LatentVariableModel, split: Split, jobs: Sequence[Job], course: Course
) -> Generator[None, None, list[Weighed]]:
    weighed = []
    with frozen(model):
        for job in jobs:
            x = split.batch(job.index)
            with naming(job.index):
                annealer = yield from prepare(model, x, job.number, course)
                chains = yield from annealer.forwards()
                own = _own(model, x, job, course.plan)
            weighed.append(Weighed(job.index, annealer.summary(chains), own))
    return weighed


def _own(model: LatentVariableModel, x: Tensor, job: Job, plan: Plan) -> WeightSummary:
    """The weights of q's own draws, for the ELBO: those that importance sampling takes for it."""
    with torch.no_grad():
        q = Mixture(posterior(model, x, model.posterior(x)))
    return summarise(model, x, q, ELBO_DRAWS, plan, job, "elbo")
