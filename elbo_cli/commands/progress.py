"""Long work behind a bar."""

from collections.abc import Generator
from typing import TypeVar

from rich.progress import Progress

from elbo_cli.records import Tick
from elbo_cli.runtime import finished
from elbo_cli.screen import Screen

T = TypeVar("T")


def behind_a_bar(screen: Screen, work: Generator[Tick, None, T]) -> T:
    """Run a piece of work to its result, behind a bar with the time left on a terminal."""
    if not screen.console.is_terminal:  # a disabled bar still ends in an empty line, before rich 14.3
        return finished(work)
    with Progress(console=screen.console, transient=True) as bar:
        task = bar.add_task("measuring", total=None)
        while True:
            try:
                tick = next(work)
            except StopIteration as stop:
                return stop.value  # type: ignore[no-any-return]  # a generator's result comes untyped
            bar.update(task, description=tick.what, completed=tick.done, total=tick.total)
