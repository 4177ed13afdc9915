"""Figures of the docs that a benchmark draws, in the style of `elbo report` and the same bytes at every drawing."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from elbo_cli.records import EpochRecord
from elbo_cli.report.figures.style import LIGHT, SERIES, Drawing, alone, drawing

FOLDER = Path("docs/figures")


def save(drawn: Drawing) -> None:
    """Write a drawing as docs/figures/NAME.svg."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    (FOLDER / f"{drawn.name}.svg").write_text(alone(drawn.panel), encoding="utf-8", newline="\n")


def lines(name: str, title: str, across: str, x: Sequence[float], series: Mapping[str, Sequence[float]]) -> None:
    """Lines on logarithmic axes."""
    with drawing(name, title, across) as drawn:
        for colour, (label, values) in zip(SERIES, series.items(), strict=False):
            drawn.axes.plot(x, values, "o-", ms=3, color=LIGHT[colour], label=label)
        drawn.axes.set_xscale("log", base=4)
        drawn.axes.set_yscale("log")
        drawn.axes.set_xticks(x, [str(each) for each in x])
        drawn.legend()
    save(drawn)


def two_jobs(
    name: str, title: str, start: tuple[float, float], first: Sequence[EpochRecord], then: Sequence[EpochRecord]
) -> None:
    """log p(x) and the ELBO on the probe, the gap between them, and where the encoder goes on alone."""
    rows = [(0, *start), *_points(first, 0), *_points(then, first[-1].epoch)]
    epochs, log_px, elbo = zip(*rows, strict=True)
    with drawing(name, title, "epoch") as drawn:
        drawn.axes.fill_between(epochs, elbo, log_px, color=LIGHT["orange"], alpha=0.3, lw=0, label="gap")
        drawn.axes.plot(epochs, log_px, "o-", ms=3, color=LIGHT["blue"], label="log p(x)")
        drawn.axes.plot(epochs, elbo, "o-", ms=3, color=LIGHT["ink"], label="ELBO")
        drawn.axes.axvline(first[-1].epoch, color=LIGHT["muted"], lw=1, ls=":")
        drawn.axes.set_ylim(elbo[2] - 2, max(log_px) + 2)
        drawn.legend()
    save(drawn)


def _points(records: Sequence[EpochRecord], shift: int) -> list[tuple[float, float, float]]:
    return [
        (r.epoch + shift, r.valid_log_px, r.valid_log_px - r.valid_gap)
        for r in records
        if r.valid_log_px is not None and r.valid_gap is not None
    ]
