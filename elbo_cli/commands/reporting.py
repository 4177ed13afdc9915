"""`elbo report`: measure, draw, write one page."""

import json
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

from elbo_cli import __version__
from elbo_cli.commands.chosen import Chosen
from elbo_cli.commands.progress import behind_a_bar
from elbo_cli.errors import UserError, need_extra
from elbo_cli.files import looking, read_small, refuse_file
from elbo_cli.portrait.portray import Effort, portray
from elbo_cli.runs import RunFolder
from elbo_cli.screen import Screen

if TYPE_CHECKING:
    from elbo_cli.report.page.single import Heading  # matplotlib: where it is used

LARGEST = 3_000_000  # bytes that a page may have


def need_plots(purpose: str) -> None:
    """Insist that pictures can be drawn, before the long work begins.

    Raises:
        UserError: matplotlib is not installed.
    """
    if find_spec("matplotlib") is None:
        raise need_extra("matplotlib", "plots", purpose)


def run_report(screen: Screen, chosen: Chosen, effort: Effort, out: Path | None) -> None:
    """`elbo report RUN`."""
    need_plots("A report")
    path = out or _beside(chosen.checkpoint)
    refuse_page(path)
    from elbo_cli.report.page.files import write_report
    from elbo_cli.report.page.single import report

    subject = chosen.open()
    heading = about(chosen, effort)  # before the long work: a row of metrics.csv may be none
    with subject.blamed():
        work = portray(subject.model, subject.split, data=subject.data, effort=effort, seed=subject.seed)
        portrait = behind_a_bar(screen, work)
    written = write_report(report(heading, portrait), path)
    told(screen, path, written)


def run_reports(screen: Screen, chosen: Chosen, others: Sequence[str], effort: Effort, out: Path | None) -> None:
    """`elbo report RUN RUN ...`: the runs side by side."""
    need_plots("A report")
    names = [chosen.checkpoint, *others]
    path = out or _above(names) / "report.html"
    refuse_page(path)
    from elbo_cli.commands import comparing
    from elbo_cli.report.page.files import write_report
    from elbo_cli.report.page.several import report

    asked = comparing.Effort(gap=effort.samples, limit=effort.limit)
    trainings = {name: about(replace(chosen, checkpoint=name), effort).records for name in names}
    found = comparing.compared(screen, chosen, others, asked)
    words = " ".join([*map(quote, names), *map(quote, chosen.overrides)])
    lines = [f"elbo compare {words}", f"elbo report {words} --limit {effort.limit} --samples {effort.samples}"]
    told(screen, path, write_report(report(found, trainings, lines, __version__), path))


def _above(names: Sequence[str]) -> Path:
    """The folder that holds all of the runs."""
    return Path(os.path.relpath(os.path.commonpath([Path(name).absolute().parent for name in names])))


def told(screen: Screen, path: Path, written: Sequence[Path]) -> None:
    """Say what was written."""
    screen.say(f"Wrote {path} ({path.stat().st_size / 1000:,.0f} kB), and the figures in {path.with_suffix('')}")
    screen.emit({"report": str(path), "files": [str(file) for file in written]})


def refuse_page(path: Path) -> None:
    """Insist that a page can be written, before the long work begins.

    Raises:
        UserError: it ends otherwise than .html, or cannot be written there.
    """
    if path.suffix != ".html":
        raise UserError(f"--out {path} ends in '{path.suffix}': a report is a page, as report.html.")
    refuse_file(path, "--out")
    if path.with_suffix("").is_file():
        raise UserError(f"--out {path}: its figures would go to the folder {path.with_suffix('')}, which is a file.")


def _beside(checkpoint: str) -> Path:
    """report.html in the run's folder, or in this one for a model of a user's own."""
    path = Path(checkpoint)
    with looking(path):
        return (path if path.is_dir() else path.parent if path.is_file() else Path()) / "report.html"


def about(chosen: Chosen, effort: Effort) -> "Heading":
    """What a page says of a run beside its portrait.

    Raises:
        UserError: a row of metrics.csv is not one that elbo wrote.
    """
    from elbo_cli.report.page.single import Heading

    path = Path(chosen.checkpoint)
    run = RunFolder(path if path.is_dir() else path.parent)
    known = path.exists() and run.config.is_file()
    return Heading(
        name=path.resolve().name if path.is_dir() else chosen.checkpoint,
        records=run.records() if known else [],
        config=_config(run) if known else "",
        manifest=manifest(run) if known else {},
        commands=commands(chosen, effort, run if known else None),
        version=__version__,
    )


def _config(run: RunFolder) -> str:
    with suppress(OSError, ValueError):
        return read_small(run.config).decode("utf-8", "replace")
    return ""


def manifest(run: RunFolder) -> dict[str, Any]:
    """The run's manifest; nothing, where it cannot be read."""
    with suppress(OSError, ValueError, RecursionError):
        found = json.loads(read_small(run.manifest))
        return found if isinstance(found, dict) else {}
    return {}


def commands(chosen: Chosen, effort: Effort, run: RunFolder | None) -> list[str]:
    """What to type to have it all again."""
    again = chosen.again("").strip().removeprefix("elbo gap ")
    lines = [f"elbo train --config {quote(str(run.config))} --out again"] if run else []
    lines += [f"elbo evaluate {again}", f"elbo gap {again} --limit {effort.limit} --samples {effort.samples}"]
    return [*lines, f"elbo report {again} --limit {effort.limit} --samples {effort.samples}"]
