"""The verdict on draws: each of its clauses, and that none of them can be had for less."""

import math

import pytest
import torch

from elbo_cli.bounds.curve import Trend, log_mean_exp
from elbo_cli.gap.verdict import SEEN, Evidence, interval, judge, remainder
from elbo_cli.records import Estimate
from tests.statistics import outside, within


def evidence(**given: object) -> Evidence:
    """Everything as it should be, but for what is given."""
    increment = float(given.pop("increment", 0.003))  # type: ignore[arg-type]
    rho = float(given.pop("rho", 0.25))  # type: ignore[arg-type]
    good: dict[str, object] = {"se_mc": 0.002, "khat_median": 0.3, "khat_above": 0.1, "defended": True}
    numbers = good | {"tolerance": 0.05, "K": 1000} | given
    return Evidence(trend=Trend(increment, 0.0, rho, 0.0, 0.0), **numbers)  # type: ignore[arg-type]


def test_what_is_good_in_everything_is_resolved() -> None:
    assert judge(evidence()).resolved


@pytest.mark.parametrize(
    ("given", "word", "reason", "advice"),
    [
        ({"K": 20}, "partial", "too few to judge", "--samples 500"),
        ({"khat_median": 0.71}, "unresolved", "too heavy a tail", "--method ais"),
        ({"khat_median": 0.71, "defended": False}, "unresolved", "too heavy a tail", "--proposal auto"),
        ({"increment": 0.1, "rho": 0.7}, "unresolved", "hardly slows", "--method ais"),
        ({"increment": 0.2, "rho": 0.4}, "partial", "bias and noise", "--samples 4000"),
        ({"se_mc": 0.03}, "partial", "bias and noise", "--samples 4000"),
        ({"khat_above": 0.21, "increment": 0.03}, "partial", "not shown to be reliable", "--samples 4000"),
        ({"khat_above": 0.61}, "partial", "not shown to be reliable", "--samples 4000"),
        ({"defended": False}, "partial", "come from one place", "--proposal auto"),
        ({"increment": math.nan, "rho": math.nan}, "partial", "bias and noise", "--samples 4000"),
    ],
)
def test_each_clause_keeps_it_from_being_resolved(
    given: dict[str, object], word: str, reason: str, advice: str
) -> None:
    verdict = judge(evidence(**given))
    assert (verdict.word, verdict.advice) == (word, advice)
    assert reason in verdict.reason


@pytest.mark.parametrize(("K", "resolved"), [(SEEN, True), (SEEN - 1, False)])
def test_a_flat_curve_excuses_alarms_only_where_large_weights_had_their_chance(K: int, resolved: bool) -> None:
    """With 256 draws such a curve was flat in one run of eight, and then 0.03 short: its weights had not come yet."""
    assert judge(evidence(khat_above=0.45, K=K)).resolved is resolved
    assert judge(evidence(khat_above=0.15, K=K)).resolved


def test_a_smaller_tolerance_is_harder_to_meet() -> None:
    assert judge(evidence(tolerance=0.02)).resolved
    assert not judge(evidence(tolerance=0.004)).resolved


# what may be left


@pytest.mark.parametrize(
    ("rho", "khat", "times"),
    [(0.25, 0.3, 1 / 3), (0.0, 0.5, 1 / 3), (0.5, 0.3, 1.0), (0.25, 2 / 3, 1.0), (0.75, 2 / 3, 3.0), (5.0, 0.3, 9.0)],
)
def test_what_is_left_is_the_last_rise_as_slow_as_curve_or_tail(rho: float, khat: float, times: float) -> None:
    """The rises to come add up to rho / (1 - rho) times the last: 1/3 as 1/K, 1 where k = 2/3 and so rho = 4^(-1/2)."""
    assert remainder(Trend(0.006, 0.0, rho, 0.0, 0.0), khat) == pytest.approx(0.006 * times)
    assert remainder(Trend(0.006, 0.001, rho, 0.0, 0.0), khat) == pytest.approx(0.008 * times)


@pytest.mark.parametrize("k", [0.6, 0.7])  # above 0.7 nothing is resolved
def test_the_bias_of_weights_without_a_variance_falls_as_their_tail_lets_it(k: float) -> None:
    """Pareto weights of mean 1: four times the draws leave 4^(1 - 1/k) of the bias, and not the quarter of 1/K."""
    N, K = 40_000, 64
    uniform = torch.rand(4 * K, N, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    log_w = -k * uniform.log() + math.log1p(-k)
    few, many = log_mean_exp(log_w.view(4, K, N), 1).mean(0), log_mean_exp(log_w)
    bias = -few.mean().item()
    rate = 4 ** (1 - 1 / k)
    within(many - rate * few, 0.0, resolve=0.15 * rate * bias)
    outside(many - 0.25 * few, 0.0)


def test_a_heavy_tail_may_hide_more_than_the_tolerance_behind_the_same_curve() -> None:
    assert judge(evidence(increment=0.06, khat_median=0.4)).resolved
    assert not judge(evidence(increment=0.06, khat_median=0.65)).resolved


def test_the_interval_is_noise_to_both_sides_and_what_is_left_above() -> None:
    found = interval(Estimate(-90.0, 1.0, 0.01), 0.02)
    assert found.low == pytest.approx(-90 - 0.0196, abs=1e-6)
    assert found.high == pytest.approx(-90 + 0.02 + 0.0196, abs=1e-6)
