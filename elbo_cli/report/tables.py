"""What `evaluate` and `gap` found, on a screen and as JSON."""

import math
from dataclasses import asdict
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from elbo_cli.errors import printable, shown
from elbo_cli.records import CurvePoint, Estimate, Evaluation, GapFindings, Interval

COLOURS = {"resolved": "bold green", "partial": "bold yellow", "unresolved": "bold red"}
BAR = 46  # characters of the bar between ELBO and log p(x)


def number(value: float | None, form: str = ".3f") -> str:
    """A number for a table; a dash where there is none."""
    return "-" if value is None or not math.isfinite(value) else format(value, form)


def evaluation_table(found: Evaluation) -> Table:
    """ELBO = reconstruction - KL, with standard errors across data."""
    table = Table(
        title=_heading(found.examples, found.data, found.split), box=SIMPLE_HEAD, title_justify="left", pad_edge=False
    )
    for title in ("nats per datum", "mean", "± s.e. across data"):
        table.add_column(Text(title), justify="left" if title == "nats per datum" else "right", no_wrap=True)
    for name, estimate in (
        ("reconstruction  E log p(x|z)", found.reconstruction),
        ("KL  KL(q(z|x) || p(z))", found.kl),
        ("ELBO", found.elbo),
    ):
        table.add_row(Text(name), number(estimate.mean), number(estimate.se_data))
    if found.bits_per_dim is not None:
        table.add_row(Text("bits per dimension, at most"), number(found.bits_per_dim, ".4f"), "")
    active, latents = (" + ".join(map(str, units)) for units in (found.active_per_layer, found.layers))
    table.add_row(Text("active units"), f"{active} of {latents}", "")
    return table


def latents_table(found: Evaluation) -> RenderableType:
    """The KL of every latent, largest first, as bars."""
    if not found.kl_per_latent:
        return Text("KL of each latent: there is none, because q(z|x) or p(z) does not factorise over latents", "dim")
    ranked = sorted(enumerate(found.kl_per_latent), key=lambda pair: -pair[1])
    most = max(ranked[0][1], 1e-9)
    lines = [f"  z{j:<4d} {kl:6.3f}  {'█' * round(30 * max(kl, 0) / most)}" for j, kl in ranked if kl > 0.005]
    rest = len(ranked) - len(lines)
    tail = [f"  and {rest} with less than 0.005 nat"] if rest else []
    return Text("\n".join(["KL of each latent, nats", *lines, *tail]))


def _heading(examples: int, data: str, split: str) -> Text:
    return Text(f"{examples:,} data of {printable(data)}, split {split}", style="bold")


def gap_screen(found: GapFindings, *, data: str, split: str, about: str) -> RenderableType:
    """One screen: the identity as a bar, the numbers with both errors, the certificate, the curve, the verdict."""
    return Group(
        _heading(found.examples, data, split),
        Text(about, style="dim"),
        Text(""),
        identity_bar(found),
        _numbers(found),
        _certificate(found),
        *_interval(found),
        Text(""),
        *([curve_table(found)] if found.curve else []),
        _diagnostics(found),
        Text(""),
        verdict_line(found),
    )


def drawing(found: GapFindings) -> str:
    """How the number was come by, in a few words."""
    if found.method == "exact":
        return "exact, without sampling"
    drawn = "chains of annealing from" if found.method == "ais" else "draws of"
    return f"K = {found.samples:,} {drawn} the proposal '{found.proposal}'"


def identity_bar(found: GapFindings) -> Text:
    """log p(x) = ELBO + gap as one bar: its whole length is -ELBO, of which the gap is what log p(x) lies above it.

    Nothing where a number is not finite: a weight of 0 makes the ELBO -inf.
    """
    if not all(math.isfinite(of.mean) for of in (found.elbo, found.gap, found.log_px)):
        return Text("")
    gap, depth = max(found.gap.mean, 0.0), max(abs(found.elbo.mean), 1e-9)
    cells = min(BAR - 1, max(1, round(BAR * gap / depth)))
    at_least = "" if found.verdict.resolved else "at least "
    bar = Text("ELBO ").append(f"{found.elbo.mean:.2f} ", style="blue")
    bar.append("▓" * cells, style="magenta").append("░" * (BAR - cells), style="dim")
    bar.append(" 0\n" if found.log_px.mean < 0 else "\n")  # a density may lie above 0
    bar.append(" " * len(f"ELBO {found.elbo.mean:.2f} ")).append("└ gap ", style="magenta")
    bar.append(f"{at_least}{gap:.2f}, up to log p(x) {at_least}{found.log_px.mean:.2f}\n", style="magenta")
    return bar


