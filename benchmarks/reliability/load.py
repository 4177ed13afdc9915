"""A long run in miniature, whose memory must not grow; a folder of a thousand runs, listed in a second."""

import csv
import ctypes
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.reliability.child import elbo, fork, resident
from benchmarks.reliability.corrupt import TINY
from benchmarks.reliability.tally import Tally, counting
from elbo_cli.records import EpochRecord
from elbo_cli.runs import RunFolder

EPOCHS = 20_000
RUNS = 1_000
WARM = 0.2  # of the epochs, before memory is looked at
GROWTH = 0.5  # MB over the rest: Python's cache of attributes fills, which is 0.3 at most (docs/reliability.md)
LOOKS = 1000  # at memory
MEASURES = (  # name, column of the looks, unit
    ("resident", 1, "bytes"),
    ("Python's blocks", 2, "blocks"),
    ("handed out by malloc", 3, "bytes"),
)
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
    config, out, looks = folder / "long.yaml", folder / "long", folder / "looks"
    config.write_text(LONG.replace("DATA", str(folder / "x.npy")).replace("EPOCHS", str(epochs)))
    words = ["train", "--config", config, "--out", out, "--device", "cpu"]
    ended = fork(lambda: _watched(words, looks, max(1, epochs // LOOKS)), folder / "log").wait(3600)
    rows = list(csv.DictReader((out / "metrics.csv").open())) if ended.code == 0 else []
    numbers = [int(row["epoch"]) for row in rows]
    tally.tried = epochs
    tally.lost += (
        [] if numbers == list(range(1, epochs + 1)) else [f"{len(rows)} rows: {ended.code}: {ended.said[-200:]}"]
    )
    tally.lost += [] if all(None not in row.values() for row in rows) else ["a row is cut"]
    seen, late = np.loadtxt(looks), (1 - WARM) * epochs
    for name, column, unit in MEASURES:
        growth, error = slope(seen[:, 0], seen[:, column])
        tally.notes |= {f"{name}, {unit} an epoch": f"{growth / late:.3g} +- {error / late:.1g}"}
    growth, error = slope(seen[:, 0], seen[:, 1] / 2**20)
    tally.notes |= {"MB grown": round(growth, 3), "standard error, MB": round(error, 3), "looks": len(seen)}
    tally.notes["MB along the way"] = " ".join(f"{x.mean():.2f}" for x in np.array_split(seen[:, 1] / 2**20, 20))
    tally.notes |= {"files, bytes": sum(p.stat().st_size for p in out.iterdir()), "seconds of CPU": round(ended.cpu, 1)}
    if growth > GROWTH + 2 * error:
        tally.lost.append(f"memory grew by {growth:.2f} MB")


def _watched(words: list[str | Path], looks: Path, every: int) -> None:
    """The command, which writes down its memory at every so many epochs: after the row, where the epoch is over."""
    log = RunFolder.log

    def told(run: RunFolder, record: EpochRecord) -> None:
        log(run, record)
        if record.epoch % every == 0:
            with looks.open("a") as file:
                pages = resident(os.getpid()) * 2**20
                file.write(f"{record.epoch} {pages:.0f} {sys.getallocatedblocks()} {in_use()}\n")

    RunFolder.log = told  # type: ignore[method-assign]  # in this child alone
    elbo(*words)


class _MallInfo(ctypes.Structure):
    """What glibc's mallinfo2 fills in."""

    _fields_ = [(name, ctypes.c_size_t) for name in "arena ordblks smblks hblks hblkhd".split()]
    _fields_ += [(name, ctypes.c_size_t) for name in "usmblks fsmblks uordblks fordblks keepcost".split()]


LIBRARY = ctypes.CDLL(None)  # made once: each one leaves objects in a cycle
if hasattr(LIBRARY, "mallinfo2"):
    LIBRARY.mallinfo2.restype = _MallInfo


def in_use() -> int:
    """Bytes that malloc has handed out and not got back; 0 where its library does not tell."""
    if not hasattr(LIBRARY, "mallinfo2"):
        return 0
    found = LIBRARY.mallinfo2()
    return int(found.uordblks + found.hblkhd)


def slope(t: "np.ndarray[Any, Any]", y: "np.ndarray[Any, Any]") -> tuple[float, float]:
    """What y grows by from the end of the warm-up to the end, by least squares, and its standard error.

    Looks in a row say the same thing: the error is that of ten means, not of all looks.
    """
    end = t.max()
    t, y = t[t > WARM * end], y[t > WARM * end]
    parts = [(a.mean(), b.mean()) for a, b in zip(np.array_split(t / end, 10), np.array_split(y, 10), strict=True)]
    x, means = np.array(parts).T
    fit, residual, *_ = np.polyfit(x, means, 1, full=True)
    left = float(residual[0]) if len(residual) else 0.0
    error = float(np.sqrt(left / 8 / ((x - x.mean()) ** 2).sum()))
    return float(fit[0]) * (1 - WARM), error * (1 - WARM)


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
