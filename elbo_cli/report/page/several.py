"""The page of several runs."""

from collections.abc import Mapping, Sequence
from dataclasses import fields

from elbo_cli.comparison.records import Comparison, RunResult
from elbo_cli.errors import printable
from elbo_cli.records import EpochRecord
from elbo_cli.report.comparison import TITLES, setting
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
    names = sorted(config.config for config in found.configs)
    rows = [[key, *(setting(values[name]) for name in names)] for key, values in found.differs.items()]
    return html.table(["what differs", *names], rows) if rows else ""


def _configs(found: Comparison) -> str:
    quantities = [q for q in TITLES if q in found.configs[0].means]
    rows = []
    for config in found.configs:
        cells = [f"{config.means[q]:.2f}{_plus_minus(config.se_seeds[q])}" for q in quantities]
        rows.append([config.config, ", ".join("-" if s is None else str(s) for s in config.seeds), *cells])
    return html.table(["config, mean ± s.e. across seeds", "seeds", *(TITLES[q] for q in quantities)], rows)


def _plus_minus(se: float | None) -> str:
    return "" if se is None else f" ± {se:.2f}"


def _differences(found: Comparison) -> str:
    if not found.differences:
        return ""
    rows = [
        [
            f"{d.ahead} less {d.behind}",
            TITLES[d.quantity],
            f"{d.mean:+.3f}",
            f"{d.se_data:.3f}",
            "-" if d.se_seeds is None else f"{d.se_seeds:.3f}",
            f"{d.low:+.3f} to {d.high:+.3f}",
            "told" if d.told else "cannot be told",
        ]
        for d in found.differences
    ]
    return html.table(["", "in", "mean", "± across data", "± across seeds", "95 % interval", ""], rows)


def _runs(found: Comparison) -> str:
    shown = [f for f in fields(RunResult) if any(getattr(run, f.name) is not None for run in found.runs)]
    rows = [[_cell(getattr(run, f.name), f.metadata["form"]) for f in shown] for run in found.runs]
    return html.table([f.metadata["title"] for f in shown], rows)


def _cell(value: object, form: str) -> str:
    return "-" if value is None else printable(format(value, form))
