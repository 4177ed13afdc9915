"""Training as it happens: a table and a bar on a terminal, plain lines anywhere else."""

from collections.abc import Iterable, Iterator
from dataclasses import Field, fields

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from elbo_cli.records import EpochRecord, Tick

ROWS = 15  # epochs kept on the screen; metrics.csv holds them all


def watch(events: Iterable[EpochRecord | Tick], console: Console, epochs: int) -> Iterator[EpochRecord]:
    """Show the events as they come and pass the records on."""
    return _table(events, console, epochs) if console.is_terminal else _lines(events, console)


def _lines(events: Iterable[EpochRecord | Tick], console: Console) -> Iterator[EpochRecord]:
    for event in events:
        if isinstance(event, EpochRecord):
            console.file.write(line(event) + "\n")
            console.file.flush()
            yield event


def line(record: EpochRecord) -> str:
    """An epoch as `key=value` words, for a log: nothing is cut and nothing is coloured."""
    cells = ((f.name, getattr(record, f.name)) for f in fields(record))
    return " ".join(f"{name}={_plain(value)}" for name, value in cells if value is not None)


def _plain(value: float) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _table(events: Iterable[EpochRecord | Tick], console: Console, epochs: int) -> Iterator[EpochRecord]:
    bar = Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), console=console
    )
    whole, inside = bar.add_task("epochs", total=epochs), bar.add_task("epoch 1", total=None)
    shown: list[EpochRecord] = []
    with Live(Group(epoch_table(shown, console.width), bar), console=console, refresh_per_second=4) as live:
        for event in events:
            if isinstance(event, Tick):
                bar.update(inside, description=event.what, completed=event.done, total=event.total)
                continue
            shown = [*shown, event][-ROWS:]
            bar.update(whole, completed=event.epoch)
            live.update(Group(epoch_table(shown, console.width), bar))
            yield event


def epoch_table(records: list[EpochRecord], width: int) -> Table:
    """The last epochs, in nats per datum: the columns that were measured, as many as the screen is wide enough for."""
    table = Table(caption="nats per datum", box=SIMPLE_HEAD, pad_edge=False)
    columns, room = [], width
    for column in (f for f in fields(EpochRecord) if f.metadata["shown"]):
        cells = [cell(column, getattr(record, column.name)) for record in records]
        room -= max(map(len, [column.metadata["title"], *cells])) + 2
        if room >= 0 and (any(cells) or not records):
            columns.append(cells)
            table.add_column(Text(column.metadata["title"]), justify="right", no_wrap=True)
    for row in zip(*columns, strict=True):
        table.add_row(*map(Text, row))
    return table


def cell(column: "Field[object]", value: object) -> str:
    """A value in its column's own format."""
    return "" if value is None else format(value, column.metadata["form"])
