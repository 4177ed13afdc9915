"""Speed as ratios of medians in one run, the contenders in turn: A B A B ... The one place that times and concludes."""

import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from benchmarks.worker import Timed

T = TypeVar("T")
Work = Callable[[], Any]  # a piece of work; one that times itself elsewhere returns its seconds as a float
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Setting:
    """What a measurement may use: real MNIST, the peers' Python, and hours in the place of minutes."""

    root: Path | None = None  # holds MNIST/raw; None: synthetic data of the same shape
    peers: Path | None = None  # a Python that has the peers; None: they are skipped, saying so
    full: bool = False


def interleave(contenders: Mapping[str, Work], rounds: int, warm: int = 1) -> dict[str, list[float]]:
    """Seconds of each contender: `warm` runs that do not count, then `rounds` runs of each, in turn."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for run in range(warm + rounds):
        for name, work in contenders.items():
            began = time.perf_counter()
            told = work()
            spent = told if isinstance(told, float) else time.perf_counter() - began
            if run >= warm:
                seconds[name].append(spent)
    return seconds


def row(name: str, seconds: Mapping[str, list[float]], ours: str, baseline: str, **more: Any) -> Row:
    """How many times the baseline's time ours takes: the ratio of medians.

    `spread` holds the quartiles of the ratios of neighbouring runs. Where it is wider than the ratio is away from 1,
    the measurement concludes nothing.
    """
    ratio = statistics.median(seconds[ours]) / statistics.median(seconds[baseline])
    low, _, high = statistics.quantiles([a / b for a, b in zip(seconds[ours], seconds[baseline], strict=True)], n=4)
    concluded = high - low < abs(1 - ratio)
    return {
        "name": name,
        "ratio": round(ratio, 3),
        "baseline": baseline,
        "median": {each: round(statistics.median(times), 4) for each, times in seconds.items()},
        "spread": [round(low, 3), round(high, 3)],
        "conclusion": f"{ours} takes {ratio:.2f} x the time of {baseline}" if concluded else None,
        "rounds": len(seconds[ours]),
        **_of_cpu(seconds[ours], seconds[baseline]),
        **more,
    }


def _of_cpu(ours: list[float], baseline: list[float]) -> dict[str, float]:
    """The ratio in CPU seconds, where they are known: of one thread on a busy machine it is the better one."""
    cpu = [[time.cpu for time in times if isinstance(time, Timed)] for times in (ours, baseline)]
    return {"ratio_cpu": round(statistics.median(cpu[0]) / statistics.median(cpu[1]), 3)} if all(cpu) else {}


def skipped(name: str, why: str) -> Row:
    """A measurement that was not made, and why."""
    return {"name": name, "skipped": why}


def chosen(rows: Sequence[T]) -> Sequence[T]:
    """All rows of a study, or those whose numbers ONLY names, as in ONLY=3,4."""
    only = os.environ.get("ONLY")
    return [rows[int(i)] for i in only.split(",")] if only else rows


def machine() -> str:
    """What the figures were measured on, in a few words."""
    import torch

    from elbo_cli.cores import cores

    capability = torch.backends.cpu.get_cpu_capability()
    versions = f"Python {platform.python_version()}, torch {torch.__version__}"
    return f"{_processor()}, {cores()} cores, {capability}, {versions}"


def _processor() -> str:
    listed = Path("/proc/cpuinfo")
    lines = listed.read_text().splitlines() if listed.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
