"""The page of several runs."""

from collections.abc import Mapping, Sequence

from elbo_cli.comparison.records import Comparison
from elbo_cli.records import EpochRecord
from elbo_cli.report.comparison import (
    DIFFERENCE,
    config_heads,
    config_rows,
    difference_rows,
    letters,
    run_columns,
    run_rows,
    setting_rows,
)
from elbo_cli.report.figures import several
from elbo_cli.report.figures.style import Figure
from elbo_cli.report.page import html
from elbo_cli.report.page.html import Section
from elbo_cli.report.page.single import Report, foot


def report(
    found: Comparison, trainings: Mapping[str, Sequence[EpochRecord]], commands: Sequence[str], version: str
) -> Report:
    """Several runs on one page.

    Args:
        found: what was measured of them.
        trainings: the epochs of each run.
        commands: to reproduce it.
        version: of elbo.
    """
    drawn: list[Figure | None] = [
        several.differences(found),
        several.seeds(found),
        several.tightness(found),
        several.curves(found, trainings),
    ]
    sections = [
        Section("Which config won", html.cards(*drawn)),
        Section("Configs", _settings(found) + _configs(found)),
        Section("Differences, paired by datum", _differences(found)),
        Section("Runs, the best first", _runs(found)),
        Section("To reproduce this", html.code("\n".join(commands))),
    ]
    title = f"{len(found.runs)} runs of {len(found.configs)} configs"
    page = html.page(title, _head(found), sections, foot(version))
    return Report(page, tuple(figure for figure in drawn if figure is not None))


def _head(found: Comparison) -> str:
    about = (
        f"{found.examples:,} data of {found.data}, split {found.split}: the same for every run, with the same noise "
        f"(seed {found.seed}, {found.samples} draws of q). All in nats per datum."
    )
    told = any(d.told for d in found.differences if d.quantity == "elbo") and not found.verdict.startswith("Cannot")
    tone = "resolved" if told else "partial"
    return f'<p>{html.text(about)}</p><div class="verdict {tone}">{html.prose(found.verdict)}</div>'


def _settings(found: Comparison) -> str:
    """What differs in the configs; nothing, where nothing does."""
    return html.table(["what differs", *letters(found)], setting_rows(found)) if found.differs else ""


def _configs(found: Comparison) -> str:
    head, *heads = config_heads(found.configs)
    return html.table([f"{head}, mean ± s.e. across seeds", *heads], config_rows(found.configs))


def _differences(found: Comparison) -> str:
    return html.table(DIFFERENCE, difference_rows(found.differences)) if found.differences else ""


def _runs(found: Comparison) -> str:
    return html.table([f.metadata["title"] for f in run_columns(found.runs)], run_rows(found.runs))
