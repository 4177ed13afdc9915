"""Curves over epochs: what of a column can be drawn, and what of it sets the scale."""

import math
from collections.abc import Sequence

from elbo_cli.records import EpochRecord

Points = Sequence[tuple[float, float]]

EARLY = 0.1  # of the epochs: their steep beginning must not flatten all that follows


def measured(records: Sequence[EpochRecord], column: str) -> list[tuple[int, float]]:
    """(epoch, value) of the epochs that measured a column; what is not finite, as in a file edited by hand, is none."""
    points = [(record.epoch, getattr(record, column)) for record in records]
    return [(epoch, value) for epoch, value in points if value is not None and math.isfinite(value)]


def late(points: Points) -> list[tuple[float, float]]:
    """The points without the first tenth of the epochs."""
    return [point for point in points if point[0] > EARLY * points[-1][0]]
