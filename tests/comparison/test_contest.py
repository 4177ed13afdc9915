"""The error of a difference: against a closed form, and against how often intervals hold over repeated experiments."""

import math

import pytest
import torch
from scipy.stats import t, ttest_ind
from torch import Tensor

from elbo_cli.comparison.contest import contest, paired, simultaneous

N = 50


def crossed(S: int, seed: float, data: float, rest: float, shared: Tensor | None = None) -> Tensor:
    """S runs on N data: an effect of the run, of the datum, of both, and what all configs have in common."""
    shared = torch.zeros(N) if shared is None else shared
    runs = seed * torch.randn(S, 1) + data * torch.randn(N) + rest * torch.randn(S, N) + shared
    return runs.double()


def test_a_paired_difference_is_the_closed_form() -> None:
    a, b = torch.tensor([1.0, 2.0, 4.0, 9.0]), torch.tensor([0.0, 2.0, 3.0, 5.0])  # d = 1, 0, 1, 4
    assert paired(a, b) == pytest.approx((1.5, math.sqrt(3 / 4)))  # Var d = (0.25 + 2.25 + 0.25 + 6.25) / 3 = 3
    found = contest(a[None], b[None])
    assert (found.mean, found.se_data, found.se) == pytest.approx((1.5, math.sqrt(0.75), math.sqrt(0.75)))
    assert found.se_seeds is None
    assert found.high - found.mean == pytest.approx(t.ppf(0.975, 3) * math.sqrt(0.75))


def test_what_all_runs_find_hard_cancels() -> None:
    hard = 100 * torch.randn(N)
    a, b = crossed(3, 0.1, 0.1, 0.1), crossed(3, 0.1, 0.1, 0.1)
    plain, shifted = contest(a, b), contest(a + hard, b + hard)
    assert shifted.se == pytest.approx(plain.se, rel=1e-5)
    assert shifted.se_data < 0.1  # unpaired, it would be 100 sqrt(2 / 50) = 20


def test_seeds_alone_give_welchs_test() -> None:
    """Where the data make no difference at all, what is left is the t test of two groups of unequal variance."""
    a, b = torch.tensor([1.0, 1.2, 1.7]), torch.tensor([0.2, 0.9, 0.1, 0.5])
    found = contest(a[:, None].expand(-1, N), b[:, None].expand(-1, N))
    interval = ttest_ind(a.double().numpy(), b.double().numpy(), equal_var=False).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high), rel=1e-6)
    assert found.se_data == pytest.approx(0, abs=1e-9)


def test_the_error_holds_each_part_of_the_variance_once() -> None:
    """Var = Var(seed) (1/S + 1/T) + Var(datum) 2/N + Var(rest) (1/S + 1/T) / N, on average over experiments."""
    S, T, parts = 3, 4, (0.3, 1.0, 2.0)
    found = [contest(crossed(S, *parts), crossed(T, *parts)).se ** 2 for _ in range(1500)]
    truth = 0.3**2 * (1 / S + 1 / T) + 1.0 * 2 / N + 2.0**2 * (1 / S + 1 / T) / N
    estimates = torch.tensor(found, dtype=torch.float64)
    se = estimates.std() / math.sqrt(len(found))
    double = 2.0**2 * (1 / S + 1 / T) / N  # what counting the rest twice would add
    assert 4 * se < 0.5 * double, "blind"
    # held from below by the larger of its parts, the estimate may lie a little above, never below
    assert truth - 4 * se < estimates.mean() < truth + 0.25 * double


@pytest.mark.parametrize("parts", [(1.0, 0.0, 0.0), (0.0, 1.0, 1.0), (0.2, 1.0, 1.0)])
def test_intervals_hold_as_often_as_they_say(parts: tuple[float, float, float]) -> None:
    """Two configs that are equal: over repeated trainings and data, 95 % of the intervals hold 0, or more."""
    R = 2000
    hits = sum((o := contest(crossed(3, *parts), crossed(3, *parts))).low <= 0 <= o.high for _ in range(R))
    assert hits / R > 0.95 - 4 * math.sqrt(0.05 * 0.95 / R)


def test_one_seed_for_the_whole_would_be_told_wrongly() -> None:
    """The negative control: with the error across data alone, seeds that differ are taken for configs that do."""
    R = 100
    found = [contest(crossed(3, 1.0, 0.1, 0.1), crossed(3, 1.0, 0.1, 0.1)) for _ in range(R)]
    wrong = sum(abs(o.mean) > 2 * o.se_data for o in found)
    assert wrong / R > 0.5


def test_runs_that_are_the_same_differ_by_nothing() -> None:
    a = crossed(3, 1.0, 1.0, 1.0)
    found = contest(a, a)
    assert (found.mean, found.se_data) == (0.0, 0.0)
    assert found.low < 0 < found.high


def test_one_datum_says_nothing_of_others() -> None:
    found = contest(torch.ones(1, 1), torch.zeros(1, 1))
    assert found.mean == 1
    assert math.isnan(found.low)


def test_many_intervals_are_wider() -> None:
    assert simultaneous(0.95, 1) == pytest.approx(0.95)
    assert simultaneous(0.95, 5) == pytest.approx(0.99)
