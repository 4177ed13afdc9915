"""What `--split-gap` and `--sandwich` found, on a screen and as JSON."""

from dataclasses import asdict
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from elbo_cli.records import Estimate, SandwichFindings, SplitFindings
from elbo_cli.report.tables import number


def split_screen(found: SplitFindings) -> RenderableType:
    """Who is to blame for the gap: the encoder, or the family of q."""
    table = _table("nats per datum")
    _row(table, "ELBO of the encoder's q", found.gap.elbo)
    best = "q of its own family" if found.family == "own" else f"{found.family} q"
    _row(table, f"ELBO of the best {best} for each datum", found.refined)
    _row(table, "amortisation gap, at least: what a better encoder could win", found.amortisation_gap)
    _row(table, "approximation gap: what only a richer family could win", found.approximation_gap)
    _row(table, "total", found.gap.gap)
    for family in found.richer:
        share = "" if family.share is None else f" ({family.share:.0%} of it)"
        _row(table, f"  of which {family.family} q closes{share}", family.closes)
    return Group(Text("\nWho is to blame for the gap", style="bold"), table)


def sandwich_screen(found: SandwichFindings) -> RenderableType:
    """log p(x) of simulated data from both sides, with the caution that it speaks for those."""
    table = _table("nats per datum, simulated data")
    _row(table, "L, at least", found.lower)
    _row(table, "U, at most", found.upper)
    _row(table, "U - L, paired", found.width)
    sure = (
        f"With probability {1 - found.delta:.0%}: mean log p(x) of these {found.examples:,} simulated data is between "
        f"{found.log_px_at_least:.3f} and {found.log_px_at_most:.3f}."
    )
    return Group(Text("\nSandwich", style="bold"), table, Text(sure), Text(found.caution, style="yellow"))


def _table(heading: str) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column(Text(heading), no_wrap=True)
    for title in ("mean", "± across data", "± Monte Carlo"):
        table.add_column(Text(title), justify="right", no_wrap=True)
    return table


def _row(table: Table, name: str, estimate: Estimate) -> None:
    error = "" if estimate.se_mc is None else number(estimate.se_mc, ".4f")
    table.add_row(Text(name), number(estimate.mean), number(estimate.se_data), error)


def as_json(found: SplitFindings | SandwichFindings) -> dict[str, Any]:
    """A record as JSON without its rows; what is no finite number the screen makes null."""
    tree: dict[str, Any] = _without_rows(asdict(found))
    return tree


def _without_rows(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_rows(each) for key, each in value.items() if key != "rows"}
    return value
