"""A long run in miniature, whose memory must not grow; a folder of a thousand runs, listed in a second."""

import csv
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks.reliability.child import elbo, fork
from benchmarks.reliability.corrupt import TINY
from benchmarks.reliability.tally import Tally, counting

EPOCHS = 20_000
RUNS = 1_000
WARM = 0.2  # of the epochs, before memory is looked at
GROWTH = 2.0  # MB over the rest of 20,000 epochs: 1.5 is seen, none of it in Python's own heap (docs/reliability.md)
LISTED = 1.0  # seconds of CPU for a thousand runs
LONG = """\
data: {name: arrays, path: DATA, valid: 8, test: 8}
model: {latent_dim: 1, encoder: {hidden: [2]}, decoder: {hidden: [2]}}
train: {epochs: EPOCHS, batch_size: 16, gap_every: 100, gap_samples: 2, gap_examples: 4}
"""


def run(count: int | None) -> Iterator[Tally]:
    """`count` is the number of epochs, and twenty times the number of runs."""
    epochs = count or EPOCHS
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        with counting("epochs") as tally:
            _long_run(folder, epochs, tally)
        yield tally
        with counting("runs in a folder") as tally:
            _many_runs(folder, min(RUNS, max(20, epochs // 20)), tally)
        yield tally


def _long_run(folder: Path, epochs: int, tally: Tally) -> None:
    np.save(folder / "x.npy", (np.random.default_rng(0).random((32, 4)) > 0.5).astype("f4"))
    config, out = folder / "long.yaml", folder / "long"
    config.write_text(LONG.replace("DATA", str(folder / "x.npy")).replace("EPOCHS", str(epochs)))
    child = fork(lambda: elbo("train", "--config", config, "--out", out, "--device", "cpu"), folder / "log")
    seen: list[tuple[int, float]] = []
    while not _ended(child.pid):
        if (memory := _memory(child.pid)) and (out / "metrics.csv").exists():
            seen.append(((out / "metrics.csv").stat().st_size, memory))
        time.sleep(0.05)
    ended = child.wait()
    rows = list(csv.DictReader((out / "metrics.csv").open())) if ended.code == 0 else []
    numbers = [int(row["epoch"]) for row in rows]
    tally.tried = epochs
    tally.lost += (
        [] if numbers == list(range(1, epochs + 1)) else [f"{len(rows)} rows: {ended.code}: {ended.said[-200:]}"]
    )
    tally.lost += [] if all(None not in row.values() for row in rows) else ["a row is cut"]
    end = max(size for size, _ in seen)
    seen = [look for look in seen if look[0] < 0.999 * end]  # at the very end all rows are read, for the closing words
    growth, error = slope(seen, end)
    tally.notes |= {"MB grown": round(growth, 3), "standard error, MB": round(error, 3), "looks": len(seen)}
    tally.notes["MB along the way"] = " ".join(
        f"{part.mean():.1f}" for part in np.array_split([m for _, m in seen], 20)
    )
    tally.notes |= {"files, bytes": sum(p.stat().st_size for p in out.iterdir())}
    if growth > GROWTH + 2 * error:
        tally.lost.append(f"memory grew by {growth:.2f} MB")


def slope(seen: list[tuple[int, float]], end: int) -> tuple[float, float]:
    """MB that memory grows by from the end of the warm-up to the end, by least squares, and its standard error.

    Looks in a row say the same thing: the error is that of ten means, not of all looks.
    """
    t, y = np.array([look for look in seen if look[0] > WARM * end]).T
    parts = [(a.mean(), b.mean()) for a, b in zip(np.array_split(t / end, 10), np.array_split(y, 10), strict=True)]
    x, means = np.array(parts).T
    fit, residual, *_ = np.polyfit(x, means, 1, full=True)
    error = float(np.sqrt(residual.sum() / 8 / ((x - x.mean()) ** 2).sum()))
    return float(fit[0]) * (1 - WARM), error * (1 - WARM)


def _ended(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def _memory(pid: int) -> float:
    """Resident memory, MB."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize() / 2**20
    except (OSError, IndexError):
        return 0.0


def _many_runs(folder: Path, runs: int, tally: Tally) -> None:
    (folder / "tiny.yaml").write_text(TINY)
    home = folder / "runs"
    home.mkdir()
    ended = fork(lambda: elbo("train", "--config", folder / "tiny.yaml", "--out", home / "0"), folder / "log").wait()
    assert ended.code == 0, ended
    for i in range(1, runs):
        shutil.copytree(home / "0", home / str(i))
    before = os.times()
    words = [sys.executable, "-m", "elbo_cli", "runs", str(home), "--csv"]
    began = time.perf_counter()
    said = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    after = os.times()
    busy = after.children_user + after.children_system - before.children_user - before.children_system
    tally.tried = runs
    tally.notes |= {"seconds": round(time.perf_counter() - began, 2), "seconds of CPU": round(busy, 2)}
    tally.lost += [] if said.count("\n") == runs + 1 else [f"{said.count(chr(10))} lines"]
    tally.lost += [] if busy < LISTED * max(1.0, runs / RUNS) else [f"took {busy:.2f} s of CPU"]
