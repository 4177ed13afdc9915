"""Runs side by side, on a screen: what differs, every run, every config, the differences, the verdict."""

from collections.abc import Sequence
from dataclasses import Field, fields
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from elbo_cli.comparison.records import Comparison, ConfigResult, Difference, RunResult
from elbo_cli.errors import printable
from elbo_cli.report.tables import number

TITLES = {"elbo": "ELBO", "reconstruction": "E log p(x|z)", "kl": "KL(q‖p)", "log_px": "log p(x)≥", "gap": "gap"}

DIFFERENCE = ("best - other", "in", "mean", "± across data", "± across seeds", "95 % interval", "told")


def comparison_screen(found: Comparison) -> RenderableType:
    """The whole comparison, the best first."""
    about = (
        f"{found.examples:,} data of {printable(found.data)}, split {found.split}: the same for every run, and the "
        f"same noise (seed {found.seed}, {found.samples} draws of q). Nats per datum."
    )
    parts: list[RenderableType] = [Text(about, style="bold"), Text("")]
    if found.differs:
        parts.append(settings_table(found))
    parts.append(runs_table(found.runs))
    if any(len(config.runs) > 1 for config in found.configs):
        parts.append(configs_table(found.configs))
    if found.differences:
        parts.append(differences_table(found.differences))
    return Group(*parts, Text(found.verdict, style="bold"))


def settings_table(found: Comparison) -> Table:
    """What differs in the configs: a row for each key, a column for each config."""
    return _filled(_table("what differs in the configs", "key", *letters(found)), setting_rows(found))


def setting_rows(found: Comparison) -> list[list[str]]:
    """A key, and its value in each config; a dash where it has no meaning there."""
    return [[key, *(_setting(values[name]) for name in letters(found))] for key, values in found.differs.items()]


def letters(found: Comparison) -> list[str]:
    """The configs, by their names."""
    return sorted(config.config for config in found.configs)


def _setting(value: Any) -> str:
    return "-" if value is None else printable(str(value))


def runs_table(runs: Sequence[RunResult]) -> Table:
    """Every run, the best first; columns that no run has are left out."""
    table = Table(title=_title("runs, the best first"), box=SIMPLE_HEAD, title_justify="left", pad_edge=False)
    for f in run_columns(runs):
        table.add_column(Text(f.metadata["title"]), justify=_side(f.metadata["form"]), overflow="fold")
    return _filled(table, run_rows(runs))


def run_columns(runs: Sequence[RunResult]) -> "list[Field[Any]]":
    """The columns that some run has."""
    return [f for f in fields(RunResult) if any(getattr(run, f.name) is not None for run in runs)]


def run_rows(runs: Sequence[RunResult]) -> list[list[str]]:
    """Every run's cells."""
    shown = run_columns(runs)
    return [[_cell(getattr(run, f.name), f.metadata["form"]) for f in shown] for run in runs]


def _side(form: str) -> Any:
    return "left" if form == "s" else "right"


def _cell(value: Any, form: str) -> str:
    if isinstance(value, float):
        return number(value, form)
    return "-" if value in (None, "") else printable(format(value, form))


def configs_table(configs: Sequence[ConfigResult]) -> Table:
    """Every config: the mean over its seeds and the error across them."""
    return _filled(_table("configs: mean ± s.e. across seeds", *config_heads(configs)), config_rows(configs))


def config_heads(configs: Sequence[ConfigResult]) -> list[str]:
    """What stands above the cells of `config_rows`."""
    return ["config", "seeds", *(TITLES[q] for q in _quantities(configs))]


def config_rows(configs: Sequence[ConfigResult]) -> list[list[str]]:
    """Every config: its seeds, and of every quantity the mean over them and its error."""
    return [[c.config, _seeds(c), *(_pair(c, q) for q in _quantities(configs))] for c in configs]


def _quantities(configs: Sequence[ConfigResult]) -> list[str]:
    return [q for q in TITLES if q in configs[0].means]


def _seeds(config: ConfigResult) -> str:
    return ", ".join("-" if seed is None else str(seed) for seed in config.seeds)


def _pair(config: ConfigResult, quantity: str) -> str:
    se = config.se_seeds[quantity]
    return number(config.means[quantity], ".2f") + ("" if se is None else f" ± {se:.2f}")


def differences_table(differences: Sequence[Difference]) -> Table:
    """The best config less each of the others, paired datum by datum."""
    return _filled(_table("differences, paired by datum", *DIFFERENCE), difference_rows(differences))


def difference_rows(differences: Sequence[Difference]) -> list[list[str]]:
    """Every difference, its errors, its interval, and whether it can be told."""
    rows = []
    for d in differences:
        told = f"{d.ahead if d.mean > 0 else d.behind} is higher" if d.told else "cannot be told"
        numbers = (f"{d.mean:+.3f}", number(d.se_data), number(d.se_seeds), f"{d.low:+.3f} to {d.high:+.3f}", told)
        rows.append([f"{d.ahead} - {d.behind}", TITLES[d.quantity], *numbers])
    return rows


def _filled(table: Table, rows: Sequence[Sequence[str]]) -> Table:
    for row in rows:
        table.add_row(*map(Text, row))
    return table


def _table(title: str, *heads: str) -> Table:
    table = Table(title=_title(title), box=SIMPLE_HEAD, title_justify="left", pad_edge=False)
    for number_, head in enumerate(heads):
        table.add_column(Text(head), justify="right" if number_ > 1 else "left", overflow="fold")
    return table


def _title(text: str) -> Text:
    return Text(text, style="dim")
