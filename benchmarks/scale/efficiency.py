"""Two cores for one command: two threads, or two ranks of one thread each, for training and for the gap."""

import csv
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from benchmarks.compare import Row, Setting, interleave, row
from benchmarks.images import as_files

ROOT = Path(__file__).parents[2]
CONFIG = """\
data: {{name: arrays, path: {path}, binarize: dynamic, valid: 1000, test: 1000}}
model: {{latent_dim: 50, encoder: {{hidden: [200, 200]}}, decoder: {{hidden: [200, 200]}}}}
train: {{epochs: 3, batch_size: {batch}, gap_every: 0}}
"""
WAYS = {"one thread": (1, 1), "two threads": (1, 2), "two ranks": (2, 1)}  # processes, threads
BATCHES = (100, 1000)


def study(setting: Setting) -> Iterator[Row]:
    """Ratios against two threads, and against one thread, of whose time two cores could take half."""
    rounds = 9 if setting.full else 4
    with tempfile.TemporaryDirectory() as name, as_files(setting, 6_000) as files:
        folder = Path(name)
        for batch in BATCHES:
            (folder / f"{batch}.yaml").write_text(CONFIG.format(path=files["grey"], batch=batch))
            work = {way: partial(_train, folder, batch, *WAYS[way]) for way in WAYS}
            yield from _rows(f"train, batch {batch}", interleave(work, rounds, warm=1))
        work = {way: partial(_gap, folder, *WAYS[way]) for way in WAYS}
        yield from _rows("gap, 256 data, K = 500", interleave(work, rounds, warm=1))


def _rows(name: str, seconds: dict[str, list[float]]) -> Iterator[Row]:
    for baseline in ("two threads", "one thread"):
        yield row(name, seconds, "two ranks", baseline, efficiency=_efficiency(seconds))


def _efficiency(seconds: dict[str, list[float]]) -> dict[str, float]:
    """Of two cores: the time of one thread over twice the time of both."""
    one = statistics.median(seconds["one thread"])
    return {way: round(one / (2 * statistics.median(seconds[way])), 3) for way in ("two threads", "two ranks")}


def _command(processes: int, *words: str) -> list[str]:
    launch = ["-m", "torch.distributed.run", "--nproc-per-node", str(processes)] if processes > 1 else []
    return [sys.executable, *launch, "-m", "elbo_cli", *words]


def _run(command: list[str], folder: Path, threads: int) -> str:
    home = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": str(threads), "GLOO_SOCKET_IFNAME": "lo"}
    done = subprocess.run(command, cwd=folder, env=os.environ | home, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def _train(folder: Path, batch: int, processes: int, threads: int) -> float:
    """Seconds of the third epoch, validation included; what comes before is warm-up."""
    out = folder / "run"
    subprocess.run(["rm", "-rf", str(out)], check=True)
    words = ("train", "--config", f"{batch}.yaml", f"threads={threads}", "--out", str(out))
    _run(_command(processes, *words), folder, threads)
    with (out / "metrics.csv").open() as file:
        seconds = [float(line["seconds"]) for line in csv.DictReader(file)]
    return seconds[-1] - seconds[-2]


def _gap(folder: Path, processes: int, threads: int) -> float:
    words = ("gap", "run", "--samples", "500", "--limit", "256", "--threads", str(threads), "--json")
    answer = _run(_command(processes, *words), folder, threads)
    return float(json.loads(answer.splitlines()[-1])["seconds"])
