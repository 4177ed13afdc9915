"""What the commands do, once their words are parsed: open, measure, show, write."""

import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from shlex import quote
from typing import Any, TypeVar

from rich.progress import Progress

from elbo_cli import config as configs
from elbo_cli.errors import RunError, UserError
from elbo_cli.evaluation import evaluate
from elbo_cli.gap.methods import measure_gap, refuse_unknown, settled
from elbo_cli.gap.sandwich import sandwich
from elbo_cli.gap.settings import Settings
from elbo_cli.gap.split_gap import split_gap
from elbo_cli.journal import Session, journal, resume, start
from elbo_cli.records import EvaluationRow, GapFindings, GapRow, Tick
from elbo_cli.report.live import watch
from elbo_cli.report.parts import as_json, sandwich_screen, split_screen
from elbo_cli.report.rows import refuse_path, write_rows
from elbo_cli.report.tables import drawing, evaluation_json, evaluation_table, gap_json, gap_screen, latents_table
from elbo_cli.report.training import closing, training_json
from elbo_cli.runtime import open_device
from elbo_cli.screen import Screen, Stopped
from elbo_cli.subject import Subject, open_subject


@dataclass(frozen=True, slots=True)
class Chosen:
    """What a user chose to measure, as typed."""

    checkpoint: str
    split: str
    data: str | None
    overrides: tuple[str, ...]
    limit: int | None
    seed: int | None
    threads: int | None
    device: str

    def again(self, advice: str) -> str:
        """The command that follows an advice: the same measurement, with other options."""
        chosen = [f"--data {quote(self.data)}"] if self.data else []
        chosen += [f"--split {self.split}"] if self.split != "test" else []
        chosen += [f"--limit {self.limit}"] if self.limit else []
        return " ".join(["elbo gap", quote(self.checkpoint), *map(quote, self.overrides), *chosen, advice])

    def open(self) -> Subject:
        """The model and its data."""
        return open_subject(
            self.checkpoint,
            split=self.split,
            data=self.data,
            overrides=self.overrides,
            limit=self.limit,
            seed=self.seed,
            threads=self.threads,
            device=open_device(self.device),
        )


def run_training(
    screen: Screen, config: Path | None, overrides: Sequence[str], out: Path | None, resumed: Path | None, device: str
) -> None:
    """`elbo train`."""
    session = _session(config, overrides, out, resumed, device)
    screen.say(f"{session.folder.path}: {_scale(session)}")
    with _saying_how_to_go_on(session):
        past, epochs = session.past, session.config.train.epochs
        trained = sum(1 for _ in watch(journal(session), screen.console, epochs, past.last.epoch, past.best))
    records = session.folder.records()  # of earlier sittings too
    if not trained:
        screen.say(f"Nothing left to train after epoch {records[-1].epoch}: give train.epochs=N to go on for longer.")
    best = max(records, key=lambda record: record.score)
    for line in closing(records, best, session.folder):
        screen.say(line)
    screen.emit(training_json(session.folder, records[-1], best))


def _session(
    config: Path | None, overrides: Sequence[str], out: Path | None, resumed: Path | None, device: str
) -> Session:
    if resumed is not None:
        if config is not None or out is not None:
            raise UserError("--resume takes the run's own config and folder: leave --config and --out out.")
        return resume(resumed, overrides, open_device(device))
    if config is None:
        meant = [f" Did you mean --config {o}?" for o in overrides if o.endswith((".yaml", ".yml"))]
        hint = meant[0] if meant else ""
        raise UserError(f"Nothing to train: give --config FILE (elbo init writes one), or --resume RUN.{hint}")
    return start(configs.load(config, overrides), config.stem, out, open_device(device))


def _scale(session: Session) -> str:
    experiment = session.experiment
    parameters = sum(p.numel() for p in experiment.model.parameters())
    return (
        f"{parameters:,} parameters, {len(experiment.data.train):,} data, "
        f"{session.config.train.epochs} epochs, {experiment.device}, threads {session.config.threads}"
    )


@contextmanager
def _saying_how_to_go_on(session: Session) -> Iterator[None]:
    folder = session.folder
    try:
        yield
    except KeyboardInterrupt as error:
        kept = "The last whole epoch is kept" if folder.last.exists() else "No epoch was whole yet"
        how = f" Go on with: elbo train --resume {quote(str(folder.path))}" if folder.config.exists() else ""
        raise Stopped(f"Stopped. {kept}.{how}") from error
    except RunError as error:
        kept = f"Last good checkpoint: {folder.last}" if folder.last.exists() else "No epoch was whole yet."
        raise RunError(f"{error} {kept}") from error


