"""A thousand workers on one sweep, and a thousand shards of one gap, on paper: measured costs, stragglers, failures.

    python -m benchmarks simulation

A timing model and no measurement of a cluster. Each worker claims a trial under one lock (as the sweep does), trains it
epoch by epoch, and may be a straggler or be cut off; what is cut off goes on from its last whole epoch elsewhere.
"""

import heapq
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.compare import Row, Setting

UNITS = Path(__file__).parent / "units.json"
HOUR, BACK = 3600.0, 120.0  # seconds; until a machine that was lost is there again


@dataclass(frozen=True, slots=True)
class World:
    """What a cluster does to a worker."""

    slow_share: float = 0.02  # of the workers
    slower: float = 5.0  # times
    hours_between_failures: float = 24.0  # of one worker, exponential


QUIET = World(slow_share=0.0, hours_between_failures=1e9)
ROUGH = World()
WORST = World(slow_share=0.05, slower=10.0, hours_between_failures=2.0)
WORLDS = {"quiet": QUIET, "rough": ROUGH, "worst": WORST}


def study(setting: Setting) -> Iterator[Row]:
    """Makespan and efficiency of both, for several numbers of workers."""
    units = json.loads(UNITS.read_text())
    epoch = 55_000 * units["train_us_per_datum"] * 1e-6
    claim = _claim(units)
    for name, world in WORLDS.items():
        for workers in (10, 100, 1000):
            yield _sweep(10 * workers, 100, epoch, workers, claim, world) | {"what": "sweep", "world": name}
    for name, world in WORLDS.items():
        for shards in (100, 1000):
            yield _gap(1_000_000, 5000, shards, units, world) | {"what": "gap", "world": name}


def _alive(numbers: random.Random, world: World) -> float:
    """Seconds until a worker is lost."""
    return numbers.expovariate(1 / (HOUR * world.hours_between_failures))


def _claim(units: Row) -> tuple[float, float]:
    """Seconds of a claim as a + b n, n trials on the journal."""
    few, many = (units["claim_ms"][n] * 1e-3 for n in ("100", "1000"))
    slope = (many - few) / 900
    return max(few - 100 * slope, 0.0), slope


def _sweep(runs: int, epochs: int, epoch: float, workers: int, claim: tuple[float, float], world: World) -> Row:
    """Runs of `epochs` epochs of `epoch` seconds each (times a factor of their own), 10 to a worker."""
    numbers = random.Random(0)
    speed = [world.slower if numbers.random() < world.slow_share else 1.0 for _ in range(workers)]
    left = [(0.0, epochs, numbers.lognormvariate(0, 0.3)) for _ in range(runs)]  # from when, epochs to go, its factor
    ready = [(0.0, worker) for worker in range(workers)]
    lock, waited, busy, lost, end = 0.0, 0.0, 0.0, 0.0, 0.0
    hold = claim[0] + claim[1] * runs
    while left:
        since, togo, factor = heapq.heappop(left)
        now, worker = heapq.heappop(ready)
        begin = max(now, since)
        waited += max(lock - begin, 0.0)
        lock = max(lock, begin) + hold
        each, alive = epoch * factor * speed[worker], _alive(numbers, world)
        done = min(togo, int(alive / each))
        busy += done * epoch * factor
        if done < togo:  # cut off: the epoch that it was in is lost, and the run goes on elsewhere
            lost += alive - done * each
            heapq.heappush(left, (lock + alive, togo - done, factor))
            heapq.heappush(ready, (lock + alive + BACK, worker))
            continue
        end = max(end, lock + togo * each)
        heapq.heappush(ready, (lock + togo * each, worker))
    return {
        "workers": workers,
        "runs": runs,
        "hours": round(end / HOUR, 2),
        "efficiency": round(busy / (end * workers), 3),
        "waiting_for_the_lock": round(waited / (end * workers), 4),
        "lost_to_failures": round(lost / (end * workers), 5),
    }


def _gap(N: int, K: int, shards: int, units: Row, world: World) -> Row:
    """N data in as many shards as machines; a shard that is lost begins anew, on the machine when it is back."""
    numbers = random.Random(0)
    each = units["gap_ms_per_datum"] * 1e-3 + K * units["gap_us_per_draw"] * 1e-6
    work = units["startup_s"] + N / shards * each
    ends, again = [], 0
    for _ in range(shards):
        spent, length = 0.0, work * (world.slower if numbers.random() < world.slow_share else 1.0)
        while (alive := _alive(numbers, world)) < length:
            spent, again = spent + alive + BACK, again + 1
        ends.append(spent + length)
    merge = N / 64 * units["merge_ms_per_part"] * 1e-3  # an upper reading: the part that was measured has 64 rows
    return {
        "shards": shards,
        "N": N,
        "hours": round((max(ends) + merge) / HOUR, 2),
        "median_shard_hours": round(sorted(ends)[shards // 2] / HOUR, 2),
        "efficiency": round(N * each / (shards * (max(ends) + merge)), 3),
        "shards_measured_again": again,
        "merge_s": round(merge, 1),
        "table_mb": round(N * units["part_bytes_per_datum"] / 1e6),
    }
