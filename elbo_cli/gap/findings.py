"""From the weights of all data to what `elbo gap` says: means with two errors, certificate, curve, k-hat, verdict."""

import math
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import torch
from torch import Tensor

from elbo_cli.bounds.curve import powers_of_four, trend
from elbo_cli.bounds.pareto import threshold
from elbo_cli.bounds.upper import certified_lower
from elbo_cli.bounds.weights import WeightSummary
from elbo_cli.columns import Table
from elbo_cli.estimates import estimate
from elbo_cli.gap.verdict import Evidence, interval, judge
from elbo_cli.records import Certificate, CurvePoint, Estimate, GapFindings, GapRow


@dataclass(frozen=True, slots=True)
class Weighed:
    """The weights of some data: of the proposal's draws, and of q's own, which may be the same draws."""

    index: Tensor  # [n], which data of the split they are
    proposal: WeightSummary
    own: WeightSummary

    @property
    def gap(self) -> Tensor:
        """L_K - ELBO of each datum, [n]; never negative where both are of the same draws."""
        return self.own.gap if self.proposal is self.own else self.proposal.log_px - self.own.elbo

    @property
    def se_gap(self) -> Tensor:
        """Monte Carlo error of each datum's gap, [n]: of draws that the two halves share, or of two sets of draws."""
        if self.proposal is self.own:
            return self.own.se_gap
        return (self.proposal.se_log_px.square() + self.own.se_elbo.square()).sqrt()

    @property
    def steps(self) -> Tensor:
        """The last three full powers of 4 on each datum's K-curve, [3, n]: what the trend is read off."""
        powers = [i for i, k in enumerate(self.proposal.ks) if k in powers_of_four(self.proposal.K)]
        kept = self.proposal.curve[powers[-3:]]
        missing = kept.new_full((3 - len(kept), kept.shape[1]), math.nan)
        return torch.cat([missing, kept])

    @property
    def alarms(self) -> Tensor:
        """Which data have a k-hat above the threshold of their K, [n]."""
        return self.proposal.khat > threshold(self.proposal.K)


def findings(
    weighed: Sequence[Weighed], *, defended: bool, delta: float, tolerance: float, rounds: int = 1
) -> GapFindings:
    """What the weights of N data say, in nats per datum.

    Args:
        weighed: the weights of all data, in blocks that may differ in K.
        defended: whether the proposal holds a share of the prior or of another place.
        delta: probability that the certificate may fail.
        tolerance: what `resolved` promises.
        rounds: how many measurements this one may have been chosen from; the certificate pays for each.
    """
    order = torch.cat([w.index for w in weighed]).argsort()

    def column(read: Callable[[Weighed], Tensor]) -> Tensor:
        return torch.cat([read(w) for w in weighed], -1)[..., order]

    log_px = estimate(column(lambda w: w.proposal.log_px), column(lambda w: w.proposal.se_log_px))
    elbo = estimate(column(lambda w: w.own.elbo), column(lambda w: w.own.se_elbo))
    climb = trend((1, 4, 16), column(lambda w: w.steps))
    khat, above = column(lambda w: w.proposal.khat), column(lambda w: w.alarms.double()).mean().item()
    K = round(sum(w.proposal.K * len(w.index) for w in weighed) / len(order))
    evidence = Evidence(climb, log_px.se_mc or 0.0, khat.median().item(), above, defended, tolerance, K)
    verdict = judge(evidence)
    return GapFindings(
        examples=len(order),
        samples=K,
        elbo=elbo,
        log_px=log_px,
        gap=estimate(column(lambda w: w.gap), column(lambda w: w.se_gap)),
        certified=certificate(log_px, elbo, len(order), delta, rounds),
        interval=interval(log_px, evidence.left) if verdict.resolved else None,
        curve=_curve(column, weighed, log_px),
        rho=climb.rho,
        remainder=climb.remainder,
        jackknife=column(lambda w: w.proposal.jackknife).mean().item(),
        khat_median=evidence.khat_median,
        khat_above=above,
        ess=column(lambda w: w.proposal.ess).mean().item(),
        verdict=verdict,
        rows=_rows(column, weighed),
    )


def certificate(log_px: Estimate, elbo: Estimate, N: int, delta: float, rounds: int = 1) -> Certificate:
    """What holds for the mean over these N data, each of the two with probability 1 - delta.

    log p(x) by Markov's inequality, with nothing assumed. The gap takes half of delta for that, and half for the ELBO,
    whose upper end is that of a normal interval over Monte Carlo error: there alone many draws are assumed. Where this
    is one of several rounds, and was kept for what it showed, each round pays its share of delta (a union bound).
    """
    share = delta / rounds
    floor = certified_lower(log_px.mean, N, share)
    if elbo.se_mc is None or not math.isfinite(elbo.se_mc):  # one draw says nothing of its own spread
        return Certificate(floor, None, delta)
    ceiling = elbo.mean + NormalDist().inv_cdf(1 - share / 2) * elbo.se_mc
    return Certificate(floor, max(certified_lower(log_px.mean, N, share / 2) - ceiling, 0.0), delta)


Column = Callable[[Callable[[Weighed], Tensor]], Tensor]  # reads something of all data, in their order


def _curve(column: Column, weighed: Sequence[Weighed], log_px: Estimate) -> tuple[CurvePoint, ...]:
    """The curve over all data, at the k that every datum has; its last point is the estimate itself, at the mean K."""
    least = min(w.proposal.K for w in weighed)
    N = sum(len(w.index) for w in weighed)
    ks = powers_of_four(least)  # the first of every datum's curve
    mean = column(lambda w: w.proposal.curve[: len(ks)]).sum(-1) / N
    se = column(lambda w: w.proposal.curve_var[: len(ks)]).sum(-1).sqrt() / N
    points = [CurvePoint(k, *of) for k, *of in zip(ks, mean.tolist(), se.tolist(), strict=True)]
    K = round(sum(w.proposal.K * len(w.index) for w in weighed) / N)
    if points[-1].k == K:
        points.pop()
    return (*points, CurvePoint(K, log_px.mean, math.nan if log_px.se_mc is None else log_px.se_mc))


def _rows(column: Column, weighed: Sequence[Weighed]) -> Table:
    """A row for each datum."""
    read: dict[str, Callable[[Weighed], Tensor]] = {
        "elbo": lambda w: w.own.elbo,
        "log_px": lambda w: w.proposal.log_px,
        "gap": lambda w: w.gap,
        "se_elbo": lambda w: w.own.se_elbo,
        "se_log_px": lambda w: w.proposal.se_log_px,
        "se_gap": lambda w: w.se_gap,
        "ess": lambda w: w.proposal.ess,
        "max_weight": lambda w: w.proposal.max_weight,
        "var_log_w": lambda w: w.proposal.var_log_w,
        "khat": lambda w: w.proposal.khat,
        "jackknife": lambda w: w.proposal.jackknife,
    }
    index, samples = column(lambda w: w.index), column(lambda w: torch.full_like(w.index, w.proposal.K))
    whole = {"index": array("q", index.numpy().tobytes()), "samples": array("q", samples.numpy().tobytes())}
    return Table(GapRow, whole | {name: array("d", column(of).numpy().tobytes()) for name, of in read.items()})
