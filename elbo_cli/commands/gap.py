"""`elbo gap`."""

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from elbo_cli.commands.chosen import Chosen
from elbo_cli.commands.progress import behind_a_bar
from elbo_cli.commands.writing import write
from elbo_cli.errors import UserError
from elbo_cli.gap.methods import measure_gap, refuse_unknown, settled
from elbo_cli.gap.sandwich import sandwich
from elbo_cli.gap.settings import Settings
from elbo_cli.gap.split_gap import split_gap
from elbo_cli.records import GapFindings, GapRow
from elbo_cli.report.parts import as_json, sandwich_screen, split_screen
from elbo_cli.report.rows import refuse_path
from elbo_cli.report.tables import drawing, gap_json, gap_screen
from elbo_cli.screen import Screen
from elbo_cli.subject import Subject


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
        found = behind_a_bar(screen, measure_gap(subject.model, subject.split, method, settings))
    if found.verdict.advice:
        found = replace(found, verdict=replace(found.verdict, advice=chosen.again(found.verdict.advice)))
    answer = _show_gap(screen, subject, found, time.perf_counter() - began)
    if wanted.families:
        with subject.blamed():
            parts = behind_a_bar(screen, split_gap(subject.model, subject.split, settings, wanted.families))
        screen.show(split_screen(parts))
        answer["split_gap"] = as_json(parts)
    if wanted.sandwich is not None:
        way = "ais" if method == "ais" else "importance"
        with subject.blamed():
            between = behind_a_bar(screen, sandwich(subject.model, wanted.sandwich, settings, way))
        screen.show(sandwich_screen(between))
        answer["sandwich"] = as_json(between)
    write(screen, wanted.out, found.rows, GapRow)
    screen.emit(answer)
    if wanted.strict and not found.verdict.resolved:
        raise SystemExit(3)


def _show_gap(screen: Screen, subject: Subject, found: GapFindings, seconds: float) -> dict[str, Any]:
    """Show what was found; returns it as JSON."""
    about = f"{drawing(found)}, seed {subject.seed}, {seconds:.1f} s"
    about = f"{about}\n{found.why}" if found.why else about
    screen.show(gap_screen(found, data=subject.data, split=subject.split.name, about=about))
    head = {"checkpoint": subject.name, "data": subject.data, "split": subject.split.name}
    return head | gap_json(found) | {"seed": subject.seed, "seconds": round(seconds, 3)}
