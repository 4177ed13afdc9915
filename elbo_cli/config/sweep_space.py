"""The space of a sweep: for each config key the values that it takes, or a range of numbers to draw from."""

import json
import math
import random
from dataclasses import dataclass
from typing import Any

from elbo_cli.config.errors import Complaint
from elbo_cli.config.schema import found
from elbo_cli.config.yaml_source import Node


@dataclass(frozen=True, slots=True)
class Range:
    """Numbers from low to high; whole ones where both ends are written so."""

    low: float
    high: float
    log: bool = False

    @property
    def whole(self) -> bool:
        """Whether it is of whole numbers."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    def draw(self, numbers: random.Random) -> str:
        """A number, as text: uniform, or uniform in its logarithm."""
        ends = (math.log(self.low), math.log(self.high)) if self.log else (self.low, self.high)
        value = math.exp(numbers.uniform(*ends)) if self.log else numbers.uniform(*ends)
        return repr(min(max(round(value) if self.whole else value, self.low), self.high))

    @property
    def ends(self) -> tuple[str, str]:
        """Both ends, as text."""
        return repr(self.low), repr(self.high)


Choices = tuple[str, ...]  # values as they are written in YAML
Point = dict[str, str]  # dotted key -> value, as text
Space = dict[str, Choices | Range]


def read_space(node: Node, complaints: list[Complaint]) -> Space:
    """The space, as far as it can be read; mistakes join the complaints."""
    if not isinstance(node.value, dict) or not node.value:
        complaints.append(Complaint(node.place, ("space",), f"found {found(node)}, allowed: config keys to vary."))
        return {}
    space: Space = {}
    for key, values in node.value.items():
        read = _range(values) if isinstance(values.value, dict) else _listed(values)
        if not key or "=" in key:
            sentence = "no such key: it is empty, or has an '=' in it."
            complaints.append(Complaint(values.place, ("space", key), sentence))
        elif isinstance(read, str):
            complaints.append(Complaint(values.place, ("space", key), read))
        else:
            space[key] = read
    return space


def _listed(node: Node) -> Choices | str:
    if not isinstance(node.value, list) or not node.value:
        return f"found {found(node)}, allowed: a list of values, or {{low: 1e-4, high: 1e-2, log: true}}."
    values = tuple(_written(value) for value in node.value)
    return twice(node) or values


def twice(node: Node) -> str:
    """A sentence on the first item of a list that is there already, or nothing: 1e-3 and 0.001 are one number."""
    seen: set[str] = set()
    for item in node.value if isinstance(node.value, list) else []:
        if repr(item.plain) in seen:
            return f"{found(item)} is listed twice, and would be trained twice. Keep one."
        seen.add(repr(item.plain))
    return ""


def _written(node: Node) -> str:
    """A value as an override takes it."""
    return json.dumps(node.plain) if isinstance(node.value, dict | list) or node.quoted else node.written


def _range(node: Node) -> Range | str:
    plain: dict[str, Any] = node.plain
    if not {"low", "high"} <= set(plain) <= {"low", "high", "log"}:
        return f"found {found(node)}, allowed: low, high and log, as in {{low: 1e-4, high: 1e-2, log: true}}."
    low, high, log = plain["low"], plain["high"], plain.get("log", False)
    numbers = all(isinstance(end, int | float) and not isinstance(end, bool) for end in (low, high))
    if not numbers or not low < high or not math.isfinite(high - low):
        shown = (found(node.at((end,))) for end in ("low", "high"))
        return "low {} and high {} are no range: give two finite numbers, the smaller one first.".format(*shown)
    if not isinstance(log, bool) or (log and low <= 0):
        return f"log {found(node.at(('log',)))} from low {low} on: log is true or false, and true needs low above 0."
    return Range(low, high, log)
