"""The verdict: whether these draws can be stood behind, the reason in a sentence, and what to type next."""

import math
from dataclasses import dataclass
from statistics import NormalDist

from elbo_cli.bounds.curve import Trend
from elbo_cli.records import Estimate, GapFindings, Interval, Verdict

SLOW = 0.6  # rho above it: K is so far from enough that the extrapolation itself is too small
HEAVY = 0.5  # k-hat above it: the weights have no variance
STEADY = 0.25  # rho of the 1/K regime; an increment lost in noise is not taken to decay faster
EXCUSED = 0.2  # share of the data whose k-hat may be an alarm
TOO_MANY = 0.6  # share that no flat curve excuses
CAUTION = 10  # what is left, times this, must be below the tolerance where more than EXCUSED are alarmed
SEEN = 500  # draws below which no flat curve excuses alarms: its large weights may not have come yet
TOO_FEW = 20  # draws that have no tail to fit, nor a curve of three points with something in them
ENOUGH = 500  # draws to begin with
SIDES = NormalDist().inv_cdf(0.975)  # Monte Carlo errors to either side of a 95 % interval
ALARM = 0.7  # median k-hat above it: the typical datum is not shown to be reliable


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the verdict looks at, in nats per datum unless noted."""

    trend: Trend  # of the K-curve
    se_mc: float  # Monte Carlo error of the mean of log p(x)
    khat_median: float
    khat_above: float  # share of the data above their threshold
    defended: bool  # whether the proposal holds a share that reaches what its main part may have missed
    tolerance: float  # nats: what `resolved` promises
    K: int  # draws, the mean over the data

    @property
    def left(self) -> float:
        """What may be left above L_K, in nats, by curve and tail."""
        return remainder(self.trend, self.khat_median)

    def unresolved(self, reason: str) -> Verdict:
        """A bound and nothing more; with the best proposal already, only another method is left."""
        return Verdict("unresolved", reason, "--method ais" if self.defended else "--proposal auto")

    def partial(self, reason: str) -> Verdict:
        """Not shown: more draws may show it."""
        return Verdict("partial", reason, f"--samples {4 * self.K}" if self.defended else "--proposal auto")


def remainder(trend: Trend, khat: float = 0.0) -> float:
    """An upper reading of what is left above L_K: two s.e. on the last increment, decaying no faster than it can.

        rho >= 1/4,    and rho >= 4^(1 - 1/k) for weights with a tail of shape 1/2 < k < 1

    because the bias falls as 1/K where the weights have a variance, and as K^(1 - 1/k) where their tail has none. An
    extrapolation, not a bound: with fewer than three points on the curve, or one that does not flatten, inf.
    """
    if math.isnan(trend.increment):
        return math.inf
    slowest = 4 ** (1 - 1 / khat) if khat > HEAVY else STEADY
    rho = min(max(slowest, trend.rho), 0.9)
    increment = max(trend.increment, 0.0) + 2 * (0.0 if math.isnan(trend.increment_se) else trend.increment_se)
    return increment * rho / (1 - rho)


def interval(log_px: Estimate, left: float) -> Interval:
    """95 % for the mean of log p(x) over these data: Monte Carlo error to both sides, and above it what may be left."""
    noise = SIDES * (log_px.se_mc or 0.0)
    return Interval(log_px.mean - noise, log_px.mean + left + noise)


def judge(evidence: Evidence) -> Verdict:
    """The verdict on one measurement.

    `unresolved`: the curve still climbs and decays slowly (rho > 0.6), or the typical datum's k-hat is an alarm.
    `resolved`: what the curve leaves, with two Monte Carlo errors, is below the tolerance; at most a fifth of the data
    has a k-hat that is an alarm, or more have and the curve of 500 draws or more is ten times flatter than it need be;
    and the proposal holds a defensive share. `partial`: anything between. docs/verdict.md says how often each is right.
    """
    left, trend = evidence.left, evidence.trend
    open_end = left + 2 * evidence.se_mc
    if evidence.K <= TOO_FEW:
        return Verdict("partial", f"{evidence.K} draws are too few to judge them by", f"--samples {ENOUGH}")
    if evidence.khat_median > ALARM:
        tail = f"median k-hat {evidence.khat_median:.2f} > {ALARM}"
        return evidence.unresolved(f"the typical datum's weights have too heavy a tail ({tail})")
    if trend.rho > SLOW and left > evidence.tolerance:
        return evidence.unresolved(f"the bound still rises with K and hardly slows (rho {trend.rho:.2f} > {SLOW})")
    flat = CAUTION * remainder(trend) < evidence.tolerance and evidence.khat_above <= TOO_MANY and evidence.K >= SEEN
    if evidence.khat_above > EXCUSED and not flat:
        share = f"{evidence.khat_above:.0%} of the data"
        return evidence.partial(f"{share} have weights not shown to be reliable (k-hat above its threshold)")
    if not open_end < evidence.tolerance:
        return evidence.partial(
            f"bias and noise that may be left, {open_end:.3f} nat, are not below {evidence.tolerance:g} nat"
        )
    if not evidence.defended:
        return evidence.partial("the draws agree, but come from one place: a mode that it misses stays unseen")
    reason = f"what is left above the bound is below {evidence.tolerance:g} nat, as far as draws can show"
    return Verdict("resolved", reason, "")


def spent(found: GapFindings) -> float:
    """Bias and two Monte Carlo errors that may be left, in nats: what a tolerance is held against."""
    return max(found.remainder or 0.0, 0.0) + 2 * (found.log_px.se_mc or 0.0)


FREE = 8  # chains, over all data, that must begin at the prior before agreement means that no mode was missed
FAR = 10  # times the tolerance: with more than that left, chains have not arrived
FEWEST = 16  # chains whose curve has the three points that a trend needs


@dataclass(frozen=True, slots=True)
class Agreement:
    """What the verdict on annealed chains looks at, in nats per datum unless noted."""

    trend: Trend  # of the curve over chains
    se_mc: float  # Monte Carlo error of the mean of log p(x)
    free: float  # chains, over all data, that begin at the prior
    tolerance: float  # what `resolved` promises


def judge_chains(seen: Agreement, C: int, T: int) -> Verdict:
    """The verdict on C annealed chains of T temperatures for each datum.

    Chains that have arrived agree. Where they have not, their weights differ and the bound rises with their number, so
    the curve over chains is the evidence, as it is over draws; k-hat is not: sixteen weights have no tail to fit.
    `unresolved`: what the curve leaves is above the tolerance, and above ten of them or decaying slowly (rho > 0.6).
    `resolved`: what it leaves, with two Monte Carlo errors, is below the tolerance, and at least 8 of the chains began
    at the prior: those that begin at one mode agree on it. `partial`: anything between. docs/verdict.md.
    """
    left, noise = remainder(seen.trend), 2 * seen.se_mc
    if C < FEWEST:
        return Verdict("partial", f"{C} chains are too few to see whether they agree", f"--samples {FEWEST}")
    if left > seen.tolerance and (seen.trend.rho > SLOW or left > FAR * seen.tolerance):
        reason = f"the chains disagree: with more of them the bound would rise, by {left:.2g} nat or so"
        return Verdict("unresolved", reason, f"--temperatures {4 * T}")
    if not left + noise < seen.tolerance:
        reason = f"bias and noise that may be left, {left + noise:.3f} nat, are not below {seen.tolerance:g} nat"
        return Verdict("partial", reason, f"--temperatures {4 * T}" if left > noise else f"--samples {4 * C}")
    if seen.free < FREE:
        reason = "the chains agree, but too few of them began at the prior: a mode that the others miss stays unseen"
        more = f"--samples {8 * math.ceil(FREE * C / seen.free / 8)}" if seen.free else "--proposal auto"
        return Verdict("partial", reason, more)
    reason = f"the chains agree: what is left above the bound is below {seen.tolerance:g} nat, as far as they can show"
    return Verdict("resolved", reason, "")
