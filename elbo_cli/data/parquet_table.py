"""Tables of numbers in columns, one datum per row: Parquet."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elbo_cli.data.files import bounded, reading
from elbo_cli.errors import UserError, need_extra


def read_parquet(path: Path, limit: int) -> NDArray[Any]:
    """The numbers of a Parquet file, [N, D]: uint8 where every column is, else float32.

    Raises:
        UserError: pyarrow is not installed; the table needs more than `limit` bytes; a column is not of numbers or
            truth values; or a cell is missing.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise need_extra("pyarrow", "parquet", f"Reading {path}") from error
    with reading(path), pq.ParquetFile(path) as file:
        meta = file.metadata
        cure = "Save it with numpy.save: a .npy file may be larger than memory."
        bounded(max(meta.num_rows * meta.num_columns * 8, _unpacked(meta)), limit, path, cure)
        for field in file.schema_arrow:
            numeric = pa.types.is_integer(field.type) or pa.types.is_floating(field.type)
            if not numeric and not pa.types.is_boolean(field.type):
                raise UserError(
                    f"{path}, column '{field.name}' holds {field.type}, not numbers. Drop it, or encode it."
                )
            if field.name.startswith("__index_level_"):
                raise UserError(f"{path} holds pandas's index as a column: write it with index=False.")
        return _stack(path, file.read(use_threads=False))


def _unpacked(meta: Any) -> int:
    return sum(meta.row_group(i).total_byte_size for i in range(meta.num_row_groups))


def _stack(path: Path, table: Any) -> NDArray[Any]:
    columns = []
    for name, column in zip(table.column_names, table.columns, strict=True):
        if column.null_count:
            row = int(np.flatnonzero(column.is_null().to_numpy())[0])
            raise UserError(
                f"{path}, column '{name}', row {row} (counted from 0) has no value. Fill it in, or drop the row."
            )
        columns.append(column.to_numpy())
    if not columns:
        raise UserError(f"{path} has no columns.")
    bytes_only = all(column.dtype == np.uint8 for column in columns)
    return np.stack(columns, axis=1).astype(np.uint8 if bytes_only else np.float32, copy=False)
