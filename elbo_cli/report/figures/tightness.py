"""How tight the bound is: L_k against k, log-weights of three data, k-hat and ESS across the data."""

import math
from collections.abc import Sequence
from statistics import median
from typing import Any

import numpy as np

from elbo_cli.portrait.records import Array, LogWeights, Portrait
from elbo_cli.records import GapFindings, GapRow
from elbo_cli.report.figures.style import LIGHT, Drawing, Figure, Panel, drawing

Q, OURS = "posterior", "auto"  # proposals
OF = {Q: ("orange", "draws of q"), OURS: ("blue", "fitted draws")}  # colour and name of each
NATS = "nats per datum"


def bound_against_k(portrait: Portrait) -> Figure:
    """L_k with error bars for both proposals, under the exact level or the best known one."""
    with drawing("bound", f"bound L_k, {NATS}", "k, draws for each datum") as drawn:
        axes = drawn.axes
        for name, found in portrait.curves.items():
            colour, label = OF[name]
            ks, bounds = [p.k for p in found.curve], [p.bound for p in found.curve]
            errors = [0.0 if math.isnan(p.se) else 2 * p.se for p in found.curve]
            axes.errorbar(ks, bounds, errors, color=LIGHT[colour], marker="o", ms=4, capsize=2.5, lw=1.6, label=label)
        level = portrait.gap.log_px.mean
        known = "log p(x), exact" if portrait.exact else "best known"
        axes.axhline(level, color=LIGHT["green"], lw=1.4, ls="--", label=known)
        axes.axhline(portrait.gap.elbo.mean, color=LIGHT["muted"], lw=1.0, ls=":", label="ELBO")
        axes.set_xscale("log", base=4)
        axes.xaxis.set_major_formatter("{x:.0f}")
        drawn.legend()
    return Figure("The bound against the number of draws", bound_caption(portrait), (drawn.panel,))


def bound_caption(portrait: Portrait) -> str:
    """How far below the level each proposal's last bound lies."""
    q, ours, level = portrait.curves[Q], portrait.curves[OURS], portrait.gap.log_px.mean
    known = "the exact log p(x)" if portrait.exact else "the best known value"
    missing = level - q.log_px.mean
    text = (
        f"From the ELBO ({portrait.gap.elbo.mean:.2f}, dotted) the bound climbs towards {known}, {level:.2f} nats "
        f"(dashed). "
        f"With {q.samples} draws of q, the customary estimate, it is still {missing:.3f} below"
    )
    text += f"; {_catching_up(ours, q.log_px.mean)} draws fitted to each posterior do as well"
    end = level - ours.log_px.mean
    text += f", and {ours.samples} of them come within {abs(end):.3f}." if portrait.exact else "."
    return text + " Bars are two Monte Carlo standard errors; where they are not seen, they are smaller than the dots."


def _catching_up(found: GapFindings, bound: float) -> str:
    """The first k on a curve that reaches a bound."""
    return next((f"{p.k}" for p in found.curve if p.bound >= bound), f"more than {found.samples}")


def weights(portrait: Portrait) -> Figure:
    """Histograms of log w - log p(x): a proposal equal to the posterior has all of them at 0."""
    q, ours = (np.concatenate([w.log_w[name] - w.log_px for w in portrait.weights]) for name in (Q, OURS))
    low, high = float(np.quantile(q[np.isfinite(q)], 0.002)), float(max(q.max(), ours.max()))
    panels = tuple(_histogram(w, np.linspace(low, high + 1e-6, 41)) for w in portrait.weights)
    caption = weights_caption(portrait.weights, low)
    return Figure("Log-weights of an easy, a typical and the worst datum", caption, panels)


def _histogram(w: LogWeights, bins: "np.typing.NDArray[np.float64]") -> Panel:
    with drawing(f"weights-{w.role}", f"{w.role}: datum {w.index}, gap {w.gap:.2f}", "log w - log p(x), nats") as drawn:
        for name, log_w in w.log_w.items():
            _bars(drawn, log_w - w.log_px, bins, name)
        drawn.axes.axvline(0, color=LIGHT["ink"], lw=1, ls="--")
        drawn.axes.set_yscale("symlog", linthresh=10)
        drawn.axes.set_ylabel("draws")
        drawn.legend()
    return drawn.panel


