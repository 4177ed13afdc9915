"""`python -m benchmarks [NAME ...]`: without a name, the quick ones that `make bench` runs."""

import json
import platform
import sys
from collections.abc import Callable, Iterator
from typing import Any

from benchmarks import coverage, hundred, speed, verdict

STUDIES: dict[str, Callable[[], Iterator[dict[str, Any]]]] = {
    "train": speed.training,
    "importance": speed.importance,
    "coverage": coverage.study,
    "verdict": verdict.study,
    "hundred": hundred.study,
}
QUICK = ("train", "importance")


def main(names: list[str]) -> None:
    machine = f"{platform.machine()}, {platform.processor() or platform.system()}, Python {platform.python_version()}"
    for name in names or QUICK:
        for row in STUDIES[name]():
            print(json.dumps({"study": name, **row, "machine": machine}), flush=True)


main(sys.argv[1:])
