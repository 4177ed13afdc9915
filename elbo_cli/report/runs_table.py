"""A folder's runs in one list, from their small files alone: no model is built, no tensor is read."""

import json
import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, BinaryIO

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from elbo_cli.columns import UP, column, titles
from elbo_cli.errors import UserError, called, choose, printable
from elbo_cli.files import HEADER, SMALL, read_small
from elbo_cli.report.run_config import WIDEST, read_config, section
from elbo_cli.report.runs_filter import Condition, conditions, flat, refuse_strangers
from elbo_cli.runs import RunFolder

TAIL = 4096  # bytes from the end of metrics.csv that hold its last row, unless it has the KL of many latents


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRow:
    """One run; None where its files do not say."""

    path: str = column("run", "s", default="", unit="", about="the run's folder")
    started: str | None = column("started", "s", unit="", about="when its first sitting began, UTC")
    data: str | None = column("data", "s", unit="", about="data.name of its config")
    epochs: int = column("epochs", "d", default=0, unit="", about="epochs done")
    planned: int | None = column("of", "d", unit="", about="epochs asked for")
    best_epoch: int | None = column("best", "d", unit="", about="the epoch of best.safetensors")
    valid_elbo: float | None = column("valid ELBO", ".2f", sign=UP, about="validation ELBO of that epoch")
    status: str = column("status", "s", default="unfinished", unit="", about="finished, unfinished or damaged")


def list_runs(folder: Path, order: str = "started", where: Sequence[str] = ()) -> list[RunRow]:
    """The runs in a folder (not those in folders within it), sorted by a column; what a run does not say comes last.

    `valid_elbo` is that of the best epoch, nats per datum; `status` is finished, unfinished (killed, or training now)
    or damaged (config.yaml is not what elbo wrote). Of `where`, every condition must hold.

    Raises:
        UserError: there is no such folder, no run in it, no such column, or a condition is none.
    """
    choose(SORTED, order, "column to sort by")
    wanted = conditions(where)
    try:
        with os.scandir(folder) as entries:
            found = sorted(entry.path for entry in entries if os.path.isfile(os.path.join(entry.path, "config.yaml")))  # noqa: PTH113, PTH118  # a thousand of them
    except OSError as error:
        raise UserError(f"Cannot list the runs in {folder}: {error.strerror or error}.") from error
    if not found:
        itself = (
            f" It is a run itself: elbo runs {folder.absolute().parent}" if RunFolder(folder).config.exists() else ""
        )
        raise UserError(f"There are no runs in {folder}: no folder in it has a config.yaml.{itself}")
    rows = _filtered([_row(RunFolder(Path(path))) for path in found], wanted)
    known = [row for row in rows if getattr(row, order) is not None]
    known.sort(key=lambda row: getattr(row, order), reverse=SORTED[order])
    return known + [row for row in rows if getattr(row, order) is None]


def _filtered(rows: list[RunRow], wanted: Sequence[Condition]) -> list[RunRow]:
    """The runs that fulfil every condition."""
    if not wanted:
        return rows
    values = [flat(read_config(RunFolder(Path(row.path)).config)) | asdict(row) for row in rows]
    refuse_strangers(wanted, {key: None for each in values for key in each})
    kept = zip(rows, values, strict=True)
    return [row for row, own in kept if all(c.key in own and c.holds(own[c.key]) for c in wanted)]


def _row(run: RunFolder) -> RunRow:
    about, best, last = read_config(run.config), _best(run.best), _last(run.metrics)
    train, data = (section(about, name) for name in ("train", "data"))
    epochs, planned = int(last.get("epoch", 0)), train.get("epochs")
    done = planned is not None and epochs >= planned
    patient = train.get("patience") is None or best.get("epoch") is None or epochs - best["epoch"] < train["patience"]
    return RunRow(
        path=str(run.path),
        started=_started(run.manifest),
        data=_data(data),
        epochs=epochs,
        planned=planned,
        best_epoch=best.get("epoch"),
        valid_elbo=best.get("valid_elbo"),
        status="damaged" if not about else "unfinished" if patient and not done else "finished",
    )


def _data(section: dict[str, Any]) -> str | None:
    """What a run learnt from: a path, the first of several, or a data set's name."""
    paths = section.get("path") or section.get("name")
    return None if paths is None else called(paths)


def _started(path: Path) -> str | None:
    with suppress(OSError, ValueError, AttributeError, RecursionError):
        started = json.loads(read_small(path)).get("started")
        return started if isinstance(started, str) else None
    return None


def _best(path: Path) -> dict[str, Any]:
    """The record of the best epoch, from the head of its checkpoint: a few kB, whatever the size of the model."""
    with suppress(OSError, ValueError, ArithmeticError, KeyError, TypeError, RecursionError), path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        if size <= HEADER:
            record = json.loads(json.loads(file.read(size))["__metadata__"]["elbo"])["last"]
            return {"epoch": int(record["epoch"]), "valid_elbo": _number(record["valid_elbo"])}
    return {}


def _number(value: Any) -> float | None:
    return None if value is None else float(value)


def _last(path: Path) -> dict[str, str]:
    """The last whole row of metrics.csv."""
    with suppress(OSError, ValueError), path.open("rb") as file:
        head = file.readline(TAIL).decode().rstrip("\n").split(",")
        row = _last_line(file).decode().split(",") if head[0] == "epoch" else [""]
        if 0 <= int(row[0]) < WIDEST:
            return dict(zip(head, row, strict=True))
    return {}


def _last_line(file: BinaryIO) -> bytes:
    """The last whole line from where a file is read; empty where there is none, or a megabyte does not hold it."""
    begin, end, size = file.tell(), file.seek(0, os.SEEK_END), TAIL
    while True:
        start = file.seek(max(begin, end - size))
        *lines, _ = file.read(size).split(b"\n")  # after the last newline there is nothing, or half a line
        if len(lines) > 1 or start == begin:
            return lines[-1] if lines else b""
        if size >= SMALL:
            return b""
        size *= 4


def runs_table(rows: Sequence[RunRow]) -> Table:
    """The runs as a table for eyes."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for f in fields(RunRow):
        words = f.metadata["form"] == "s"
        table.add_column(Text(f.metadata["title"]), justify="left" if words else "right", overflow="fold")
    for row in rows:
        values = {f.name: getattr(row, f.name) for f in fields(row)} | {"started": (row.started or "")[:16]}
        table.add_row(*(Text(_shown(values[f.name], f.metadata["form"])) for f in fields(row)))
    return table


def _shown(value: Any, form: str) -> str:
    return "-" if value in (None, "") else printable(format(value, form))


def runs_json(rows: Iterable[RunRow]) -> dict[str, Any]:
    """The runs as one JSON object."""
    return {"runs": [asdict(row) for row in rows]}


SORTED: dict[str, bool] = {
    name: name in ("valid_elbo", "epochs", "started") for name in titles(RunRow)
}  # largest first
