"""Reading an epoch in training order: one array in memory, one mapped, many mapped; warm, cold, and short of memory.

    python -m benchmarks reading

What is read are the batches that training reads, and nothing else is done. `cold` begins with nothing of the files in
the page cache. `short` stands for a machine whose memory holds a tenth of the data: whenever a tenth of them has come
from the disk, all is dropped again (posix_fadvise; no rights are needed). Bytes from the disk are the kernel's own
count (/proc/self/io); a virtual disk may have a cache below it that no guest can drop.
"""

import mmap
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.compare import Row, Setting
from elbo_cli.data.arrays import arrays
from elbo_cli.data.shards import Shards
from elbo_cli.data.split import Split
from elbo_cli.training.loop import CELLS
from elbo_cli.training.order import visiting

MB = 10**6
FILES = 50
WINDOW = 50 * MB  # bytes that are shuffled together, where not all are
SIZES = {784: 800_000, 12_288: 50_000}  # bytes of a datum: how many data; about 600 MB, twice on the disk
MOST = 4_000  # data of an epoch that are read where nearly each costs a look at the disk


@dataclass(frozen=True, slots=True)
class Source:
    """A way to hold the data, and the files to drop from the page cache."""

    split: Split
    paths: list[Path]

    def drop(self) -> None:
        """Nothing of the files stays in memory."""
        values = self.split.values
        if isinstance(values, Shards):
            values.mapped.cache_clear()  # type: ignore[attr-defined]
        elif isinstance(values, np.memmap):
            values._mmap.madvise(mmap.MADV_DONTNEED)
        for path in self.paths:
            with path.open("rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def study(setting: Setting) -> Iterator[Row]:
    """One row for each size of a datum, order, way to hold the data, and state of the page cache."""
    for width, rows in SIZES.items():
        with tempfile.TemporaryDirectory() as name:
            sources = _made(Path(name), rows, width)
            for window in (None, WINDOW // width):
                for how, source in sources.items():
                    for state in ("warm", "cold", "short") if how != "in memory" else ("warm",):
                        about = {"bytes": width, "window": window, "held": how, "state": state}
                        yield about | _read(source, window, state, width)


def _made(folder: Path, rows: int, width: int) -> dict[str, Source]:
    """The same rows in one file and in many, uneven ones; as they come from the command's own reader."""
    values = np.random.default_rng(0).integers(0, 256, (rows, width), dtype=np.uint8)
    one, many = folder / "all.npy", folder / "shards"
    many.mkdir()
    np.save(one, values)
    cuts = np.sort(np.random.default_rng(1).choice(np.arange(1, rows), FILES - 1, replace=False))
    for number, piece in enumerate(np.split(values, cuts)):
        np.save(many / f"part-{number:03d}.npy", piece)
    for path in (one, *many.iterdir()):  # only what is on the disk can be dropped
        with path.open("rb") as file:
            os.fsync(file.fileno())
    limits: dict[str, tuple[Path, int]] = {"in memory": (one, 2**40), "one file": (one, 0), "many files": (many, 0)}
    splits = {how: arrays(path, valid=100, test=100, memory_limit=limit).train for how, (path, limit) in limits.items()}
    return {
        how: Source(split, sorted(many.iterdir()) if how == "many files" else [one]) for how, split in splits.items()
    }


def _read(source: Source, window: int | None, state: str, width: int) -> Row:
    split = source.split
    torch.manual_seed(0)
    order = visiting(len(split), window)
    if state == "warm":
        _fetch(split, order, _nothing)
    else:
        source.drop()
    after = _Short(source, len(split) * width // 10).look if state == "short" else _nothing
    order = order[:MOST] if state == "short" and window is None else order
    began, cpu, disk = time.perf_counter(), time.process_time(), _from_disk()
    _fetch(split, order, after)
    seconds, spent, read = time.perf_counter() - began, time.process_time() - cpu, _from_disk() - disk
    return {
        "read": len(order),
        "seconds": round(seconds, 3),
        "cpu_seconds": round(spent, 3),
        "data_per_s": round(len(order) / seconds),
        "mb_per_s": round(len(order) * width / seconds / MB, 1),
        "from_disk_per_byte": round(read / (len(order) * width), 2),
    }


def _nothing() -> None:
    """What is done after a read, where nothing is."""


class _Short:
    """Drops all that was read whenever it is more than `most` bytes."""

    def __init__(self, source: Source, most: int) -> None:
        self.source, self.most, self.since = source, most, _from_disk()

    def look(self) -> None:
        if _from_disk() - self.since > self.most:
            self.source.drop()
            self.since = _from_disk()


def _fetch(split: Split, order: Tensor, after: Callable[[], Any]) -> None:
    """The reads of an epoch, in the pieces in which training makes them."""
    for rows in torch.split(order, max(1, CELLS // int(np.prod(split.shape)))):
        split.batch(rows)
        after()


def _from_disk() -> int:
    lines = Path("/proc/self/io").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("read_bytes"))
