"""The verdict: whether these draws can be stood behind, the reason in a sentence, and what to type next."""

import math
from dataclasses import dataclass

from elbo_cli.bounds.curve import Trend
from elbo_cli.records import GapFindings, Verdict

SLOW = 0.6  # rho above it: K is so far from enough that the extrapolation itself is too small
STEADY = 0.25  # rho of the 1/K regime; an increment lost in noise is not taken to decay faster
EXCUSED = 0.2  # share of the data whose k-hat may be an alarm
TOO_MANY = 0.6  # share that no flat curve excuses
CAUTION = 10  # what is left, times this, must be below the tolerance where more than EXCUSED are alarmed
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


def remainder(trend: Trend) -> float:
    """An upper reading of what is left above L_K: two s.e. on the last increment, decaying no faster than 1/K.

    An extrapolation, not a bound: with fewer than three points on the curve, or one that does not flatten, inf.
    """
    if math.isnan(trend.increment):
        return math.inf
    rho = max(STEADY, min(trend.rho, 0.9))
    increment = max(trend.increment, 0.0) + 2 * (0.0 if math.isnan(trend.increment_se) else trend.increment_se)
    return increment * rho / (1 - rho)


def judge(evidence: Evidence) -> Verdict:
    """The verdict on one measurement.

    `unresolved`: the curve still climbs and decays slowly (rho > 0.6), or the typical datum's k-hat is an alarm.
    `resolved`: what the curve leaves, with two Monte Carlo errors, is below the tolerance; at most a fifth of the data
    has a k-hat that is an alarm, or more have and the curve is ten times flatter than it need be; and the proposal
    holds a defensive share. `partial`: anything between. docs/verdict.md says how often each is right.
    """
    left, trend = remainder(evidence.trend), evidence.trend
    open_end = left + 2 * evidence.se_mc
    if evidence.khat_median > ALARM:
        return _unresolved(
            f"the typical datum's weights have too heavy a tail (median k-hat {evidence.khat_median:.2f} > {ALARM})"
        )
    if math.isnan(trend.increment):
        return Verdict(
            "partial", "K < 16 draws are too few to see whether the bound has stopped rising", "--samples 500"
        )
    if trend.rho > SLOW and left > evidence.tolerance:
        return _unresolved(f"the bound still rises with K and hardly slows (rho {trend.rho:.2f} > 0.6)")
    flat = CAUTION * left < evidence.tolerance and evidence.khat_above <= TOO_MANY
    if evidence.khat_above > EXCUSED and not flat:
        return _partial(
            f"{evidence.khat_above:.0%} of the data have weights not shown to be reliable (k-hat above its threshold)"
        )
    if not open_end < evidence.tolerance:
        return _partial(
            f"bias and noise that may be left, {open_end:.3f} nat, are not below {evidence.tolerance:g} nat"
        )
    if not evidence.defended:
        return Verdict(
            "partial",
            "the draws agree among themselves, but come from one place: a mode that it misses stays unseen",
            "--proposal auto",
        )
    return Verdict(
        "resolved", f"what is left above the bound is below {evidence.tolerance:g} nat, as far as draws can show", ""
    )


def _unresolved(reason: str) -> Verdict:
    return Verdict("unresolved", reason, "--proposal auto, then --method ais")


def _partial(reason: str) -> Verdict:
    return Verdict("partial", reason, "four times the --samples")


def spent(found: GapFindings) -> float:
    """Bias and two Monte Carlo errors that may be left, in nats: what a tolerance is held against."""
    return max(found.remainder or 0.0, 0.0) + 2 * (found.log_px.se_mc or 0.0)
