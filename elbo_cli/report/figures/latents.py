"""What the latents do: the KL of each, and for two of them the plane with true posteriors beside q."""

import numpy as np
from numpy.typing import NDArray

from elbo_cli.portrait.records import Array, Plane, Posterior
from elbo_cli.records import Evaluation
from elbo_cli.report.figures.style import LIGHT, Figure, Panel, drawing

Numbers = NDArray[np.float64]
LEVELS = (0.95, 0.5)  # of the mass that a contour holds


def kl_per_latent(found: Evaluation) -> Figure | None:
    """The KL of every latent, the largest first, active units marked."""
    if not found.kl_per_latent:
        return None
    order = sorted(range(len(found.kl_per_latent)), key=lambda j: -(found.kl_per_latent or ())[j])
    active = [bool(found.active and found.active[j]) for j in order]
    with drawing("kl-per-latent", "KL of each latent, nats", "latents, largest first") as drawn:
        heights = [found.kl_per_latent[j] for j in order]
        for chosen, colour, label in ((True, "blue", "active"), (False, "muted", "inactive")):
            bars = [(place, h) for place, (h, a) in enumerate(zip(heights, active, strict=True)) if a is chosen]
            if bars:
                places, tops = zip(*bars, strict=True)
                drawn.axes.bar(places, tops, color=LIGHT[colour], width=0.8, label=label)
        few = len(order) <= 12
        drawn.axes.set_xticks(range(len(order)) if few else [], [f"z{j}" for j in order] if few else [])
        drawn.axes.grid(axis="x", visible=False)
        drawn.legend()
    return Figure("Which latents are used", latents_caption(found, order), (drawn.panel,))


def latents_caption(found: Evaluation, order: list[int]) -> str:
    """How many are active, how much they carry, and how even it is."""
    kl = found.kl_per_latent or ()
    total = sum(kl)
    used = [kl[j] for j, a in zip(range(len(kl)), found.active or [False] * len(kl), strict=True) if a]
    text = (
        f"{found.active_units} of {found.latents} latents are active: their mean under q moves with x (variance "
        "above 0.01). "
    )
    if used and total > 0:
        text += (
            f"They carry {sum(used):.2f} of the {total:.2f} nats of KL, from z{order[0]} with {max(kl):.2f} down "
            f"to {min(used):.2f}."
        )
    if found.active_units == 0:
        text += "The posterior has collapsed onto the prior: the decoder works without z."
    return text


def above(plane: Plane) -> Figure:
    """Where the data lie in the plane, and the true posterior of two data with the q that stands for it."""
    panels = [_map(plane), *(_posterior(p, number) for number, p in enumerate(plane.posteriors))]
    return Figure("Posteriors in the plane", plane_caption(plane), tuple(panels))


def _map(plane: Plane) -> Panel:
    with drawing("plane", "mean of q for each datum; colour: gap, nats", "z0", "z1", (4.5, 3.8)) as drawn:
        order = np.argsort(plane.gaps)
        x, y = plane.means[order].T
        points = drawn.axes.scatter(x, y, c=plane.gaps[order], cmap="cividis", s=13, lw=0)
        drawn.canvas.colorbar(points, ax=drawn.axes, pad=0.01).outline.set_visible(False)
        drawn.axes.set_aspect("equal")
    return drawn.panel


def _posterior(p: Posterior, number: int) -> Panel:
    title = f"datum {p.index}, gap {p.gap:.2f}: p(z|x) and q"
    with drawing(f"posterior-{number}", title, "z0", "z1", (4.5, 3.8)) as drawn:
        levels = [*_levels(p.density), float(p.density.max()) * 1.001]
        drawn.axes.contourf(p.x, p.y, p.density, levels, colors=[LIGHT["blue"]] * 2, alpha=0.35)
        drawn.axes.contour(p.x, p.y, p.density, levels[:-1], colors=LIGHT["blue"], linewidths=1.2)
        drawn.axes.contour(p.x, p.y, p.q, _levels(p.q), colors=LIGHT["orange"], linewidths=1.6, linestyles="--")
        drawn.axes.plot([], [], color=LIGHT["blue"], label="p(z|x): 50 %, 95 %")
        drawn.axes.plot([], [], "--", color=LIGHT["orange"], label="q(z|x): 50 %, 95 %")
        drawn.legend()
        drawn.axes.set_aspect("equal")
    return drawn.panel


def _levels(density: Array) -> list[float]:
    """The heights above which a density has these shares of its mass, ascending."""
    ranked = np.sort(density.ravel().astype(np.float64))[::-1]
    share = ranked.cumsum() / ranked.sum()
    return [float(ranked[np.searchsorted(share, level)]) for level in LEVELS]


def plane_caption(plane: Plane) -> str:
    """Which data are worst, and how their q differs from their posterior."""
    easy, worst = plane.posteriors[0], plane.posteriors[-1]
    return (
        f"Each dot is a datum; bright ones, up to {float(plane.gaps.max()):.2f} nats, are those whose q fits worst. "
        f"For datum "
        f"{easy.index} the dashed q lies close to the true posterior, {easy.gap:.2f} nats away; for datum "
        f"{worst.index} it is "
        f"{worst.gap:.2f} nats away: {_mismatch(worst)}."
    )


def _mismatch(p: Posterior) -> str:
    """What is wrong with a q, by means and spreads over the grid."""
    (mean, cov), (mean_q, cov_q) = (_moments(p, d) for d in (p.density, p.q))
    off = float(np.sqrt((mean - mean_q) @ np.linalg.pinv(cov) @ (mean - mean_q)))
    size = float(np.sqrt(np.linalg.det(cov_q) / max(np.linalg.det(cov), 1e-30)))
    tilt = float(cov[0, 1] / np.sqrt(cov[0, 0] * cov[1, 1]))
    words = [f"its centre is {off:.1f} standard deviations off"] if off > 0.3 else []
    words += [f"its area is {size:.1f} times that of the posterior"] if not 0.8 < size < 1.25 else []
    words += [f"the posterior is tilted (correlation {tilt:+.2f}) and q cannot be"] if abs(tilt) > 0.2 else []
    return ", ".join(words) or "centre and area agree, and what differs is the shape"


def _moments(p: Posterior, density: Array) -> tuple[Numbers, Numbers]:
    """Mean [2] and covariance [2, 2]."""
    x, y = np.meshgrid(p.x.astype(np.float64), p.y.astype(np.float64))
    z, weight = np.stack([x.ravel(), y.ravel()]), density.ravel().astype(np.float64)
    mean = np.average(z, axis=1, weights=weight)
    return mean, np.cov(z, aweights=weight)
