"""Per-datum tables as CSV or Parquet, with the record's fields for columns."""

from collections.abc import Sequence
from dataclasses import asdict
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from typing import Any

from elbo_cli.columns import csv_text
from elbo_cli.errors import UserError, need_extra
from elbo_cli.files import refuse_file, write_whole


def write_rows(path: Path, rows: Sequence[Any], record: type) -> None:
    """Write records to a .csv or .parquet file, whole or not at all.

    Raises:
        UserError: as `refuse_path` has it.
        RunError: the system refuses.
    """
    refuse_path(path)
    write_whole(path, _parquet(rows) if path.suffix == ".parquet" else csv_text(rows, record))


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


def _parquet(rows: Sequence[Any]) -> bytes:
    import pandas as pd

    buffer = BytesIO()
    pd.DataFrame([asdict(row) for row in rows]).to_parquet(buffer, index=False)
    return buffer.getvalue()
