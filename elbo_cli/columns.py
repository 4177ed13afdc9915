"""A record's field as a column: what a screen, a CSV and docs/columns.md say of it. Standard library only."""

import csv
import io
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple, field, fields
from itertools import islice
from typing import Any, overload

PIECE = 4096  # rows of a table that are text at a time
UP, POSITIVE = "↑", "≥0"  # signs of a column: higher is better; not below 0, but for Monte Carlo noise


def column(
    title: str,
    form: str = ".2f",
    *,
    about: str,
    shown: bool = True,
    default: Any = None,
    unit: str = "nats",
    sign: str = "",
) -> Any:
    """A field that is a column.

    Args:
        title: its name on a screen.
        form: its format there.
        about: what it is, in a sentence's half, for docs/columns.md.
        shown: whether the live table shows it.
        default: of the field; None is an empty cell.
        unit: what it is counted in.
        sign: UP, POSITIVE or nothing.
    """
    kept = {"title": title, "form": form, "about": about, "shown": shown, "unit": unit, "sign": sign}
    return field(default=default, metadata=kept)


def titles(record: type) -> list[str]:
    """The names of a record's columns, in their order."""
    return [f.name for f in fields(record)]


def cell(value: object) -> str:
    """A value as a cell of a CSV: floats by their shortest exact form, nothing for what was not measured."""
    if isinstance(value, tuple):
        return " ".join(map(cell, value))
    return "" if value is None else repr(value) if isinstance(value, float) else str(value)


def csv_text(rows: Iterable[Any], header: type | None = None) -> str:
    """Records as the lines of a CSV; with `header`, behind a line of its column names."""
    return "".join(csv_pieces(rows, header))


def csv_pieces(rows: Iterable[Any], header: type | None = None) -> Iterator[str]:
    """The same in pieces of some thousand lines: of a million rows the whole text would be held three times over."""
    left = iter(rows)
    yield _lines([titles(header)] if header is not None else [])
    while some := list(islice(left, PIECE)):
        yield _lines([cell(value) for value in astuple(row)] for row in some)


def _lines(rows: Iterable[Iterable[str]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


class Table(Sequence[Any]):
    """Records of one kind, kept as columns of numbers: eight bytes a cell. A record is made when it is asked for."""

    def __init__(self, record: type, columns: Mapping[str, "array[Any]"]) -> None:
        """`columns` has every title of the record; whole numbers in arrays of "q", others of "d"."""
        assert sorted(columns) == sorted(titles(record)), (sorted(columns), record)
        self.record, self.columns = record, {name: columns[name] for name in titles(record)}
        assert len({len(cells) for cells in self.columns.values()}) == 1, "columns of one length"

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def __iter__(self) -> Iterator[Any]:
        for cells in zip(*self.columns.values(), strict=True):
            yield self.record(**dict(zip(self.columns, cells, strict=True)))

    @overload
    def __getitem__(self, at: int) -> Any: ...
    @overload
    def __getitem__(self, at: slice) -> tuple[Any, ...]: ...
    def __getitem__(self, at: int | slice) -> Any:
        if isinstance(at, slice):
            return tuple(self[i] for i in range(*at.indices(len(self))))
        return self.record(**{name: cells[at] for name, cells in self.columns.items()})

    def __eq__(self, other: object) -> bool:
        """Whether the records are those of another sequence, in its order."""
        if not isinstance(other, Sequence) or len(other) != len(self):
            return False
        return all(mine == theirs for mine, theirs in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]  # as of a list
