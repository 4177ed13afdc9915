"""Pictures of image data: reconstructions, samples, walks along latents, and the plane of two latents."""

import math
from statistics import fmean

import numpy as np

from elbo_cli.portrait.records import Beside, Plane, Portrait, Samples, Traversal
from elbo_cli.report.figures.tiles import Gallery, Ink, Tile, grid, joined, png

PRIOR = 48  # samples that are shown
BIG = 3  # times the size, in the file with all of them


def side_by_side(beside: Beside, ink: Ink, name: str, title: str, caption: str) -> Gallery:
    """Each datum above its reconstruction."""
    pairs = [joined([ink.picture(x), ink.picture(m)], 0) for x, m in zip(beside.data, beside.means, strict=True)]
    tiles = tuple(
        Tile(png(pair), f"{nats:.1f}", f"datum {index} above its reconstruction")
        for pair, nats, index in zip(pairs, beside.nats, beside.index, strict=True)
    )
    return Gallery(name, title, caption, tiles, png(joined(pairs, 1), BIG))


def sampled(samples: Samples, ink: Ink) -> Gallery:
    """Samples of the prior."""
    pictures = [ink.picture(mean) for mean in samples.means[:PRIOR]]
    tiles = tuple(Tile(png(p), "", f"sample {n + 1} of the prior") for n, p in enumerate(pictures))
    return Gallery("samples", "Samples from the prior", samples_caption(samples), tiles, png(grid(pictures, 12), BIG))


def samples_caption(samples: Samples) -> str:
    """What is shown, and how sure of its pixels the decoder is."""
    text = f"E[x|z] for {min(PRIOR, len(samples.means))} draws z of the prior, which no datum has led to. "
    if samples.means.min() >= 0 and samples.means.max() <= 1:
        grey = float(((samples.means > 0.2) & (samples.means < 0.8)).mean())
        return (
            text + f"{grey:.0%} of their pixels lie between 0.2 and 0.8: where the decoder cannot decide, it is grey."
        )
    return text


def walked(walk: Traversal, ink: Ink) -> Gallery:
    """A strip for each latent."""
    strips = [joined([ink.picture(mean) for mean in row], 1) for row in walk.means]
    notes = [f"z{j}" + ("" if kl is None else f", KL {kl:.2f}") for j, kl in zip(walk.latents, walk.kl, strict=True)]
    tiles = tuple(Tile(png(s), note, f"walk along {note}") for s, note in zip(strips, notes, strict=True))
    sheet = png(joined(strips, 0), BIG)
    return Gallery("traversals", "What each latent does", walk_caption(walk), tiles, sheet, "strips")


def walk_caption(walk: Traversal) -> str:
    """From where to where, and which latent moves the picture most."""
    moved = [float(np.abs(row[-1] - row[0]).mean()) for row in walk.means]
    most = int(np.argmax(moved))
    return (
        f"Datum {walk.index} with one latent moved from {walk.at[0]:+.0f} to {walk.at[-1]:+.0f}, the others at the "
        f"mean of q; "
        f"the largest KL first. From end to end z{walk.latents[most]} changes the pixels most, by {moved[most]:.2f} "
        f"on average, "
        f"and z{walk.latents[-1]} by {moved[-1]:.2f}."
    )


def manifold(plane: Plane, ink: Ink) -> Gallery:
    """What the decoder makes of the plane."""
    image = grid([ink.picture(mean) for row in plane.manifold for mean in row], len(plane.at), gap=False)
    around = float(np.mean(np.all(np.abs(plane.means) <= plane.at[-1], axis=1)))
    caption = (
        f"E[x|z] for z0 from {plane.at[0]:.1f} (left) to {plane.at[-1]:.1f} (right) and z1 from {plane.at[0]:.1f} "
        f"(bottom) to "
        f"{plane.at[-1]:.1f} (top): the whole model in one picture. {around:.0%} of the data have their q's mean in "
        f"this square."
    )
    tile = Tile(png(image), "", "the decoder over the plane of its two latents")
    return Gallery("manifold", "The plane, decoded", caption, (tile,), png(image, BIG), "one")


def beside_caption(portrait: Portrait, which: str) -> str:
    """What the data were chosen for, against the average."""
    found = portrait.evaluation
    mean = found.reconstruction.mean
    if which == "typical":
        of = fmean(portrait.typical.nats)
        return (
            f"The first data of the split, each with E[x|z] for a draw z of q, with its reconstruction in nats: "
            f"{of:.1f} on "
            f"average here, {mean:.1f} over all {found.examples:,}."
        )
    if which == "worst_reconstructed":
        worst = portrait.worst_reconstructed
        spread = found.reconstruction.se_data * math.sqrt(found.examples)
        far = (mean - worst.nats[0]) / spread if spread > 0 else math.nan
        return (
            f"The lowest reconstructions of the split, {worst.nats[0]:.1f} to {worst.nats[-1]:.1f} nats; the worst "
            f"lies "
            f"{far:.1f} standard deviations below the mean of {mean:.1f}. What the model has not learnt is seen here "
            f"first."
        )
    hardest = portrait.worst_gap
    return (
        f"The largest gaps of {portrait.gap.examples} data, {hardest.nats[0]:.2f} to {hardest.nats[-1]:.2f} nats, "
        f"against a mean of "
        f"{portrait.gap.gap.mean:.2f}: for these q is farthest from the true posterior, whatever their pictures look "
        f"like."
    )
