"""Rows of two runs side by side."""

from pathlib import Path

import pytest

from elbo_cli.records import EpochRecord
from elbo_cli.runs import RunFolder
from tests.experiments import timeless

ROUNDING = 1e-5  # relative, of float32 sums in another order; other noise is farther off than 1e-3


def row(record: EpochRecord) -> dict[str, float]:
    """What is known of an epoch, but for what a clock says."""
    found = {name: getattr(timeless(record), name) for name in EpochRecord.__slots__}
    return {name: value for name, value in found.items() if value is not None}


def same(run: Path, other: Path, nats: float = 1.0) -> None:
    """The rows of two runs agree to float32 rounding, gaps to that of the `nats` whose differences they are."""
    rows, others = (RunFolder(path).records() for path in (run, other))
    assert len(rows) == len(others)
    for mine, theirs in zip(rows, others, strict=True):
        assert row(mine) == pytest.approx(row(theirs), rel=ROUNDING, abs=ROUNDING * nats)


def equal(run: Path, other: Path) -> None:
    """The rows of two runs agree to the last bit."""
    assert list(map(row, RunFolder(run).records())) == list(map(row, RunFolder(other).records()))
