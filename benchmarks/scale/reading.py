"""Reading an epoch in training order: an array in memory, one file, many files, a memory map; warm, cold, short.

    python -m benchmarks reading            writes benchmarks/scale/reading.json

What is fetched are the batches that training fetches, and nothing else is done. `cold` begins with nothing of the files
in the page cache. `short` stands for a machine whose memory holds a tenth of the data: whenever a tenth has come from
the disk, all is dropped again (posix_fadvise; no rights are needed). Bytes from the disk are the kernel's own count
(/proc/self/io); a virtual disk may have a cache below it that no guest can drop.
"""

import json
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
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.compare import Row, Setting
from elbo_cli.data.arrays import arrays
from elbo_cli.training.loop import CELLS
from elbo_cli.training.order import visiting

HERE = Path(__file__).parent / "reading.json"
MB = 10**6
FILES = (50, 1000)
WINDOW = 10 * MB  # bytes that are shuffled together, where not all are
SIZES = {784: 200_000, 12_288: 12_500}  # bytes of a datum: how many data; about 160 MB, three times on the disk
MOST = 4_000  # data of an epoch that are read where nearly each costs a look at the disk


@dataclass(frozen=True, slots=True)
class Source:
    """A way to hold the training data: what fetches rows, and the files to drop from the page cache."""

    N: int
    fetch: Callable[[Tensor], Tensor]
    paths: list[Path]
    unmap: Callable[[], None] = lambda: None  # pages that are mapped are not dropped

    def drop(self) -> None:
        """Nothing of the files stays in memory."""
        self.unmap()
        for path in self.paths:
            with path.open("rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def study(setting: Setting) -> Iterator[Row]:
    """The rows, which are also written down."""
    rows = []
    for row in _rows():
        rows.append(row)
        yield row
    HERE.write_text("[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]\n")


def _rows() -> Iterator[Row]:
    """One for each size of a datum, order, way to hold the data, and state of the page cache."""
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
    paths = {"one file": _saved(folder / "1", values, 1)} | {
        f"{n} files": _saved(folder / str(n), values, n) for n in FILES
    }
    splits = {how: arrays(found, valid=100, test=100, memory_limit=0).train for how, found in paths.items()}
    held = arrays(paths["one file"], valid=100, test=100).train
    sources = {how: Source(len(split), split.batch, paths[how]) for how, split in splits.items()}
    mapped = _mapped(paths["one file"][0], splits["one file"].rows)
    return {"in memory": Source(len(held), held.batch, [])} | sources | {"memory map": mapped}


def _saved(folder: Path, values: NDArray[np.uint8], files: int) -> list[Path]:
    """Files of the rows, cut at random, on the disk: only what is there can be dropped from the page cache."""
    folder.mkdir()
    cuts = np.sort(np.random.default_rng(1).choice(np.arange(1, len(values)), files - 1, replace=False))
    paths = [folder / f"part-{number}.npy" for number in range(files)]
    for path, piece in zip(paths, np.split(values, cuts), strict=True):
        np.save(path, piece)
    os.sync()
    return paths


def _mapped(path: Path, rows: NDArray[np.int64] | None) -> Source:
    """What elbo did before it read files, and what numpy.load(mmap_mode="r") does: for comparison."""
    values = np.load(path, mmap_mode="r")
    assert rows is not None

    def fetch(index: Tensor) -> Tensor:
        return torch.from_numpy(np.array(values[rows[index.numpy()]])).to(torch.float32).div_(255)

    return Source(len(rows), fetch, [path], lambda: values._mmap.madvise(mmap.MADV_DONTNEED))


def _read(source: Source, window: int | None, state: str, width: int) -> Row:
    torch.manual_seed(0)
    order = visiting(source.N, window)
    if state == "warm":
        _fetch(source, order, width, _nothing)
    else:
        source.drop()
    after = _Short(source, source.N * width // 10).look if state == "short" else _nothing
    order = order[:MOST] if state == "short" and window is None else order
    began, cpu, disk = time.perf_counter(), time.process_time(), _from_disk()
    _fetch(source, order, width, after)
    seconds, spent, read = time.perf_counter() - began, time.process_time() - cpu, _from_disk() - disk
    return {
        "read": len(order),
        "seconds": round(seconds, 3),
        "cpu_us": round(1e6 * spent / len(order), 2),
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


def _fetch(source: Source, order: Tensor, width: int, after: Callable[[], Any]) -> None:
    """The reads of an epoch, in the pieces in which training makes them."""
    for rows in torch.split(order, max(1, CELLS // width)):
        source.fetch(rows)
        after()


def _from_disk() -> int:
    lines = Path("/proc/self/io").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("read_bytes"))
