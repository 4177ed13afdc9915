"""Tables for other programs: one line of pandas reads them, and their schema is the record's, whatever they hold."""

import math
import tracemalloc
from array import array
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from elbo_cli.columns import Table, csv_text, titles
from elbo_cli.records import EpochRecord, EvaluationRow, GapRow, SplitRow
from elbo_cli.report.rows import write_rows
from elbo_cli.runs import RunFolder

RECORDS = [EpochRecord, EvaluationRow, GapRow, SplitRow]


def filled(record: Any) -> Any:
    """A row that has something in every column."""
    return record(**{f.name: 3 if int in (f.type, *getattr(f.type, "__args__", ())) else -1.5 for f in fields(record)})


@pytest.mark.parametrize("record", RECORDS)
def test_the_schema_of_a_parquet_table_is_its_records_whatever_the_rows_hold(record: Any, tmp_path: Path) -> None:
    schemas = []
    for rows in ([filled(record)], [record()], [record(), filled(record)], []):
        write_rows(tmp_path / "rows.parquet", rows, record)
        schemas.append(pq.read_schema(tmp_path / "rows.parquet").remove_metadata())
    assert schemas[0].names == titles(record)
    assert all(schema == schemas[0] for schema in schemas), schemas
    assert {str(kind) for kind in schemas[0].types} <= {"int64", "double", "string", "large_string"}


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_one_line_of_pandas_reads_the_rows_back_to_the_last_bit(ending: str, tmp_path: Path) -> None:
    rows = [replace(filled(GapRow), index=i, elbo=-100 / 3 + i) for i in range(3)]
    write_rows(tmp_path / f"rows.{ending}", rows, GapRow)
    table = (pd.read_csv if ending == "csv" else pd.read_parquet)(tmp_path / f"rows.{ending}")
    assert list(table.columns) == titles(GapRow)
    assert table["elbo"].tolist() == [row.elbo for row in rows]
    assert table["index"].tolist() == [0, 1, 2]


def test_one_line_of_pandas_reads_metrics_and_an_empty_cell_is_missing(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    for record in (EpochRecord(epoch=1, train_elbo=-1 / 3), EpochRecord(epoch=2, train_elbo=-0.1, valid_elbo=-0.2)):
        run.log(record)
    table = pd.read_csv(run.metrics)
    assert list(table.columns) == titles(EpochRecord)
    assert table["train_elbo"].tolist() == [-1 / 3, -0.1]
    assert table["valid_elbo"].isna().tolist() == [True, False]
    assert pa.Schema.from_pandas(table).field("epoch").type == pa.int64()


def table(rows: list[GapRow]) -> Table:
    """The same rows as columns."""
    kinds = {name: "q" if name in ("index", "samples") else "d" for name in titles(GapRow)}
    return Table(GapRow, {name: array(kind, [getattr(row, name) for row in rows]) for name, kind in kinds.items()})


def gap_rows(n: int) -> list[GapRow]:
    numbers = {name: 1.5 for name in titles(GapRow) if name not in ("index", "samples", "elbo")}
    return [GapRow(index=i, samples=7, elbo=-math.pi * i, **numbers) for i in range(n)]


def test_a_table_is_the_sequence_of_its_records() -> None:
    rows = gap_rows(5)
    held = table(rows)
    assert (len(held), list(held), held[3], held[-1], held[1:4:2]) == (5, rows, rows[3], rows[4], tuple(rows[1:4:2]))
    assert held == rows
    assert held == tuple(rows)
    assert held == table(rows)
    assert held != rows[:4]
    assert held != [*rows[:4], replace(rows[4], elbo=0.0)]
    assert rows[2] in held
    assert not table([])
    with pytest.raises(IndexError):
        held[5]
    with pytest.raises(AssertionError):
        Table(GapRow, {"index": array("q", [1])})


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_a_table_is_written_as_its_records_are(ending: str, tmp_path: Path) -> None:
    for name, held in (("records", gap_rows(4)), ("table", table(gap_rows(4)))):
        write_rows(tmp_path / f"{name}.{ending}", held, GapRow)
    assert (tmp_path / f"table.{ending}").read_bytes() == (tmp_path / f"records.{ending}").read_bytes()


def test_a_long_table_is_written_in_bounded_memory_and_as_it_would_be_whole(tmp_path: Path) -> None:
    """Some thousand rows are text at a time: a whole text of these takes 24 MB, three times over."""
    N, names = 100_000, titles(GapRow)
    cells = {n: array("q", range(N)) if n in ("index", "samples") else array("d", [1 / 3] * N) for n in names}
    rows, path = Table(GapRow, cells), tmp_path / "rows.csv"
    tracemalloc.start()
    try:
        write_rows(path, rows, GapRow)
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert path.stat().st_size > 20e6
    assert most < 12e6, f"{most / 1e6:.0f} MB"
    lines = path.read_text().splitlines()
    assert (len(lines), lines[0]) == (N + 1, ",".join(names))
    assert all(line == csv_text([rows[i]]).rstrip("\n") for i, line in list(enumerate(lines[1:]))[4090:4100])
