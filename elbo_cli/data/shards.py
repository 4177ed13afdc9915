"""Files of .npy as one array: their headers are read at once, their rows when they are asked for.

They are read and not mapped: a map brings in what lies around a row that is not there yet, at the worst megabytes, and
kills the process where a file was cut off.
"""

import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elbo_cli.data.checks import as_data
from elbo_cli.data.files import reading
from elbo_cli.data.npy import Header, map_npy, read_header
from elbo_cli.errors import UserError

OPEN = 128  # files open at a time; a process may have 256 on some systems
ADVISE = getattr(os, "posix_fadvise", None)  # not everywhere
ONCE = 2**26  # bytes that are read at a time


@dataclass(frozen=True, slots=True)
class Pieces:
    """What is wanted of one file: pieces of whole rows, which lie and are wanted one after the other; all in bytes."""

    file: int
    begins: list[int]  # in the file
    sizes: list[int]
    places: list[int]  # in what is wanted


class Opened:
    """A file that is open for as long as this lives."""

    def __init__(self, path: Path) -> None:
        with reading(path):
            self.number = os.open(path, os.O_RDONLY)

    def __del__(self) -> None:
        if hasattr(self, "number"):
            os.close(self.number)


@dataclass(frozen=True, slots=True, eq=False)
class Shards:
    """The rows of several files, one file after the other: an array [N, ...] that is read by its rows alone."""

    paths: tuple[Path, ...]
    headers: tuple[Header, ...]
    starts: NDArray[np.int64]  # the first row of each file, and N
    offsets: NDArray[np.int64]  # bytes of header of each file
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    opened: Callable[[int], Opened]  # a file by its number; the last OPEN of them stay open

    @property
    def nbytes(self) -> int:
        """Bytes of all rows."""
        return sum(header.bytes for header in self.headers)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice | NDArray[np.int64]) -> NDArray[Any]:
        """A copy of rows, in whatever order they are asked for; each file is read forwards.

        Raises:
            UserError: a file is not what it was when it was opened.
        """
        at = np.arange(*rows.indices(len(self))) if isinstance(rows, slice) else rows
        if not len(at):
            return np.empty((0, *self.shape[1:]), self.dtype)
        found = np.empty((len(at), *self.headers[0].shape[1:]), self.headers[0].dtype)
        wanted = self._wanted(at)
        for start in range(0, len(wanted), OPEN):  # no file is opened twice
            for pieces in wanted[start : start + OPEN]:
                self._expect(pieces)
            for pieces in wanted[start : start + OPEN]:
                self._read(pieces, found)
        return as_data(found, str(self.paths[0]))

    def place(self, row: int) -> str:
        """Where a row is, for messages."""
        number = int(np.searchsorted(self.starts, row, side="right")) - 1
        return f", row {row - int(self.starts[number])} of {self.paths[number]}"

    def _wanted(self, at: NDArray[np.int64]) -> list[Pieces]:
        order = np.argsort(at, kind="stable")
        rows, stride = at[order], self.headers[0].stride
        file = np.searchsorted(self.starts, rows, side="right") - 1
        apart = (np.diff(rows) != 1) | (np.diff(order) != 1) | (np.diff(file) != 0)
        first = np.flatnonzero(np.concatenate([[True], apart]))
        of = file[first]
        begins = self.offsets[of] + (rows[first] - self.starts[of]) * stride
        sizes, places = np.diff(np.append(first, len(at))) * stride, order[first] * stride
        columns = [column.tolist() for column in (begins, sizes, places)]
        ends = [0, *(np.flatnonzero(np.diff(of)) + 1).tolist(), len(first)]
        return [Pieces(int(of[i]), *(column[i:j] for column in columns)) for i, j in pairwise(ends)]

    def _expect(self, pieces: Pieces) -> None:
        """Let the disk fetch what will be read, all of it at a time."""
        if ADVISE is not None and not self.headers[pieces.file].fortran:
            number = self.opened(pieces.file).number
            for begin, size in zip(pieces.begins, pieces.sizes, strict=True):
                ADVISE(number, begin, size, os.POSIX_FADV_WILLNEED)

    def _read(self, pieces: Pieces, found: NDArray[Any]) -> None:
        if self.headers[pieces.file].fortran:
            return self._gather(pieces, found)
        file, into = self.opened(pieces.file), found.reshape(-1).view(np.uint8).data
        for begin, size, place in zip(pieces.begins, pieces.sizes, pieces.places, strict=True):
            while size:
                part = os.pread(file.number, min(size, ONCE), begin)
                if not part:
                    raise UserError(f"{self.paths[pieces.file]} has been cut off since it was opened.")
                into[place : place + len(part)] = part
                begin, size, place = begin + len(part), size - len(part), place + len(part)
        return None

    def _gather(self, pieces: Pieces, found: NDArray[Any]) -> None:
        """From a file that is stored by its columns, where a row lies all over the file."""
        header = self.headers[pieces.file]
        values = map_npy(self.paths[pieces.file], header)
        for begin, size, place in zip(pieces.begins, pieces.sizes, pieces.places, strict=True):
            row, n, to = (begin - header.offset) // header.stride, size // header.stride, place // header.stride
            found[to : to + n] = values[row : row + n]


def open_shards(paths: Sequence[Path]) -> Shards:
    """The files as one array, of which nothing but the headers is read.

    Raises:
        UserError: a file is no .npy, is damaged or empty, or holds Python objects; or its type or the shape of a datum
            is not that of the others. The message names the file.
    """
    headers = tuple(_header(path) for path in paths)
    promised = [as_data(_nothing(head), str(path)) for path, head in zip(paths, headers, strict=True)]
    _refuse_odd(paths, headers)
    return Shards(
        paths=tuple(paths),
        headers=headers,
        starts=np.cumsum([0, *(len(each) for each in promised)], dtype=np.int64),
        offsets=np.array([header.offset for header in headers], dtype=np.int64),
        shape=(sum(len(each) for each in promised), *promised[0].shape[1:]),
        dtype=promised[0].dtype,
        opened=lru_cache(OPEN)(lambda number: Opened(paths[number])),
    )


def _header(path: Path) -> Header:
    if path.suffix.lower() != ".npy":
        raise UserError(
            f"{path} is one of several files, and only .npy files can be several. Leave it out, or join them."
        )
    return read_header(path)


def _nothing(header: Header) -> NDArray[Any]:
    """The array that a header promises, in one element of memory."""
    return np.broadcast_to(np.zeros((), header.dtype), header.shape)


def _refuse_odd(paths: Sequence[Path], headers: Sequence[Header]) -> None:
    """Insist that all are of one kind; what most of them are is right."""
    kinds = [(header.dtype, header.shape[1:]) for header in headers]
    usual = Counter(kinds).most_common(1)[0][0]
    like = paths[kinds.index(usual)]
    for path, kind in zip(paths, kinds, strict=True):
        if kind != usual:
            raise UserError(
                f"{path} holds data of shape {kind[1]}, {kind[0]}, but {like} holds {usual[1]}, {usual[0]}. "
                "All files of one data set need the same shape and type."
            )
