"""From the weights of all data to what `elbo gap` says: means with two errors, certificate, curve, k-hat, verdict."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

from torch import Tensor

from elbo_cli.bounds.average import average
from elbo_cli.bounds.curve import trend
from elbo_cli.bounds.pareto import threshold
from elbo_cli.bounds.upper import certified_lower
from elbo_cli.bounds.weights import WeightSummary, join
from elbo_cli.gap.verdict import Evidence, judge
from elbo_cli.records import Certificate, CurvePoint, Estimate, GapFindings, GapRow


@dataclass(frozen=True, slots=True)
class Weighed:
    """The weights of a block of data: of the proposal's draws, and of q's own, which may be the same draws."""

    proposal: WeightSummary
    own: WeightSummary

    @property
    def shared(self) -> bool:
        """Whether both come from the same draws: then the gap is >= 0 for every datum."""
        return self.proposal is self.own


def findings(weighed: Sequence[Weighed], *, defended: bool, delta: float, tolerance: float) -> GapFindings:
    """What the weights of N data say, in nats per datum.

    Args:
        weighed: every block's weights, in the order of the data.
        defended: whether the proposal holds a share of the prior or of another place.
        delta: probability that the certificate may fail.
        tolerance: what `resolved` promises.
    """
    weights, own = join([w.proposal for w in weighed]), join([w.own for w in weighed])
    shared = all(w.shared for w in weighed)
    log_px, elbo = _estimate(weights.log_px, weights.se_log_px), _estimate(own.elbo, own.se_elbo)
    se_gap = weights.se_gap if shared else (weights.se_log_px.square() + own.se_elbo.square()).sqrt()
    gap = _estimate(weights.log_px - own.elbo, se_gap)
    climb = trend(weights.ks, weights.curve)
    above = (weights.khat > threshold(weights.K)).double().mean().item()
    evidence = Evidence(climb, log_px.se_mc or 0.0, weights.khat.median().item(), above, defended, tolerance)
    return GapFindings(
        examples=len(weights.log_px),
        samples=weights.K,
        elbo=elbo,
        log_px=log_px,
        gap=gap,
        certified=certificate(log_px, elbo, len(weights.log_px), delta),
        curve=_curve(weights),
        rho=climb.rho,
        remainder=climb.remainder,
        jackknife=weights.jackknife.mean().item(),
        khat_median=evidence.khat_median,
        khat_above=above,
        ess=weights.ess.mean().item(),
        verdict=judge(evidence),
        rows=_rows(weights, own, se_gap),
    )


def certificate(log_px: Estimate, elbo: Estimate, N: int, delta: float) -> Certificate:
    """What holds with probability 1 - delta for the mean over these N data.

    log p(x) by Markov's inequality, with nothing assumed. The gap takes half of delta for that, and half for the ELBO,
    whose upper end is that of a normal interval over Monte Carlo error: there alone many draws are assumed.
    """
    ceiling = elbo.mean + NormalDist().inv_cdf(1 - delta / 2) * (elbo.se_mc or 0.0)
    gap = certified_lower(log_px.mean, N, delta / 2) - ceiling
    return Certificate(log_px_at_least=certified_lower(log_px.mean, N, delta), gap_at_least=max(gap, 0.0), delta=delta)


def _estimate(values: Tensor, se: Tensor) -> Estimate:
    mean = average(values, se)
    return Estimate(mean.mean, mean.se_data, mean.se_mc)


def _curve(weights: WeightSummary) -> tuple[CurvePoint, ...]:
    se = weights.curve_var.sum(1).sqrt() / weights.curve.shape[1]
    points = zip(weights.ks, weights.curve.mean(1).tolist(), se.tolist(), strict=True)
    return tuple(CurvePoint(k, bound, error) for k, bound, error in points)


def _rows(weights: WeightSummary, own: WeightSummary, se_gap: Tensor) -> tuple[GapRow, ...]:
    table = {
        "elbo": own.elbo,
        "log_px": weights.log_px,
        "gap": weights.log_px - own.elbo,
        "se_elbo": own.se_elbo,
        "se_log_px": weights.se_log_px,
        "se_gap": se_gap,
        "ess": weights.ess,
        "max_weight": weights.max_weight,
        "var_log_w": weights.var_log_w,
        "khat": weights.khat,
        "jackknife": weights.jackknife,
    }
    cells = zip(*(column.tolist() for column in table.values()), strict=True)
    return tuple(
        GapRow(index=n, samples=weights.K, **dict(zip(table, row, strict=True))) for n, row in enumerate(cells)
    )