def _bars(drawn: Drawing, values: "np.typing.NDArray[Any]", bins: "np.typing.NDArray[np.float64]", name: str) -> None:
    """A proposal's histogram, as one shape."""
    colour, label = OF[name]
    drawn.axes.hist(values, bins.tolist(), color=LIGHT[colour], alpha=0.55, histtype="stepfilled", label=label)


def weights_caption(three: Sequence[LogWeights], low: float) -> str:
    """Where the weights of the worst datum lie, and how much the largest one holds."""
    easy, worst = three[0], three[-1]
    K, q, ours = len(worst.log_w[Q]), _largest(worst.log_w[Q]), _largest(worst.log_w[OURS])
    outside = float(np.mean(np.concatenate([w.log_w[OURS] - w.log_px for w in three]) < low))
    return (
        "Draws from the true posterior would all stand at the dashed line. On average those of q stand the gap below "
        f"it: {easy.gap:.2f} nats for the easiest datum, {worst.gap:.2f} for the worst. What counts is the right end: "
        f"of {K} draws of q for the worst datum the largest weight alone holds {q:.0%} of their sum; of {K} fitted "
        f"draws, {ours:.0%}. {outside:.0%} of these lie left of what is shown, as draws of the prior do: a share of "
        "them is there in case a mode was missed."
    )


def _largest(log_w: Array) -> float:
    """The largest weight's share of their sum."""
    weight = np.exp(log_w.astype(np.float64) - float(log_w.max()))
    return float(weight.max() / weight.sum())


def reliability(portrait: Portrait) -> Figure:
    """k-hat and ESS of every datum under both proposals."""
    panels = (_spread(portrait, "khat"), _spread(portrait, "ess"))
    return Figure("Can the weights be trusted?", reliability_caption(portrait), panels)


def threshold(K: int) -> float:
    """The k-hat above which K draws are not shown to be reliable (Vehtari et al. 2024, section 3.2)."""
    return min(1 - 1 / math.log10(K), 0.7) if K > 10 else 0.0


def _spread(portrait: Portrait, what: str) -> Panel:
    title = "Pareto k-hat of each datum" if what == "khat" else "effective draws, share of K"
    values = {name: _column(found.rows, what) for name, found in portrait.curves.items()}
    everything = np.concatenate(list(values.values()))
    ends = (
        (float(everything.min()), float(everything.max()) + 1e-9) if what == "khat" and len(everything) else (0.0, 1.0)
    )
    with drawing(what, title, y="data") as drawn:
        for name, column in values.items():
            _bars(drawn, column, np.linspace(*ends, 36), name)
        _mark(drawn, what, portrait.curves[OURS].samples)
    return drawn.panel


def _mark(drawn: Drawing, what: str, K: int) -> None:
    if what == "khat":
        drawn.axes.axvline(threshold(K), color=LIGHT["ink"], lw=1, ls="--", label="threshold")
    drawn.legend()


def _column(rows: Sequence[GapRow], what: str) -> "np.typing.NDArray[np.float64]":
    values = np.array([row.khat if what == "khat" else row.ess / row.samples for row in rows], dtype=np.float64)
    return values[np.isfinite(values)]


def reliability_caption(portrait: Portrait) -> str:
    """Shares above the threshold, and median ESS."""
    q, ours = portrait.curves[Q], portrait.curves[OURS]
    above = [found.khat_above for found in (q, ours)]
    ess = [median(row.ess for row in found.rows) for found in (q, ours)]
    named = zip(above, ("draws of q", "fitted draws"), strict=True)
    share = "; ".join(f"with {name} that is {part:.0%} of the data" for part, name in named if part is not None)
    return (
        f"Right of the dashed line, at {threshold(q.samples):.2f}, a datum's weights are not shown to be reliable: "
        f"{share}. "
        f"Of {q.samples} draws of q half the data have fewer than {ess[0]:.0f} effective ones; of the fitted draws, "
        f"fewer than {ess[1]:.0f}."
    )
