"""Per-datum tables as CSV or Parquet, with the record's fields for columns."""

from collections.abc import Sequence
from dataclasses import asdict
from io import BytesIO
from pathlib import Path
from typing import Any

from elbo_cli.errors import UserError, need_extra
from elbo_cli.files import write_whole
from elbo_cli.records import csv_text


def write_rows(path: Path, rows: Sequence[Any], record: type) -> None:
    """Write records to a .csv or .parquet file, whole or not at all.

    Raises:
        UserError: another ending, no such folder, or Parquet without its package.
        RunError: the system refuses.
    """
    refuse_path(path)
    write_whole(path, _parquet(rows) if path.suffix == ".parquet" else csv_text(rows, record))


def refuse_path(path: Path) -> None:
    """Insist that rows can go to `path`, before the long work begins.

    Raises:
        UserError: another ending than .csv or .parquet, or no such folder.
    """
    if path.suffix not in (".csv", ".parquet"):
        raise UserError(f"--out {path} ends in '{path.suffix}': rows are written to .csv or .parquet.")
    if not path.parent.is_dir():
        raise UserError(f"--out {path}: there is no folder {path.parent}. Make it first, or give another place.")
    if path.is_dir():
        raise UserError(f"--out {path} is a folder: give a file's name.")


def _parquet(rows: Sequence[Any]) -> bytes:
    try:
        import pyarrow  # noqa: F401  # pandas needs it to write Parquet
    except ImportError as error:
        raise need_extra("pyarrow", "parquet", "A table as Parquet") from error
    import pandas as pd

    buffer = BytesIO()
    pd.DataFrame([asdict(row) for row in rows]).to_parquet(buffer, index=False)
    return buffer.getvalue()
