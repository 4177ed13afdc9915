"""`elbo sample`: pictures of a model, as PNG for eyes and as NPZ for programs."""

from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np

from elbo_cli.commands.chosen import Chosen
from elbo_cli.commands.reporting import need_plots
from elbo_cli.errors import UserError
from elbo_cli.evaluation import evaluate
from elbo_cli.files import make_folder, refuse_place, write_whole
from elbo_cli.portrait.pictures import beside, samples, traversal
from elbo_cli.portrait.records import Array, Beside, Samples, Traversal
from elbo_cli.report.figures.tiles import Ink, grid, is_images, joined, png
from elbo_cli.screen import Screen
from elbo_cli.subject import Subject

ACROSS, BIG = 12, 3  # pictures in a row; how many times as wide and high a pixel is in the file


@dataclass(frozen=True, slots=True)
class Pictures:
    """Samples of the prior, reconstructions, and walks along latents."""

    prior: Samples
    reconstructions: Beside
    traversals: Traversal


def run_sampling(screen: Screen, chosen: Chosen, number: int, walks: int, out: Path) -> None:
    """`elbo sample`."""
    refuse_place(out, "--out")
    if out.is_file():
        raise UserError(f"--out {out} is a file: give a folder, which is made if it is not there.")
    subject = chosen.open()
    images = is_images(subject.split.shape)
    if images:
        need_plots("A picture")
    with subject.blamed():
        pictures = taken(subject, number, walks)
    make_folder(out)
    written = _arrays(pictures, out) + (_pictures(pictures, out) if images else [])
    for path in written:
        screen.say(f"Wrote {path}")
    if not images:
        screen.say(f"Data of shape {subject.split.shape} are no pictures: there are arrays alone.")
    screen.emit({"checkpoint": subject.name, "seed": subject.seed, "files": [str(path) for path in written]})


def taken(subject: Subject, number: int, walks: int) -> Pictures:
    """Everything that is drawn from a model, from the seed alone."""
    model, split, seed = subject.model, subject.split, subject.seed
    found = evaluate(model, split.first(500), data=subject.data, samples=1, seed=seed, device=subject.device)
    rows = found.rows[:number]
    index, nats = tuple(row.index for row in rows), tuple(row.reconstruction for row in rows)
    return Pictures(
        prior=samples(model, number, seed, subject.device),
        reconstructions=beside(model, split, index, nats, "reconstruction", seed),
        traversals=traversal(model, split, 0, found.kl_per_latent, walks, seed),
    )


def _arrays(pictures: Pictures, out: Path) -> list[Path]:
    prior, beside_, walk = pictures.prior, pictures.reconstructions, pictures.traversals
    files: dict[str, dict[str, Array]] = {
        "prior": {"means": prior.means, "draws": prior.draws},
        "reconstructions": {"data": beside_.data, "means": beside_.means},
        "traversals": {"means": walk.means, "at": np.array(walk.at, "f4"), "latents": np.array(walk.latents, "f4")},
    }
    for name, arrays in files.items():
        buffer = BytesIO()
        np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]  # numpy's own option sits among the names
        write_whole(out / f"{name}.npz", buffer.getvalue())
    return [out / f"{name}.npz" for name in files]


def _pictures(pictures: Pictures, out: Path) -> list[Path]:
    prior, beside_, walk = pictures.prior, pictures.reconstructions, pictures.traversals
    ink = Ink.of(beside_.data)
    pairs = [joined([ink.picture(x), ink.picture(m)], 0) for x, m in zip(beside_.data, beside_.means, strict=True)]
    strips = [joined([ink.picture(mean) for mean in row], 1) for row in walk.means]
    sheets = {
        "prior": grid([ink.picture(mean) for mean in prior.means], min(ACROSS, len(prior.means))),
        "reconstructions": grid(pairs, min(ACROSS, len(pairs))),
        "traversals": joined(strips, 0),
    }
    for name, sheet in sheets.items():
        write_whole(out / f"{name}.png", png(sheet, BIG))
    return [out / f"{name}.png" for name in sheets]
