"""Per-datum tables as CSV or Parquet, with the record's fields for columns."""

import csv
from collections.abc import Iterable, Sequence
from dataclasses import asdict, astuple, fields
from importlib.util import find_spec
from io import BytesIO, StringIO
from pathlib import Path
from types import NoneType
from typing import Any, get_args

from elbo_cli.columns import Table, cell, csv_pieces, titles
from elbo_cli.errors import UserError, need_extra, shown
from elbo_cli.files import refuse_file, write_pieces, write_whole

FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what a spreadsheet takes a cell's text for a formula by


def write_rows(path: Path, rows: Sequence[Any], record: type) -> None:
    """Write records to a .csv or .parquet file, whole or not at all.

    Raises:
        UserError: as `refuse_path` has it.
        RunError: the system refuses.
    """
    refuse_path(path)
    if path.suffix == ".parquet":
        write_whole(path, _parquet(rows, record))
    else:
        write_pieces(path, (piece.encode() for piece in csv_pieces(rows, record)))


def refuse_path(path: Path) -> None:
    """Insist that rows can go to `path`, before the long work begins.

    Raises:
        UserError: another ending than .csv or .parquet, no such folder, or Parquet without its package.
    """
    if path.suffix not in (".csv", ".parquet"):
        raise UserError(f"--out {path} ends in '{path.suffix}': rows are written to .csv or .parquet.")
    refuse_file(path, "--out")
    if path.suffix == ".parquet" and find_spec("pyarrow") is None:  # pandas needs it
        raise need_extra("pyarrow", "parquet", "A table as Parquet")


def _parquet(rows: Sequence[Any], record: type) -> bytes:
    """Columns and their types are the record's, whatever the rows hold: also where a column is empty, or all are."""
    import pandas as pd

    buffer = BytesIO()
    held = rows.columns if isinstance(rows, Table) else [asdict(row) for row in rows]
    frame = pd.DataFrame(held, columns=titles(record))
    frame.astype({f.name: _dtype(f.type) for f in fields(record)}).to_parquet(buffer, index=False)
    return buffer.getvalue()


def _dtype(kind: Any) -> str:
    """Pandas' name for a field's type; what may be None may be missing."""
    kinds = get_args(kind) or (kind,)
    whole = "Int64" if NoneType in kinds else "int64"
    return "float64" if float in kinds else whole if int in kinds else "string"


def tame_csv(rows: Iterable[Any], record: type) -> str:
    """Records that hold a user's names as CSV; a text that a spreadsheet would run as a formula gets an apostrophe."""
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(titles(record))
    writer.writerows([_tame(value) for value in astuple(row)] for row in rows)
    return text.getvalue()


def _tame(value: object) -> str:
    text = shown(cell(value))
    return f"'{text}" if isinstance(value, str) and text.startswith(FORMULA) else text
