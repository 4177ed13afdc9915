"""Unit costs, one thread, on this machine: what docs/scale.md multiplies. Writes benchmarks/scale/units.json.

In seconds of CPU, which a busy neighbour changes less than the clock's, though not little: docs/scale.md says by how
much runs of this differed. A message between processes is timed by the clock, and the fastest of thirty counts.
"""

import json
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.compare import Row, Setting
from benchmarks.images import as_files
from benchmarks.scale.efficiency import CONFIG, _command, _run

HERE = Path(__file__).parent / "units.json"
REDUCE = """\
import sys, time, torch
from elbo_cli.ranks import together, summed
with together(torch.device("cpu")) as mine:
    for n in (10_000, 400_000, 4_000_000):
        x, spent = torch.ones(n), []
        for _ in range(30):
            began = time.perf_counter()
            summed(x.fill_(1.0))
            spent.append(time.perf_counter() - began)
        if mine.first:
            print(n, min(spent), flush=True)
"""


def study(setting: Setting) -> Iterator[Row]:
    """One row for each unit; the last writes them all down."""
    found: Row = {}
    with tempfile.TemporaryDirectory() as name, as_files(setting, 12_000) as files:
        folder = Path(name)
        (folder / "100.yaml").write_text(CONFIG.format(path=files["grey"], batch=100))
        for part in (_training, _gap, _parts, _network, _claims):
            row = part(folder, files)
            found |= row
            yield {"name": part.__name__.strip("_"), **row}
    HERE.write_text(json.dumps(found, indent=2) + "\n")


def _cpu(work: Callable[[], Any]) -> float:
    """Seconds of CPU of a piece of work in this process."""
    began = time.process_time()
    work()
    return time.process_time() - began


def _spent(folder: Path, *words: str) -> float:
    """Seconds of CPU of a command."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    _run(_command(1, *words), folder, 1)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def _training(folder: Path, files: dict[str, str]) -> Row:
    words = ("train", "--config", "100.yaml", "train.epochs={}", "--out", "run{}")
    seconds = {n: _spent(folder, *(word.format(n) for word in words)) for n in (1, 3)}
    manifest = json.loads((folder / "run3" / "manifest.json").read_text())
    (folder / "run3").rename(folder / "run")
    each = (seconds[3] - seconds[1]) / 2 / manifest["data"]["train"]["examples"]
    return {"parameters": manifest["parameters"], "train_us_per_datum": round(1e6 * each, 1)}


def _gap(folder: Path, files: dict[str, str]) -> Row:
    """Startup, and seconds of a datum as a + b K."""
    word = ("gap", "run", "--method", "importance", "--limit")
    startup = min(_spent(folder, *word, "1", "--samples", "1") for _ in range(3))
    seconds = {K: (_spent(folder, *word, "96", "--samples", str(K)) - startup) / 96 for K in (50, 2000)}
    slope = (seconds[2000] - seconds[50]) / 1950
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    return {
        "startup_s": round(startup, 2),
        "gap_ms_per_datum": round(1e3 * (seconds[50] - 50 * slope), 2),
        "gap_us_per_draw": round(1e6 * slope, 2),
        "peak_mb_of_any_command": round(peak),
    }


def _parts(folder: Path, files: dict[str, str]) -> Row:
    for n in (1, 2, 3, 4):
        words = ("gap", "run", "--samples", "50", "--limit", "256", "--shard", f"{n}/4", "--out", f"p{n}.parquet")
        _run(_command(1, *words), folder, 1)
    size = (folder / "p1.parquet").stat().st_size
    from elbo_cli.merging import merged

    paths = [folder / f"p{n}.parquet" for n in (1, 2, 3, 4)]
    merged(paths)  # what is imported once does not count
    return {
        "part_bytes_per_datum": round(size / 64),
        "merge_ms_per_part": round(1e3 * _cpu(partial(merged, paths)) / 4, 1),
    }


def _network(folder: Path, files: dict[str, str]) -> Row:
    (folder / "reduce.py").write_text(REDUCE)
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "reduce.py"]
    lines = _run(launch, folder, 1).splitlines()
    return {"all_reduce_ms": {n: round(1e3 * float(s), 2) for n, s in (line.split() for line in lines[-3:])}}


def _claims(folder: Path, files: dict[str, str]) -> Row:
    """Seconds that a claim and its answer take under the sweep's lock, with so many trials on the journal."""
    from elbo_cli.config.sweeps import load_sweep
    from elbo_cli.sweep.study import Trials

    found = {}
    for runs in (100, 1000):
        path = folder / f"sweep{runs}.yaml"
        rates = ", ".join(f"{i + 1}e-6" for i in range(runs))
        path.write_text(f"config: 100.yaml\nfolder: {folder}/sweep{runs}\nspace: {{optim.lr: [{rates}]}}\n")
        trials = Trials(load_sweep(path))
        began = time.process_time()
        for _ in range(20):
            claimed = trials.claim()
            assert claimed is not None
            trials.tell(claimed, -1.0)
        found[str(runs)] = round(1e3 * (time.process_time() - began) / 20, 1)
    return {"claim_ms": found}
