"""What a subject ends with: how many cases were tried, how many survived, and which were lost."""

import json
import os
import platform
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch

SHOWN = 5  # lost cases in a line


@dataclass(slots=True)
class Tally:
    """Cases of one kind, counted as they come."""

    name: str
    tried: int = 0
    lost: list[str] = field(default_factory=list)
    skipped: str = ""  # the reason, where this machine cannot do it
    notes: dict[str, float | str] = field(default_factory=dict)
    seconds: float = 0.0

    def count(self, case: str, lost: str | None) -> None:
        """A case that survived (None), or was lost, with the reason."""
        self.tried += 1
        if lost is not None:
            self.lost.append(f"{case}: {lost}")

    def line(self, words: Sequence[str]) -> str:
        """The JSON line."""
        return json.dumps(
            {
                "name": self.name,
                "tried": self.tried,
                "survived": self.tried - len(self.lost),
                "lost": len(self.lost),
                "seconds": round(self.seconds, 1),
                "command": " ".join(["python -m benchmarks.reliability", *words]),
                "machine": machine(),
            }
            | ({"examples": self.lost[:SHOWN]} if self.lost else {})
            | ({"skipped": self.skipped} if self.skipped else {})
            | self.notes
        )


@contextmanager
def counting(name: str) -> Iterator[Tally]:
    """A tally with its time."""
    tally, began = Tally(name), time.perf_counter()
    yield tally
    tally.seconds = time.perf_counter() - began


def machine() -> str:
    """Enough to know what the seconds are worth."""
    return (
        f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, "
        f"Python {platform.python_version()}, torch {torch.__version__}"
    )
