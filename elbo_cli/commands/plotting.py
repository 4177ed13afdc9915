"""`elbo plot`: the curves of one run or several, in the terminal or in a file."""

import os
from collections.abc import Sequence
from pathlib import Path

from elbo_cli.commands.reporting import need_plots
from elbo_cli.errors import UserError, choose
from elbo_cli.files import refuse_file, write_whole
from elbo_cli.records import EpochRecord
from elbo_cli.report.curves import Points, late, measured
from elbo_cli.report.terminal import plot
from elbo_cli.runs import old_folder
from elbo_cli.screen import Screen

PLACES = {"terminal": ""}  # --out is the other
FORMATS = (".png", ".svg", ".pdf")
WIDEST = 110  # characters: a pipe is no screen
KINDS: dict[str, tuple[str, dict[str, str]]] = {  # title, and name -> column
    "elbo": ("ELBO, nats per datum", {"train": "train_elbo", "validation": "valid_elbo"}),
    "reconstruction": (
        "reconstruction, nats per datum",
        {"train": "train_reconstruction", "validation": "valid_reconstruction"},
    ),
    "kl": ("KL, nats per datum", {"train": "train_kl", "validation": "valid_kl"}),
    "gap": ("gap of the probe, nats per datum", {"gap": "valid_gap"}),
    "log_px": ("log p(x) of the probe, at least, nats per datum", {"log p(x)": "valid_log_px"}),
}


def run_plot(screen: Screen, runs: Sequence[Path], kind: str, where: str, out: Path | None) -> None:
    """`elbo plot`."""
    title, columns = choose(KINDS, kind, "kind of curve (--what)")
    choose(PLACES, where, "place to plot in (--in)")
    if out is not None:
        _refuse(out)
    curves = {}
    for run, called in zip(runs, _tails(runs), strict=True):
        for name, points in _curves(old_folder(run).records(), columns).items():
            curves[name if len(runs) == 1 else f"{called} {name}"] = points
    if not curves:
        raise UserError(f"No epoch measured {', '.join(columns.values())}: there is nothing to plot yet.")
    if out is None:
        screen.show(
            plot(title, {name: _late(points) for name, points in curves.items()}, min(screen.console.width, WIDEST))
        )
        return
    write_whole(out, _drawn(title, curves, out.suffix))
    screen.say(f"Wrote {out}")


def _refuse(out: Path) -> None:
    if out.suffix not in FORMATS:
        raise UserError(f"--out {out} ends in '{out.suffix}': a figure is written to {', '.join(FORMATS)}.")
    refuse_file(out, "--out")
    need_plots("A figure in a file")


def _tails(runs: Sequence[Path]) -> list[str]:
    """What the runs are called: the shortest ends of their paths that tell them apart."""
    whole = [Path(os.path.normpath(run.absolute())).parts for run in runs]
    ends = ([parts[-n:] for parts in whole] for n in range(1, max(map(len, whole)) + 1))
    apart = next(each for each in ends if len(set(each)) == len(set(whole)))
    return [str(Path(*parts)) for parts in apart]


def _curves(records: Sequence[EpochRecord], columns: dict[str, str]) -> dict[str, Points]:
    """The columns that were measured."""
    found = {name: measured(records, column) for name, column in columns.items()}
    return {name: points for name, points in found.items() if points}


def _late(points: Points) -> Points:
    """Without the epochs that are not what a quick look is for, where enough are left."""
    kept = late(points)
    return kept if len(kept) > 2 else points


def _drawn(title: str, curves: dict[str, Points], form: str) -> bytes:
    from elbo_cli.report.figures.training import picture

    return picture(title, curves, form)
