"""A curve in one line of text."""

import math
from collections.abc import Sequence
from itertools import pairwise

BLOCKS = "▁▂▃▄▅▆▇█"


def sparkline(values: Sequence[float], width: int) -> str:
    """The values as blocks of eight heights, at most `width` of them: each is the mean of as many neighbours.

    Heights run from the first quartile to the largest value, so that the climb of the first epochs, which is longer
    than all that follows, does not flatten it; what lies lower is at the bottom. What is not finite is a blank.
    """
    if width < 1:
        return ""
    means = _thinned(values, width)
    finite = sorted(value for value in means if math.isfinite(value))
    if not finite:
        return " " * len(means)
    low, high = finite[len(finite) // 4], finite[-1]
    return "".join(_block(value, low, high) for value in means)


def _thinned(values: Sequence[float], width: int) -> list[float]:
    n = min(width, len(values))
    cuts = [round(i * len(values) / n) for i in range(n + 1)] if n else []
    pieces = [values[first:last] for first, last in pairwise(cuts)]
    return [sum(piece) / len(piece) for piece in pieces]


def _block(value: float, low: float, high: float) -> str:
    if not math.isfinite(value):
        return " "
    height = (value - low) / (high - low) if high > low else 0.0
    return BLOCKS[round(max(0.0, height) * (len(BLOCKS) - 1))]
