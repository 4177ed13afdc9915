"""`elbo gap`."""

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from elbo_cli.commands.again import with_command
from elbo_cli.commands.asked import Asked
from elbo_cli.commands.chosen import Chosen, Named
from elbo_cli.commands.progress import behind_a_bar
from elbo_cli.commands.shards import identity, run_shard
from elbo_cli.commands.wanted import Wanted
from elbo_cli.commands.writing import write
from elbo_cli.errors import UserError
from elbo_cli.gap.methods import measure_gap, refuse_unknown, settled
from elbo_cli.gap.sandwich import sandwich
from elbo_cli.gap.settings import Settings
from elbo_cli.gap.split_gap import refuse_unsplit, split_gap
from elbo_cli.merging import merged
from elbo_cli.ranks import refuse_others, together
from elbo_cli.records import GapFindings, GapRow
from elbo_cli.report.parts import as_json, sandwich_screen, split_screen
from elbo_cli.report.tables import drawing, gap_json, gap_screen
from elbo_cli.runtime import open_device
from elbo_cli.screen import Screen
from elbo_cli.subject import Subject


def run(screen: Screen, asked: Asked) -> None:
    """`elbo gap`, or `elbo gap --merge`."""
    if asked.merge:
        run_merge(screen, asked.parts, asked.wanted)
    else:
        run_gap(screen, asked.chosen, asked.method, asked.settings, asked.wanted)


def run_gap(screen: Screen, chosen: Chosen, method: str, settings: Settings, wanted: Wanted) -> None:
    """`elbo gap`."""
    wanted.refuse_nonsense()
    wanted.refuse_unused(method)
    if not 0 < settings.delta < 1:
        raise UserError(f"--delta {settings.delta:g} is no probability: give a number between 0 and 1, as 0.05.")
    method = settled(method, wanted.samples, settings.proposal)
    refuse_unknown(method, settings.proposal)
    with together(open_device(chosen.device)) as mine:
        wanted.refuse_company(mine)
        subject = chosen.open()
        if mine.size > 1:
            refuse_others("model or data", identity(subject))
        settings = replace(settings.to(wanted.tolerance), seed=subject.seed, device=subject.device)
        if not mine.first:
            screen, wanted = screen.of(first=False), wanted.without_files()
        measure = _run_whole if wanted.shard is None else run_shard
        measure(screen, chosen, subject, method, settings, wanted)


def _run_whole(
    screen: Screen, chosen: Chosen, subject: Subject, method: str, settings: Settings, wanted: Wanted
) -> None:
    began = time.perf_counter()
    with subject.blamed():
        if wanted.families:
            refuse_unsplit(subject.model, next(subject.split.blocks(2)), wanted.families)
        found = behind_a_bar(screen, measure_gap(subject.model, subject.split, method, settings))
    found = with_command(found, chosen, settings)
    named = Named(subject.name, subject.data, subject.split.name, subject.seed)
    answer = _show_gap(screen, named, found, time.perf_counter() - began)
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
    _close(screen, answer, found, wanted)


def run_merge(screen: Screen, files: Sequence[Path], wanted: Wanted) -> None:
    """`elbo gap --merge`: what one process would have said, from the parts that many commands measured."""
    wanted.refuse_nonsense()
    about, found = merged(files)
    if found.verdict.advice:
        again = f"{about.again} {found.verdict.advice} --shard 1/{about.shard[1]} ..."
        found = replace(found, verdict=replace(found.verdict, advice=again))
    subject = Named(*about.named, about.split, about.seed)
    _close(screen, _show_gap(screen, subject, found, about.seconds), found, wanted)


def _close(screen: Screen, answer: dict[str, Any], found: GapFindings, wanted: Wanted) -> None:
    screen.emit(answer)  # first: a full disk shall not take the answer with it
    write(screen, wanted.out, found.rows, GapRow)
    if wanted.strict and not found.verdict.resolved:
        raise SystemExit(3)


def _show_gap(screen: Screen, of: Named, found: GapFindings, seconds: float) -> dict[str, Any]:
    """Show what was found; returns it as JSON."""
    about = f"{drawing(found)}, seed {of.seed}, {seconds:.1f} s"
    about = f"{about}\n{found.why}" if found.why else about
    screen.show(gap_screen(found, data=of.data, split=of.split, about=about))
    head = {"checkpoint": of.checkpoint, "data": of.data, "split": of.split}
    return head | gap_json(found) | {"seed": of.seed, "seconds": round(seconds, 3)}
