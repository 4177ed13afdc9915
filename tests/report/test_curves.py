"""What of a column is drawn: the epochs that measured it, and finite numbers alone."""

import math

from elbo_cli.records import EpochRecord
from elbo_cli.report.curves import late, measured
from elbo_cli.report.figures.training import ledger


def test_what_was_not_measured_or_is_not_finite_is_no_point() -> None:
    values = [-3.0, None, math.nan, math.inf, -math.inf, 0.0]
    records = [EpochRecord(epoch=n, valid_elbo=value) for n, value in enumerate(values, 1)]
    assert measured(records, "valid_elbo") == [(1, -3.0), (6, 0.0)]


def test_the_first_tenth_of_the_epochs_is_early() -> None:
    assert [epoch for epoch, _ in late([(float(n), 0.0) for n in range(1, 21)])] == list(range(3, 21))
    assert late([]) == []


def test_the_ledger_counts_epochs_whose_two_changes_are_finite() -> None:
    moved = [(1.0, -2.0), (math.nan, 0.5), (4.0, math.inf), (8.0, None), (16.0, -1.0)]
    records = [EpochRecord(epoch=n, delta_log_px=a, delta_gap=b, valid_gap=1.0) for n, (a, b) in enumerate(moved, 1)]
    drawn = ledger(records)
    assert drawn is not None
    assert "+20.00 nats" in drawn.caption
    assert "+17.00 are a better model" in drawn.caption
