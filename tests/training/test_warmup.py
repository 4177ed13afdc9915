"""The weight of the KL over the epochs: where it starts, how it rises, where it stays."""

import math
from itertools import pairwise

import pytest

from elbo_cli.training.warmup import WARM_UPS, warm_up


@pytest.mark.parametrize("schedule", WARM_UPS)
@pytest.mark.parametrize("epochs", [4, 7, 100])
def test_every_warm_up_begins_at_nothing_and_stays_at_beta(schedule: str, epochs: int) -> None:
    beta = warm_up(2.0, epochs, schedule, 3)
    assert beta(1) == 0.0
    assert all(0 <= beta(epoch) <= 2.0 for epoch in range(1, epochs + 1))
    assert [beta(epoch) for epoch in (epochs + 1, epochs + 2, 10 * epochs)] == [2.0] * 3


def test_beta_rises_in_equal_steps() -> None:
    beta = warm_up(2.0, 4)
    assert [beta(epoch) for epoch in range(1, 8)] == [0.0, 0.5, 1.0, 1.5, 2.0, 2.0, 2.0]
    assert [warm_up(0.3, 0)(epoch) for epoch in (1, 2)] == [0.3, 0.3]


def test_the_sigmoid_is_slow_at_both_ends_and_half_way_in_the_middle() -> None:
    beta = warm_up(1.0, 100, "sigmoid")
    values = [beta(epoch) for epoch in range(1, 102)]
    assert values == sorted(values)
    assert beta(51) == pytest.approx(0.5)
    assert beta(26) == pytest.approx(0.045, abs=0.005)
    assert beta(26) + beta(76) == pytest.approx(1)
    steepest = max(b - a for a, b in pairwise(values))
    assert steepest == pytest.approx(3 / 100 / math.tanh(3), rel=0.01), "a quarter of STEEP at the middle"


def test_cycles_rise_in_their_first_half_and_fall_back() -> None:
    beta = warm_up(1.0, 12, "cyclical", 3)
    cycle = [0.0, 0.5, 1.0, 1.0]
    assert [beta(epoch) for epoch in range(1, 15)] == [*cycle, *cycle, *cycle, 1.0, 1.0]
    one = warm_up(1.0, 4, "cyclical", 1)
    assert [one(epoch) for epoch in range(1, 6)] == [*cycle, 1.0]
