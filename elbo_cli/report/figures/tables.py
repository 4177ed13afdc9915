"""Data that are no images: rows against their reconstructions, and the model's own rows against the data."""

import numpy as np
from numpy.typing import NDArray

from elbo_cli.portrait.records import Array, Beside, Portrait, Traversal
from elbo_cli.report.figures.style import LIGHT, SERIES, Figure, Panel, drawing

SHOWN, MANY = 3, 40  # data to a figure; features from which lines say more than dots


def rows(beside: Beside, name: str, title: str, caption: str) -> Figure:
    """Data and reconstructions, feature by feature."""
    panels = tuple(_row(beside, n, f"{name}-{n + 1}") for n in range(min(SHOWN, len(beside.index))))
    return Figure(title, caption, panels)


def _row(beside: Beside, n: int, name: str) -> Panel:
    title = f"datum {beside.index[n]}: {beside.quantity} {beside.nats[n]:.2f}"
    with drawing(name, title, "feature") as drawn:
        x, mean = beside.data[n].ravel(), beside.means[n].ravel()
        marks = "" if len(x) > MANY else "o"
        drawn.axes.plot(x, marker=marks, color=LIGHT["blue"], ms=4, lw=1.2, label="x")
        drawn.axes.plot(
            mean, marker=marks.replace("o", "s"), color=LIGHT["orange"], ms=3.5, lw=1.2, ls="--", label="E[x|z]"
        )
        drawn.legend()
    return drawn.panel


def generated(portrait: Portrait) -> Figure:
    """The model's own data against the data: a cloud for two features, means and spreads for more."""
    data, made = flat(portrait.data), flat(portrait.samples.draws)
    panel = _clouds(data, made) if data.shape[1] == 2 else _moments(data, made)
    return Figure("Does the model make such data?", generated_caption(data, made), (panel,))


def flat(values: Array) -> NDArray[np.float64]:
    """One row for each datum."""
    return values.reshape(len(values), -1).astype(np.float64)


def _clouds(data: NDArray[np.float64], made: NDArray[np.float64]) -> Panel:
    with drawing("generated", "data and draws of the model", "feature 0", "feature 1", (4.5, 3.6)) as drawn:
        for values, colour, label in ((data, "blue", "data"), (made, "orange", "model")):
            drawn.axes.scatter(values[:, 0], values[:, 1], s=8, lw=0, alpha=0.5, color=LIGHT[colour], label=label)
        drawn.legend()
    return drawn.panel


def _moments(data: NDArray[np.float64], made: NDArray[np.float64]) -> Panel:
    with drawing("generated", "mean ± standard deviation of each feature", "feature") as drawn:
        axes, place = drawn.axes, np.arange(data.shape[1])
        for values, colour, label, shift in ((data, "blue", "data", -0.12), (made, "orange", "model", 0.12)):
            mean, spread = values.mean(0), values.std(0)
            if len(place) > MANY:
                drawn.axes.fill_between(place, mean - spread, mean + spread, color=LIGHT[colour], alpha=0.3, lw=0)
                drawn.axes.plot(place, mean, color=LIGHT[colour], lw=1.2, label=label)
            else:
                axes.errorbar(place + shift, mean, spread, fmt="o", ms=4, color=LIGHT[colour], capsize=2, label=label)
        drawn.legend()
    return drawn.panel


def generated_caption(data: NDArray[np.float64], made: NDArray[np.float64]) -> str:
    """The feature whose mean, and the one whose spread, is farthest off."""
    se = np.sqrt(data.var(0) / len(data) + made.var(0) / len(made)) + 1e-12
    off = np.abs(data.mean(0) - made.mean(0)) / se
    ratio = (made.std(0) + 1e-12) / (data.std(0) + 1e-12)
    worst, wide = int(off.argmax()), int(np.abs(np.log(ratio)).argmax())
    return (
        f"{len(made)} draws of the model beside {len(data)} data. The mean that is farthest off is that of feature "
        f"{worst}: "
        f"{made.mean(0)[worst]:.2f} in the model, {data.mean(0)[worst]:.2f} in the data, {off[worst]:.1f} standard "
        f"errors "
        f"apart. The spread that is farthest off is that of feature {wide}: {ratio[wide]:.2f} times the data's."
    )


def walks(walk: Traversal) -> Figure:
    """E[x | z] while one latent moves, for the latents of largest KL."""
    panels = tuple(_walk(walk, row) for row in range(min(SHOWN, len(walk.latents))))
    moved = np.ptp(walk.means.reshape(len(walk.latents), len(walk.at), -1), axis=1).max(1)
    caption = (
        f"Datum {walk.index} with one latent moved from {walk.at[0]:+.0f} to {walk.at[-1]:+.0f}, light to dark. "
        f"z{walk.latents[0]} moves some feature by {moved[0]:.2f}"
    )
    caption += f", z{walk.latents[-1]} by {moved[-1]:.2f} at most." if len(moved) > 1 else "."
    return Figure("What each latent does", caption, panels)


def _walk(walk: Traversal, row: int) -> Panel:
    kl = walk.kl[row]
    title = f"z{walk.latents[row]}" + ("" if kl is None else f", KL {kl:.2f} nats")
    with drawing(f"traversal-{row + 1}", title, "feature") as drawn:
        for step in range(len(walk.at)):
            shade = 0.25 + 0.75 * step / max(1, len(walk.at) - 1)
            drawn.axes.plot(walk.means[row, step].ravel(), color=LIGHT[SERIES[0]], alpha=shade, lw=1.4)
    return drawn.panel
