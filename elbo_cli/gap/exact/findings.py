"""From exact numbers of all data to what `elbo gap` says: no Monte Carlo error, and a numerical one that is stated."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from statistics import NormalDist

import torch
from torch import Tensor

from elbo_cli.errors import RunError
from elbo_cli.estimates import estimate
from elbo_cli.gap.settings import Settings
from elbo_cli.records import Certificate, Estimate, GapFindings, GapRow, Interval, Verdict


@dataclass(frozen=True, slots=True)
class Elbo:
    """The ELBO of each datum, [N], in nats."""

    value: Tensor
    error: Tensor  # numerical
    se: Tensor | float = 0.0  # Monte Carlo, where nothing but draws of q could give it


@dataclass(frozen=True, slots=True)
class Found:
    """What was found of each datum, [N], in nats, float64 on the CPU."""

    log_px: Tensor
    elbo: Tensor
    gap: Tensor
    error: Tensor  # none of the three is farther from its truth
    se: Tensor  # Monte Carlo, of the ELBO and so of the gap
    least_gap: Tensor  # approximation gap: what a q of this family cannot avoid; nan where it is not known
    step: Tensor  # of the grid, in standard deviations of the prior; 0 where there is none
    decodes: Tensor  # decoder evaluations

    @classmethod
    def of(
        cls,
        log_px: Tensor,
        elbo: Elbo,
        *,
        gap: Tensor,
        error: Tensor,
        least_gap: float = math.nan,
        step: Tensor | float = 0.0,
        decodes: float = 0.0,
    ) -> "Found":
        """A block of data; `error` is that of log p(x), and a single number is that of every datum."""
        none = torch.zeros_like(log_px)
        se, least = none + elbo.se, none + least_gap
        return cls(log_px, elbo.value, gap, error + elbo.error, se, least, none + step, none + decodes)

    @classmethod
    def joined(cls, blocks: Sequence["Found"]) -> "Found":
        """All blocks, in the order of the data."""
        return cls(*(torch.cat([getattr(block, f.name) for block in blocks]) for f in fields(cls)))


def findings(found: Found, rule: str, settings: Settings) -> GapFindings:
    """What exact numbers of N data say, in nats per datum.

    Args:
        found: of all data.
        rule: the name of the method, for the reason of the verdict.
        settings: the certificate's delta, and what `resolved` promises.

    Raises:
        RunError: log p(x) or the ELBO of some datum is not a finite number.
    """
    _refuse_infinities(found)
    error = found.error.mean().item()
    log_px, elbo, gap = estimate(found.log_px, 0.0), estimate(found.elbo, found.se), estimate(found.gap, found.se)
    least = None if found.least_gap.isnan().any() else found.least_gap
    verdict = _verdict(found, rule, settings.tolerance)
    return GapFindings(
        examples=len(found.log_px),
        samples=0,
        elbo=elbo,
        log_px=log_px,
        gap=gap,
        certified=_certificate(log_px, gap, error, settings.delta),
        interval=Interval(log_px.mean - error, log_px.mean + error) if verdict.resolved else None,
        method="exact",
        decodes=round(found.decodes.mean().item()),
        verdict=verdict,
        rows=_rows(found),
        error=error,
        approximation_gap=None if least is None else estimate(least, 0.0),
        amortisation_gap=None if least is None else estimate((found.gap - least).clamp(min=0.0), 0.0),
    )


def _refuse_infinities(found: Found) -> None:
    for name, values in (("log p(x)", found.log_px), ("The ELBO", found.elbo)):
        bad = (~values.isfinite()).nonzero()
        if len(bad):
            n = int(bad[0])
            raise RunError(f"{name} of datum {n} is {values[n].item()}: the model gives no finite number.")


def _certificate(log_px: Estimate, gap: Estimate, error: float, delta: float) -> Certificate:
    """What is true of these data to the stated error; with probability 1 - delta where the ELBO is from draws."""
    if not math.isfinite(error):
        return Certificate(
            None,
            None,
            delta,
            "the integral over z of some of the data does not come to rest on any grid that there is room for",
        )
    noise = NormalDist().inv_cdf(1 - delta) * (gap.se_mc or 0.0)
    return Certificate(log_px.mean - error, max(gap.mean - error - noise, 0.0), delta)


def _verdict(found: Found, rule: str, tolerance: float) -> Verdict:
    """`resolved` where the stated error of the mean is below the tolerance, else `partial`."""
    error, worst, step = found.error.mean().item(), found.error.max().item(), found.step.max().item()
    if not error < tolerance:
        many = f"{int((found.error > tolerance).sum())} of {len(found.error)} data"
        known = f"their stated error is up to {worst:.2g} nat" if math.isfinite(worst) else "their error is not known"
        reason = f"{many} need a finer grid than there is room for: {known}"
        return Verdict("partial", reason, "--method importance")
    seen = f"; a spike narrower than {step:.2g} standard deviations of the prior would not be seen" if step else ""
    return Verdict("resolved", f"log p(x) is exact ({rule}), with a stated error of {error:.1g} nat{seen}", "")


def _rows(found: Found) -> tuple[GapRow, ...]:
    columns = zip(*(c.tolist() for c in (found.elbo, found.log_px, found.gap, found.se)), strict=True)
    return tuple(
        GapRow(index=n, elbo=elbo, log_px=log_px, gap=gap, se_elbo=se, se_log_px=0.0, se_gap=se)
        for n, (elbo, log_px, gap, se) in enumerate(columns)
    )
