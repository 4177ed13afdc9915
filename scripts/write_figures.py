"""Draw the figures of docs/tutorial.md from the runs of its own commands: python scripts/write_figures.py."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import matplotlib as mpl
import pandas as pd

mpl.use("svg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes

FIGURES = Path(__file__).resolve().parent.parent / "docs" / "figures"
BLUE, RED, GREY = "#2563a8", "#b5352b", "#666666"
TICKS = (1, 4, 16, 64, 256)
STYLE = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "figure.figsize": (6.4, 3.4),
    "svg.hashsalt": "elbo",  # the same ids in every drawing
}


def elbo(*words: str, cwd: Path) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "elbo_cli", *words, "--json"], cwd=cwd, capture_output=True, text=True, check=True
    )
    return dict(json.loads(done.stdout))


def ledger(axes: Axes, rows: pd.DataFrame) -> None:
    """The probe's ELBO and log p(x) against epochs."""
    rows = rows.dropna(subset=["valid_gap"])
    epoch, log_px = rows["epoch"], rows["valid_log_px"]
    bound = log_px - rows["valid_gap"]
    axes.fill_between(epoch, bound, log_px, color=BLUE, alpha=0.18, linewidth=0)
    axes.plot(epoch, log_px, color=BLUE)
    axes.plot(epoch, bound, color=RED)
    last = (rows["epoch"].iloc[-1], rows["valid_log_px"].iloc[-1], bound.iloc[-1])
    axes.annotate(" log p(x)", (last[0], last[1]), color=BLUE, va="center")
    axes.annotate(" ELBO", (last[0], last[2]), color=RED, va="center")
    axes.annotate(" gap", (last[0], (last[1] + last[2]) / 2), color=GREY, va="center")
    axes.set(xlabel="epoch", ylabel="nats per datum", title="64 validation digits, the same noise every time")


def curve(axes: Axes, exact: float, found: dict[str, dict[str, Any]]) -> None:
    """L_k against k for each proposal, with the exact level."""
    axes.axhline(exact, color=GREY, linewidth=1)
    axes.annotate(f"log p(x) = {exact:.3f}, exact", (1, exact), xytext=(0, 4), textcoords="offset points", color=GREY)
    for (name, answer), colour in zip(found.items(), (RED, BLUE), strict=True):
        k, bound, se = (
            [point[key] if point[key] is not None else 0.0 for point in answer["curve"]] for key in ("k", "bound", "se")
        )
        axes.errorbar(k, bound, yerr=[2 * each for each in se], color=colour, marker="o", markersize=4, label=name)
    axes.set(
        xscale="log", xlabel="k draws", ylabel="L_k, nats per datum", title="180 test digits, ± 2 Monte Carlo errors"
    )
    axes.set_xticks(TICKS, [str(each) for each in TICKS])
    axes.minorticks_off()
    axes.legend(frameon=False, loc="lower right")


def main() -> None:
    plt.rcParams.update(STYLE)
    with TemporaryDirectory() as folder:
        here = Path(folder)
        words = ("--config", str(FIGURES.parents[1] / "configs" / "digits-2d.yaml"), "data.binarize=threshold")
        elbo("train", *words, "--out", "two", cwd=here)
        exact = elbo("gap", "two", cwd=here)["log_px"]["mean"]
        found = {
            "draws of q": elbo("gap", "two", "--proposal", "posterior", "--samples", "50", cwd=here),
            "draws of auto": elbo("gap", "two", "--samples", "500", cwd=here),
        }
        rows = pd.read_csv(here / "two" / "metrics.csv")
        elbo("report", "two", "--limit", "50", cwd=here)
        shutil.copy(here / "two" / "report" / "posterior-1.png", FIGURES / "posterior.png")
    for name, draw in {"ledger": lambda a: ledger(a, rows), "curve": lambda a: curve(a, exact, found)}.items():
        figure, axes = plt.subplots(layout="constrained")
        draw(axes)
        figure.savefig(FIGURES / f"{name}.svg", metadata={"Date": None}, facecolor="white")
        print(f"{name}.svg")


if __name__ == "__main__":
    main()
