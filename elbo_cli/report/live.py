"""Training as it happens: a table and two bars on a terminal, plain lines anywhere else."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import Field, fields

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, Task, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from elbo_cli.records import EpochRecord, Tick
from elbo_cli.report.sparkline import sparkline

AROUND = 12  # lines of a screen that are not an epoch's: heading, curve, bars, and what is above and below
ROWS = 30  # epochs on the screen at most; metrics.csv holds them all
HOUR = 3600.0  # seconds from which a speed is estimated: an epoch may be long
MEASURING = "measuring"


def watch(
    events: Iterable[EpochRecord | Tick],
    console: Console,
    epochs: int,
    past: int = 0,
    best: EpochRecord | None = None,
    before: Sequence[EpochRecord] = (),
) -> Iterator[EpochRecord]:
    """Show the events as they come and pass the records on.

    Args:
        events: of a training.
        console: where to.
        epochs: the last one to come.
        past: the last one that was done before.
        best: the best one before.
        before: the epochs of earlier sittings, for the curve.
    """
    if console.is_terminal and not console.is_dumb_terminal:
        return _table(events, console, Bars(console, epochs, past), best, before)
    return _lines(events, console)


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


def _plain(value: float | tuple[float, ...]) -> str:
    if isinstance(value, tuple):
        return ",".join(f"{each:.3g}" for each in value)
    return f"{value:.6g}" if isinstance(value, float) else str(value)


class Left(TimeRemainingColumn):
    """The time that is left, where it can be told."""

    max_refresh = 0.0  # a cached one would show the end of the last epoch at the beginning of the next

    def render(self, task: Task) -> Text:
        """The time in words, or nothing."""
        return Text("") if task.time_remaining is None else super().render(task).append(" left")


class Bars:
    """How far the training is, and how far its epoch, each with the time that is left."""

    def __init__(self, console: Console, epochs: int, past: int, get_time: Callable[[], float] | None = None) -> None:
        self.epoch = past
        self.shown = Progress(
            TextColumn(" {task.description:<9}"),
            BarColumn(),
            MofNCompleteColumn(),
            Left(),
            console=console,
            speed_estimate_period=HOUR,
            get_time=get_time,
        )
        self.whole = self.shown.add_task("epochs", total=epochs, completed=past)
        self.inside = self.shown.add_task(MEASURING, total=None)

    def tick(self, tick: Tick) -> None:
        """Move both: the epochs' bar by the part of an epoch that is done."""
        what = MEASURING if tick.done == tick.total else tick.what  # validation and probe follow the last batch
        self.shown.update(self.inside, description=what, completed=tick.done, total=tick.total)
        self.shown.update(self.whole, completed=self.epoch + tick.done / tick.total)

    def turn(self, epoch: int) -> None:
        """Begin a new epoch: the time left in it is no longer that of the one before."""
        self.epoch = epoch
        self.shown.update(self.whole, completed=epoch)
        self.shown.reset(self.inside, description=f"epoch {epoch + 1}")


def _table(
    events: Iterable[EpochRecord | Tick],
    console: Console,
    bars: Bars,
    best: EpochRecord | None,
    before: Sequence[EpochRecord],
) -> Iterator[EpochRecord]:
    shown: list[EpochRecord] = []
    values = [height(record) for record in before]
    with Live(Group(bars.shown), console=console, refresh_per_second=4) as live:
        for event in events:
            if isinstance(event, Tick):
                bars.tick(event)
                continue
            best = event if best is None or event.score > best.score else best
            shown = [*shown, event][-max(3, min(ROWS, console.height - AROUND)) :]
            values.append(height(event))
            bars.turn(event.epoch)
            seen = Group(epoch_table(shown, console.width, best), Text(""), curve(values, console.width, best))
            live.update(Group(seen, bars.shown))
            yield event
        live.update(seen if shown else Text(""))


def height(record: EpochRecord) -> float:
    """What the curve shows of an epoch: the validation ELBO, or without validation data the training's."""
    return record.train_elbo if record.valid_elbo is None else record.valid_elbo


def curve(values: Sequence[float], width: int, best: EpochRecord) -> Text:
    """The ELBO of all epochs in one line, between its first value and its last."""
    name = "train ELBO" if best.valid_elbo is None else "valid ELBO"
    first, last = f" {name} {values[0]:.2f} ", f" {values[-1]:.2f} nats"
    tail = f", best at epoch {best.epoch}"
    room = width - len(first) - len(last) - len(tail)
    line = Text(first).append(sparkline(values, max(0, room)), style="blue").append(last)
    return line.append(tail, style="dim") if room > 0 else line


def epoch_table(records: list[EpochRecord], width: int, best: EpochRecord | None = None) -> Table:
    """The last epochs, in nats per datum: the columns that were measured, as many as the screen is wide enough for.

    Below a column's name stand its unit and its sign: higher is better, or never negative.
    """
    table = Table(
        title=Text("nats per datum, ↑ higher is better; the best epoch is bold", style="dim"),
        title_justify="left",
        box=SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
    columns, room = [], width + 2
    for column in (f for f in fields(EpochRecord) if f.metadata["shown"]):
        title = "\n".join(column.metadata["title"].rsplit(" ", 1))  # two lines, so that more columns fit
        unit = column.metadata["unit"] + column.metadata["sign"]
        cells = [cell(column, getattr(record, column.name)) for record in records]
        wide = max(map(len, [*title.split("\n"), unit, *cells])) + 2
        if wide <= room and any(cells):
            room -= wide
            columns.append(cells)
            heading = Text(f"{title}\n").append(unit, style="not bold dim")
            table.add_column(heading, justify="right", vertical="bottom", no_wrap=True)
    for record, *row in zip(records, *columns, strict=True):
        table.add_row(*map(Text, row), style="bold" if record is best else "")
    return table


def cell(column: "Field[object]", value: object) -> str:
    """A value in its column's own format."""
    return "" if value is None else format(value, column.metadata["form"])
