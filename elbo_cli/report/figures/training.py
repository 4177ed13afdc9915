"""Training: ELBO, reconstruction and KL against epochs, and the ledger of what the ELBO gained."""

from collections.abc import Mapping, Sequence
from itertools import accumulate

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from elbo_cli.records import EpochRecord
from elbo_cli.report.curves import Points, late, measured
from elbo_cli.report.figures.style import LIGHT, SERIES, Figure, Panel, alone, drawing, saved

NATS = "nats per datum"
SHOWN = {"elbo": "ELBO", "reconstruction": "reconstruction", "kl": "KL"}


def curves(records: Sequence[EpochRecord]) -> Figure | None:
    """ELBO, reconstruction and KL of training and validation."""
    if len(records) < 2:
        return None
    panels = tuple(_curve(records, name, title) for name, title in SHOWN.items())
    return Figure("How training went", curves_caption(records), panels)


def _curve(records: Sequence[EpochRecord], name: str, title: str) -> Panel:
    with drawing(f"training-{name}", f"{title}, {NATS}", "epoch") as drawn:
        everything: list[float] = []
        for split, colour, label in (("train", "orange", "train"), ("valid", "blue", "validation")):
            points = measured(records, f"{split}_{name}")
            if points:
                style = "--" if split == "train" else "-"
                drawn.axes.plot(*zip(*points, strict=True), style, color=LIGHT[colour], label=label)
                everything += [value for _, value in late(points)]
        settle(drawn.axes, everything)
        drawn.legend()
    return drawn.panel


def settle(axes: Axes, values: Sequence[float]) -> None:
    """Limits that show what happens after the first steep epochs, and whole epochs on the axis."""
    if values:
        low, high = min(values), max(values)
        margin = 0.08 * (high - low) or 1.0
        axes.set_ylim(low - margin, high + margin)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))


def curves_caption(records: Sequence[EpochRecord]) -> str:
    """Where the curves begin and end, and what lies between train and validation."""
    first, last, best = records[0], records[-1], max(records, key=lambda r: r.score)
    elbo = [r.train_elbo if r.valid_elbo is None else r.valid_elbo for r in (first, best)]
    which = "training" if best.valid_elbo is None else "validation"
    text = (
        f"The {which} ELBO goes from {elbo[0]:.1f} to {elbo[1]:.1f} nats; epoch {best.epoch} of {last.epoch} is "
        "the best. "
    )
    text += (
        f"It is reconstruction ({first.train_reconstruction:.1f} to {last.train_reconstruction:.1f} in training) less "
        f"KL "
        f"({first.train_kl:.1f} to {last.train_kl:.1f}). "
    )
    if last.valid_elbo is None:
        return text
    apart = last.train_elbo - last.valid_elbo
    if abs(apart) < 0.5:
        return text + f"Train and validation end within {abs(apart):.2f} nat of each other: no overfitting to see."
    if apart > 0:
        return text + f"Train ends {apart:.1f} nats above validation: overfitting, if both are equally hard."
    return (
        text + f"Train ends {-apart:.1f} nats below validation: it is the mean of an epoch in which the model improved."
    )


def ledger(records: Sequence[EpochRecord]) -> Figure | None:
    """What the probe's ELBO gained since it was first measured: by a better model, and by a tighter bound."""
    moved = (dict(measured(records, column)) for column in ("delta_log_px", "delta_gap"))
    whole = set.intersection(*map(set, moved))
    rows = [r for r in records if r.epoch in whole]
    if not rows:
        return None
    epochs = [since(records, rows[0]), *(r.epoch for r in rows)]
    model = [0.0, *accumulate(r.delta_log_px or 0.0 for r in rows)]
    bound = [0.0, *accumulate(-(r.delta_gap or 0.0) for r in rows)]
    both = [m + b for m, b in zip(model, bound, strict=True)]
    with drawing("ledger", f"gained since epoch {epochs[0]}, {NATS}", "epoch") as drawn:
        axes = drawn.axes
        axes.fill_between(epochs, 0, model, color=LIGHT["blue"], alpha=0.45, lw=0, label="better model: log p(x)")
        axes.fill_between(epochs, model, both, color=LIGHT["orange"], alpha=0.6, lw=0, label="tighter bound: -gap")
        axes.plot(epochs, both, color=LIGHT["ink"], lw=1.4, label="ELBO")
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        drawn.legend()
    return Figure("Who did the work", ledger_caption(rows, epochs[0], model[-1], bound[-1]), (drawn.panel,))


def since(records: Sequence[EpochRecord], row: EpochRecord) -> int:
    """The epoch that a row's changes are counted from: the one that was probed before it, or the beginning."""
    return max((r.epoch for r in records if r.valid_gap is not None and r.epoch < row.epoch), default=0)


def ledger_caption(rows: Sequence[EpochRecord], start: int, model: float, bound: float) -> str:
    """The two sums, and from where to where the gap went."""
    last = rows[-1].valid_gap or 0.0
    first = last + bound
    text = (
        f"Of the {model + bound:+.2f} nats that the probe's ELBO moved after epoch {start}, {model:+.2f} are a better "
        f"model (log p(x) itself moved) and {bound:+.2f} are the bound: the gap "
        f"{'fell' if last < first else 'rose'} from {first:.2f} to {last:.2f} nats."
    )
    if bound >= 0:
        return text
    return text + " The orange band is what the encoder did not keep up with: the ELBO gained less than log p(x) did."


def picture(title: str, lines: Mapping[str, Points], form: str) -> bytes:
    """Curves over epochs as the file of one figure, in a format of matplotlib's."""
    with drawing("curves", title, "epoch") as drawn:
        for number, (name, points) in enumerate(lines.items()):
            epochs, values = zip(*points, strict=True)
            label = name.replace("$", r"\$")  # no formula
            drawn.axes.plot(epochs, values, color=LIGHT[SERIES[number % len(SERIES)]], label=label)
        settle(drawn.axes, [value for points in lines.values() for _, value in late(points)])
        drawn.legend()
    if form == ".svg":
        return alone(drawn.panel).encode()
    return drawn.panel.png if form == ".png" else saved(drawn.canvas, form)