def _numbers(found: GapFindings) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for title in ("nats per datum", "mean", "± across data", "± Monte Carlo"):
        table.add_column(Text(title), justify="left" if title == "nats per datum" else "right", no_wrap=True)
    at_least = "" if found.verdict.resolved else ", at least"
    rows: list[tuple[str, Estimate]] = [
        ("ELBO", found.elbo),
        (f"log p(x){at_least}", found.log_px),
        (f"gap{at_least}", found.gap),
    ]
    for name, e in rows:
        table.add_row(Text(name), number(e.mean), number(e.se_data), number(e.se_mc, ".4f"))
    return table


def _certificate(found: GapFindings) -> Text:
    sure = found.certified
    if sure.log_px_at_least is None:
        return Text(f"No certificate: {sure.withheld}.", style="yellow")
    if found.method == "exact":
        return Text("Exact: no certificate is needed.")
    each, gap = ("", "") if sure.gap_at_least is None else (", each", f", gap >= {sure.gap_at_least:.3f}")
    line = f"With probability {1 - sure.delta:.0%}{each}: mean log p(x) of these data >= {sure.log_px_at_least:.3f}"
    return Text(line + gap)


def _interval(found: GapFindings) -> list[Text]:
    if found.interval is None or found.method == "exact":
        return []
    between = f"between {found.interval.low:.3f} and {found.interval.high:.3f}"
    return [Text(f"95 %, for Monte Carlo error and for what may be left above the bound: log p(x) {between}")]


def curve_table(found: GapFindings) -> Table:
    """L_k for k = 1, 4, 16, ..., K with its Monte Carlo error and its rise."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for title in ("k", "bound L_k", "± Monte Carlo", "rise", ""):
        table.add_column(title, justify="right" if title else "left", no_wrap=True)
    before: CurvePoint | None = None
    first, span = found.curve[0].bound, max(found.curve[-1].bound - found.curve[0].bound, 1e-9)
    for point in found.curve:
        rise = "" if before is None else number(point.bound - before.bound, "+.3f")
        share = (point.bound - first) / span
        dots = "·" * round(20 * min(max(share, 0.0), 1.0)) + "●" if math.isfinite(share) else ""
        table.add_row(f"{point.k:,}", number(point.bound), number(point.se, ".4f"), rise, Text(dots))
        before = point
    return table


def _diagnostics(found: GapFindings) -> Text:
    if found.khat_median is None:
        return Text("")
    lines = [
        f"ratio of the last two rises  rho = {number(found.rho, '.2f')}   (1/4 in the 1/K regime, near 1 far from it)",
        f"k-hat  median {number(found.khat_median, '.2f')}, above its threshold for {found.khat_above or 0:.1%} of data"
        f"   ESS  mean {number(found.ess, '.1f')} of {found.samples:,}",
        f"extrapolated remainder {number(found.remainder, '.3f')} (extrapolation, not a bound)"
        f"   jackknife {number(found.jackknife)} (not a bound)",
    ]
    return Text("\n".join(lines), style="dim")


def verdict_line(found: GapFindings) -> Text:
    """The verdict, its reason, and what to type."""
    verdict = found.verdict
    text = Text(verdict.word.upper(), style=COLOURS[verdict.word]).append(
        f": {verdict.reason}.", style="not bold default"
    )
    return text.append(f"\nNext: {shown(verdict.advice)}", style="not bold default") if verdict.advice else text


def gap_json(found: GapFindings) -> dict[str, Any]:
    """The keys of the contract that come from the findings. What JSON cannot say (nan, inf) the screen makes null."""
    return {
        "examples": found.examples,
        "samples": found.samples,
        "elbo": asdict(found.elbo),
        "log_px": asdict(found.log_px),
        "gap": asdict(found.gap),
        "certified": asdict(found.certified),
        "interval": asdict(found.interval or Interval(math.nan, math.nan)),
        "curve": [asdict(point) for point in found.curve],
        "rho": found.rho,
        "remainder": found.remainder,
        "jackknife": found.jackknife,
        "khat": {"median": found.khat_median, "above_threshold": found.khat_above},
        "ess": found.ess,
        "decodes": found.decodes,
        "method": found.method,
        "proposal": found.proposal,
        "temperatures": found.temperatures,
        "why": found.why,
        "verdict": found.verdict.word,
        "reason": found.verdict.reason,
        "advice": found.verdict.advice,
    }


def evaluation_json(found: Evaluation) -> dict[str, Any]:
    """The keys of the contract that come from an evaluation."""
    estimates = {"elbo": found.elbo, "reconstruction": found.reconstruction, "kl": found.kl}
    return {
        "examples": found.examples,
        **{name: {"mean": e.mean, "se": e.se_data} for name, e in estimates.items()},
        "active_units": found.active_units,
        "active_per_layer": list(found.active_per_layer),
        "latents": found.latents,
        "layers": list(found.layers),
        "kl_per_latent": None if found.kl_per_latent is None else list(found.kl_per_latent),
        "bits_per_dim": found.bits_per_dim,
    }
