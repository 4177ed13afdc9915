"""Tables of numbers in text, one datum per row: CSV."""

import csv
import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elbo_cli.data.files import bounded, reading
from elbo_cli.errors import UserError

DELIMITERS = "\t;,"  # the first of these that the first row has
FLOAT32_MAX = float(np.finfo(np.float32).max)
CONSECUTIVE = 4  # from so many columns on, a first row 0, 1, 2, ... can only be names


@dataclass(frozen=True, slots=True)
class Head:
    """How a CSV file begins."""

    delimiter: str
    columns: list[str]  # as messages call them
    skip: int  # lines before the first row of numbers


def read_csv(path: Path, limit: int) -> NDArray[Any]:
    """The numbers of a CSV file, float32 [N, D].

    Cells are separated by tabs, semicolons or commas, whichever the first row has. A first row of names is a header,
    and so is 0, 1, 2, ..., which pandas writes where columns have no names. Empty lines are skipped.

    Raises:
        UserError: a file larger than `limit` bytes; a first row that is neither names nor numbers; rows of different
            lengths; or a cell that is not a finite number, with its line and column.
    """
    bounded(path.stat().st_size, limit, path, "Save it with numpy.save: a .npy file may be larger than memory.")
    with reading(path):
        head = _head(path)
        try:
            values = _parse(path, head)
        except ValueError:
            _explain(path, head)
            raise
        if not np.isfinite(values).all() or (len(values) and values.shape[1] != len(head.columns)):
            _explain(path, head)
    if len(values) == 0:
        raise UserError(f"{path} has a header and no row of numbers after it.")
    return values


def _parse(path: Path, head: Head) -> NDArray[Any]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="loadtxt: input contained no data")
        return np.loadtxt(
            path,
            dtype=np.float32,
            comments=None,
            delimiter=head.delimiter,
            skiprows=head.skip,
            ndmin=2,
            encoding="utf-8-sig",
            quotechar='"',
        )


def _rows(path: Path, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Rows that hold anything, each with the number of its (last) line, from 1."""
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.reader(file, delimiter=delimiter)
        for row in reader:
            if len(row) > 1 or (row and row[0].strip()):
                yield reader.line_num, row


def _head(path: Path) -> Head:
    with path.open(encoding="utf-8-sig") as file:
        line = next((line for line in file if line.strip()), "")
    delimiter = next((mark for mark in DELIMITERS if mark in line), ",")
    number, row = next(_rows(path, delimiter), (0, []))
    if not row:
        raise UserError(f"{path} is empty: it has no row of numbers.")
    numeric = [_is_number(cell) for cell in row]
    if row[0].strip() == "":
        raise UserError(
            f"{path}, line {number}: the first column is empty. Where that is pandas's index, write the file with "
            "index=False; otherwise give the column a name or a number."
        )
    if not any(numeric):
        return Head(delimiter, [f"{i} ({name.strip()!r})" for i, name in enumerate(row, 1)], number)
    if not all(numeric):
        name, value = row[numeric.index(False)], row[numeric.index(True)]
        raise UserError(
            f"{path}, line {number}: {name!r} is not a number and {value!r} is. "
            "The first row must be all names or all numbers."
        )
    counts = [cell.strip() for cell in row] == [str(i) for i in range(len(row))] and len(row) > 1
    if counts and len(row) < CONSECUTIVE:
        raise UserError(
            f"{path}, line {number}: {', '.join(row)} may be names of columns or numbers. "
            "Write a row of names above the numbers (a, b, ...), with index=False where pandas writes it."
        )
    return Head(delimiter, [str(i) for i in range(1, len(row) + 1)], number if counts else 0)


def _explain(path: Path, head: Head) -> None:
    """Find the first row or cell that is at fault: slow, and done only once there is one."""
    width = len(head.columns)
    for line, row in _rows(path, head.delimiter):
        if line <= head.skip:
            continue
        if len(row) != width:
            raise UserError(f"{path}, line {line} has {len(row)} cells, and the first row has {width}.")
        for column, cell in zip(head.columns, row, strict=True):
            if not _is_finite(cell):
                raise UserError(
                    f"{path}, line {line}, column {column}: {cell.strip()!r} is not a finite number. "
                    "Every cell must be one: fill it in, or drop its row or its column."
                )


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return "_" not in cell  # Python's own 1_000


def _is_finite(cell: str) -> bool:
    return _is_number(cell) and math.isfinite(float(cell)) and abs(float(cell)) <= FLOAT32_MAX
