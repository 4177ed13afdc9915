"""The end of a chain that yields its states."""

from collections import deque
from collections.abc import Iterator
from typing import TypeVar

S = TypeVar("S")


def last(states: Iterator[S]) -> S:
    """Run to the end and keep only the last state."""
    return deque(states, maxlen=1)[0]
