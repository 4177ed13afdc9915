"""The difference of two configs, each trained from one seed or more, over the same data: with an error that holds."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from elbo_cli.comparison.student import quantile

LEVEL = 0.95  # of the intervals, all of a comparison's together


@dataclass(frozen=True, slots=True)
class Outcome:
    """A difference of means with its errors; see `records.Difference`."""

    mean: float
    se_data: float
    se_seeds: float | None
    se: float
    low: float
    high: float


def contest(a: Tensor, b: Tensor, level: float = LEVEL) -> Outcome:
    r"""Mean of a less mean of b, where data and seeds are crossed: every run is measured on every datum.

        a_sn = mu + seed_s + datum_n + rest_sn,    Var(mean a) = Var(seed)/S + Var(datum)/N + Var(rest)/SN

    What the data have in common cancels datum by datum, so the error across data is that of d_n = mean_s a_sn -
    mean_t b_tn. The errors across data and across seeds both hold Var(rest)/SN, which is taken off once. The interval
    is Student's, its degrees of freedom by Welch and Satterthwaite. Seeds of two configs are not paired: that a
    number is the same makes no two trainings alike.

    Args:
        a: S runs of one config on N data, [S, N].
        b: T runs of another on the same data, [T, N].
        level: of the interval.

    Returns:
        Nats per datum. Where a config has but one run, the error is that across data alone: what is said is said
        of these trainings and not of the configs. For one datum every error is nan.
    """
    assert a.dim() == b.dim() == 2, (a.shape, b.shape)
    assert a.shape[1] == b.shape[1], (a.shape, b.shape)
    a, b = a.double(), b.double()
    N = a.shape[1]
    apart = a.mean(0) - b.mean(0)
    of_data = _variance(apart) / N
    if min(len(a), len(b)) == 1:
        return _outcome(apart.mean().item(), of_data, None, of_data, _freedom((of_data, N - 1)), level)
    of_a, of_b = (_variance(runs.mean(1)) / len(runs) for runs in (a, b))
    twice = _rest(a) / a.numel() + _rest(b) / b.numel()
    total = max(of_data + of_a + of_b - twice, of_data, of_a + of_b)
    freedom = _freedom((of_data, N - 1), (of_a, len(a) - 1), (of_b, len(b) - 1))
    return _outcome(apart.mean().item(), of_data, of_a + of_b, total, freedom, level)


def paired(a: Tensor, b: Tensor) -> tuple[float, float]:
    """Mean of a - b and its standard error across data, both [N]; nan for one datum."""
    apart = a.double() - b.double()
    return apart.mean().item(), math.sqrt(_variance(apart) / len(apart))


def _variance(values: Tensor) -> float:
    return values.var().item() if len(values) > 1 else math.nan


def _rest(runs: Tensor) -> float:
    """Var(rest), from what neither the run nor the datum explains."""
    S, N = runs.shape
    left = runs - runs.mean(1, keepdim=True) - runs.mean(0) + runs.mean()
    return left.square().sum().item() / max((S - 1) * (N - 1), 1)


def _freedom(*parts: tuple[float, int]) -> float:
    """Degrees of freedom of a sum of variances that have some of their own (Welch 1947, Satterthwaite 1946)."""
    total = sum(variance for variance, _ in parts)
    spread = sum(variance**2 / max(own, 1) for variance, own in parts)
    return max(1.0, total**2 / spread) if spread > 0 else 1.0


def _outcome(
    mean: float, of_data: float, of_seeds: float | None, total: float, freedom: float, level: float
) -> Outcome:
    se = math.sqrt(total)
    reach = quantile((1 + level) / 2, freedom) * se if math.isfinite(se) else math.nan
    se_seeds = None if of_seeds is None else math.sqrt(of_seeds)
    return Outcome(mean, math.sqrt(of_data), se_seeds, se, mean - reach, mean + reach)


def simultaneous(level: float, comparisons: int) -> float:
    """The level of each interval, for all of so many to hold together (Bonferroni)."""
    return 1 - (1 - level) / max(comparisons, 1)


def stacked(rows: list[Tensor]) -> Tensor:
    """Runs on the same N data as one table, [S, N]."""
    return torch.stack([row.double() for row in rows])
