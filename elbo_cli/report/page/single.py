"""The page of one run."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from elbo_cli.portrait.records import Portrait
from elbo_cli.records import EpochRecord, Estimate
from elbo_cli.report.figures import galleries, latents, tables, tightness, training
from elbo_cli.report.figures.style import Figure
from elbo_cli.report.figures.tiles import Gallery, Ink, is_images
from elbo_cli.report.page import html
from elbo_cli.report.page.html import Section

Shown = list[Figure | Gallery | None]


@dataclass(frozen=True, slots=True)
class Heading:
    """What a page is about, beside its portrait."""

    name: str
    records: Sequence[EpochRecord]  # of its training; none for a model that was trained elsewhere
    config: str
    manifest: dict[str, Any]
    commands: Sequence[str]  # to reproduce it all
    version: str


@dataclass(frozen=True, slots=True)
class Report:
    """A page, and the figures behind it."""

    page: str
    figures: tuple[Figure | Gallery, ...]


def report(heading: Heading, portrait: Portrait) -> Report:
    """One run on one page."""
    shown: dict[str, Shown] = {
        "Training": [training.curves(heading.records), training.ledger(heading.records)],
        "How tight is the bound?": [
            tightness.bound_against_k(portrait),
            tightness.weights(portrait),
            tightness.reliability(portrait),
        ],
        "What the latents do": _latents(portrait),
        "Data and model": _pictures(portrait),
    }
    sections = [Section(title, html.cards(*figures)) for title, figures in shown.items() if any(figures)]
    sections.append(Section("To reproduce this", reproduce(heading)))
    page = html.page(heading.name, _head(portrait), sections, foot(heading.version))
    return Report(page, tuple(figure for figures in shown.values() for figure in figures if figure is not None))


def _latents(portrait: Portrait) -> Shown:
    found: Shown = [latents.kl_per_latent(portrait.evaluation)]
    images = is_images(portrait.shape)
    if portrait.plane is not None:
        found.append(galleries.manifold(portrait.plane, Ink.of(portrait.data)) if images else None)
        found.append(latents.above(portrait.plane))
    walk = portrait.traversal
    found.append(galleries.walked(walk, Ink.of(portrait.data)) if images else tables.walks(walk))
    return found


def _pictures(portrait: Portrait) -> Shown:
    titles = {
        "typical": "Data and reconstructions",
        "worst_reconstructed": "Worst reconstructed",
        "worst_gap": "Largest gaps",
    }
    images, ink = is_images(portrait.shape), Ink.of(portrait.data)
    found: Shown = []
    for which, title in titles.items():
        beside, caption = getattr(portrait, which), galleries.beside_caption(portrait, which)
        name = which.replace("_", "-")
        found.append(
            galleries.side_by_side(beside, ink, name, title, caption)
            if images
            else tables.rows(beside, name, title, caption)
        )
    found.append(galleries.sampled(portrait.samples, ink) if images else tables.generated(portrait))
    return found


def _head(portrait: Portrait) -> str:
    """What it is, the identity as a bar, the numbers, and the verdict."""
    found, gap = portrait.evaluation, portrait.gap
    about = (
        f"{found.examples:,} data of {found.data}, split {found.split}; log p(x) and the gap of the first "
        f"{gap.examples:,}. "
        "All in nats per datum."
    )
    return f"<p>{html.text(about)}</p>{_bar(portrait)}{_numbers(portrait)}{_verdict(portrait)}"


def _bar(portrait: Portrait) -> str:
    """log p(x) = ELBO + gap: the whole bar is -ELBO, its coloured part the gap."""
    elbo, gap, log_px = (e.mean for e in (portrait.gap.elbo, portrait.gap.gap, portrait.gap.log_px))
    share = max(0.0, min(1.0, gap / max(abs(elbo), 1e-9)))
    least = "" if portrait.gap.verdict.resolved else "at least "
    says = f"gap {least}{gap:.2f}, up to log p(x) {least}{log_px:.2f}"
    zero = "<span>0</span>" if log_px < 0 else ""  # a density may lie above it
    return (
        f'<div class="bar"><i style="width: {100 * share:.2f}%"></i></div>'
        f'<p class="ends"><span>{html.prose(f"ELBO {elbo:.2f}")} <b>{html.prose(says)}</b></span>{zero}</p>'
    )


def _numbers(portrait: Portrait) -> str:
    found, gap = portrait.evaluation, portrait.gap
    at_least = "" if gap.verdict.resolved else ", at least"
    cells = [
        ("ELBO", *_cell(found.elbo)),
        ("reconstruction", *_cell(found.reconstruction)),
        ("KL", *_cell(found.kl)),
        (f"log p(x){at_least}", *_cell(gap.log_px)),
        (f"gap{at_least}", *_cell(gap.gap)),
    ]
    if found.active_units is not None:
        cells.append(("active units", f"{found.active_units} of {found.latents}", "mean moves with x"))
    if found.bits_per_dim is not None:
        cells.append(("bits per dimension", f"{found.bits_per_dim:.4f}", "at most"))
    return html.numbers(cells)


def _cell(estimate: Estimate) -> tuple[str, str]:
    spread = f"± {estimate.se_data:.2f} across data" if math.isfinite(estimate.se_data) else "one datum"
    known = estimate.se_mc is not None and math.isfinite(estimate.se_mc) and estimate.se_mc > 0
    return f"{estimate.mean:.2f}", f"{spread}, {estimate.se_mc:.3f} Monte Carlo" if known else spread


def _verdict(portrait: Portrait) -> str:
    said = portrait.gap.verdict
    words = f"{said.reason}{'' if said.reason.endswith('.') else '.'}" if said.reason else ""
    sure = portrait.gap.certified
    if sure.log_px_at_least is not None and not portrait.exact:
        certain = f"With probability {1 - sure.delta:.0%} the mean log p(x) of these data is above"
        words += f" {certain} {sure.log_px_at_least:.2f}."
    return f'<div class="verdict {html.text(said.word)}"><b>{html.text(said.word)}</b> {html.prose(words)}</div>'


def reproduce(heading: Heading) -> str:
    """Commands, config, manifest."""
    parts = [html.code("\n".join(heading.commands))]
    if heading.config:
        parts.append(html.folded("config.yaml", html.code(heading.config)))
    if heading.manifest:
        parts.append(html.folded("manifest.json", html.code(json.dumps(heading.manifest, indent=2))))
    return "".join(parts)


def foot(version: str) -> str:
    """Who made the page, and the identity that it is about."""
    return html.text(f"log p(x) = ELBO(x) + KL( q(z|x) || p(z|x) ). Made by elbo {version}.")
