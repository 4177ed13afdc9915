"""Many .npy files as one array: their headers are read at once, their rows when they are asked for."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elbo_cli.data.checks import as_data
from elbo_cli.data.npy import Header, map_npy, read_header
from elbo_cli.errors import UserError

OPEN = 128  # files open at a time; a process may have 256 on some systems


@dataclass(frozen=True, slots=True, eq=False)
class Shards:
    """The rows of several files, one file after the other: an array [N, ...] that is read by its rows alone."""

    paths: tuple[Path, ...]
    starts: NDArray[np.int64]  # the first row of each file, and N
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    mapped: Callable[[int], NDArray[Any]]  # a file by its number; the last OPEN of them stay open

    @property
    def nbytes(self) -> int:
        """Bytes of all rows."""
        return int(np.prod([int(n) for n in self.shape], dtype=object)) * self.dtype.itemsize

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice | NDArray[np.int64]) -> NDArray[Any]:
        """A copy of rows, read file by file and forwards in each, whatever order they are asked for in."""
        at = np.arange(*rows.indices(len(self))) if isinstance(rows, slice) else rows
        found = np.empty((len(at), *self.shape[1:]), dtype=self.dtype)
        order = np.argsort(at, kind="stable")
        ends = np.searchsorted(at[order], self.starts)
        for number in np.flatnonzero(np.diff(ends)).tolist():
            piece = order[ends[number] : ends[number + 1]]
            found[piece] = self.mapped(number)[at[piece] - self.starts[number]]
        return found

    def place(self, row: int) -> str:
        """Where a row is, for messages."""
        number = int(np.searchsorted(self.starts, row, side="right")) - 1
        return f", row {row - int(self.starts[number])} of {self.paths[number]}"


def open_shards(paths: Sequence[Path]) -> Shards:
    """The files as one array, of which nothing but the headers is read.

    Raises:
        UserError: a file is no .npy, is damaged or empty, or holds Python objects; or its type or the shape of a datum
            is not that of the others. The message names the file.
    """
    headers = [_header(path) for path in paths]
    promised = [as_data(_nothing(head), str(path)) for path, head in zip(paths, headers, strict=True)]
    _refuse_odd(paths, promised)

    def mapped(number: int) -> NDArray[Any]:
        return as_data(map_npy(paths[number], headers[number]), str(paths[number]))

    starts = np.cumsum([0, *(len(each) for each in promised)], dtype=np.int64)
    shape = (int(starts[-1]), *promised[0].shape[1:])
    return Shards(tuple(paths), starts, shape, promised[0].dtype, lru_cache(OPEN)(mapped))


def _header(path: Path) -> Header:
    if path.suffix.lower() != ".npy":
        raise UserError(
            f"{path} is one of several files, and only .npy files can be several. Leave it out, or join them."
        )
    return read_header(path)


def _nothing(header: Header) -> NDArray[Any]:
    """The array that a header promises, in one element of memory."""
    return np.broadcast_to(np.zeros((), header.dtype), header.shape)


def _refuse_odd(paths: Sequence[Path], promised: Sequence[NDArray[Any]]) -> None:
    """Insist that all are of one kind; what most of them are is right."""
    kinds = [(each.dtype, each.shape[1:]) for each in promised]
    usual = Counter(kinds).most_common(1)[0][0]
    like = paths[kinds.index(usual)]
    for path, kind in zip(paths, kinds, strict=True):
        if kind != usual:
            raise UserError(
                f"{path} holds data of shape {kind[1]}, {kind[0]}, but {like} holds {usual[1]}, {usual[0]}. "
                "All files of one data set need the same shape and type."
            )