def run_evaluation(screen: Screen, chosen: Chosen, samples: int, out: Path | None) -> None:
    """`elbo evaluate`."""
    if out is not None:
        refuse_path(out)
    subject = chosen.open()
    with subject.blamed():
        found = evaluate(
            subject.model, subject.split, data=subject.data, samples=samples, seed=subject.seed, device=subject.device
        )
    screen.show(evaluation_table(found))
    screen.show(latents_table(found))
    _write(screen, out, found.rows, EvaluationRow)
    head = {
        "checkpoint": subject.name,
        "data": subject.data,
        "split": subject.split.name,
        "samples": samples,
        "seed": subject.seed,
    }
    screen.emit(head | evaluation_json(found))


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a user wants of `elbo gap` beside the method's settings, as typed."""

    samples: int | None
    tolerance: float | None
    out: Path | None
    strict: bool
    sandwich: int | None = None  # simulated data to bound from both sides
    families: tuple[str, ...] = ()  # of q, to split the gap by; none: do not split it

    def refuse_nonsense(self) -> None:
        """Insist that the wishes go together, before the long work begins.

        Raises:
            UserError: they do not.
        """
        if self.tolerance is not None and self.samples is not None:
            raise UserError("--tolerance finds the number of draws itself: leave --samples out, or --tolerance.")
        if self.tolerance is not None and not self.tolerance > 0:
            raise UserError(f"--tolerance {self.tolerance:g} is no accuracy: give a number of nats above 0, as 0.05.")
        if self.out is not None:
            refuse_path(self.out)


def run_gap(screen: Screen, chosen: Chosen, method: str, settings: Settings, wanted: Wanted) -> None:
    """`elbo gap`."""
    wanted.refuse_nonsense()
    if not 0 < settings.delta < 1:
        raise UserError(f"--delta {settings.delta:g} is no probability: give a number between 0 and 1, as 0.05.")
    method = settled(method, wanted.samples, settings.proposal)
    refuse_unknown(method, settings.proposal)
    subject = chosen.open()
    settings = replace(settings.to(wanted.tolerance), seed=subject.seed, device=subject.device)
    began = time.perf_counter()
    with subject.blamed():
        found = _behind_a_bar(screen, measure_gap(subject.model, subject.split, method, settings))
    if found.verdict.advice:
        found = replace(found, verdict=replace(found.verdict, advice=chosen.again(found.verdict.advice)))
    answer = _show_gap(screen, subject, found, time.perf_counter() - began)
    if wanted.families:
        with subject.blamed():
            parts = _behind_a_bar(screen, split_gap(subject.model, subject.split, settings, wanted.families))
        screen.show(split_screen(parts))
        answer["split_gap"] = as_json(parts)
    if wanted.sandwich is not None:
        way = "ais" if method == "ais" else "importance"
        with subject.blamed():
            between = _behind_a_bar(screen, sandwich(subject.model, wanted.sandwich, settings, way))
        screen.show(sandwich_screen(between))
        answer["sandwich"] = as_json(between)
    _write(screen, wanted.out, found.rows, GapRow)
    screen.emit(answer)
    if wanted.strict and not found.verdict.resolved:
        raise SystemExit(3)


T = TypeVar("T")


def _behind_a_bar(screen: Screen, work: Generator[Tick, None, T]) -> T:
    """Run a piece of work to its result, behind a bar with the time left on a terminal."""
    with Progress(console=screen.console, transient=True, disable=not screen.console.is_terminal) as bar:
        task = bar.add_task("measuring", total=None)
        while True:
            try:
                tick = next(work)
            except StopIteration as stop:
                return stop.value  # type: ignore[no-any-return]  # a generator's result comes untyped
            bar.update(task, description=tick.what, completed=tick.done, total=tick.total)


def _show_gap(screen: Screen, subject: Subject, found: GapFindings, seconds: float) -> dict[str, Any]:
    """Show what was found; returns it as JSON."""
    about = f"{drawing(found)}, seed {subject.seed}, {seconds:.1f} s"
    about = f"{about}\n{found.why}" if found.why else about
    screen.show(gap_screen(found, data=subject.data, split=subject.split.name, about=about))
    head = {"checkpoint": subject.name, "data": subject.data, "split": subject.split.name}
    return head | gap_json(found) | {"seed": subject.seed, "seconds": round(seconds, 3)}


def _write(screen: Screen, out: Path | None, rows: Sequence[object], record: type) -> None:
    if out is not None:
        write_rows(out, rows, record)
        screen.say(f"Wrote {len(rows):,} rows to {out}")
