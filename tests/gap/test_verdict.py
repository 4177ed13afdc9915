"""The verdict on draws: each of its clauses, and that none of them can be had for less."""

import math

import pytest

from elbo_cli.bounds.curve import Trend
from elbo_cli.gap.verdict import SEEN, Evidence, judge


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
