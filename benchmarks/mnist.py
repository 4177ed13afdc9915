"""One trained model measured in every way, for docs/mnist.md: `RUN=FOLDER python -m benchmarks mnist --root FOLDER`.

RUN is a run of configs/mnist-vae.yaml, `--root` the folder that holds MNIST/raw. Seconds are of CPU, not of the clock.
"""

import os
import time
from collections.abc import Iterator
from dataclasses import astuple, replace

import torch

from benchmarks.compare import Row, Setting, chosen
from elbo_cli.gap.methods import measure_gap
from elbo_cli.gap.sandwich import sandwich
from elbo_cli.gap.settings import Settings
from elbo_cli.gap.split_gap import split_gap
from elbo_cli.records import GapFindings
from elbo_cli.runtime import finished
from elbo_cli.subject import Subject, open_subject

MANY, FEW, SIMULATED = 1000, 100, 100  # test images; for the dear methods; simulated ones

DRAWN = [
    *(("importance", Settings(K=K, proposal="posterior")) for K in (50, 500, 5000, 50_000)),
    *(("importance", Settings(K=K, proposal="laplace")) for K in (10, 50, 500, 5000)),
    *(("importance", Settings(K=K, proposal="auto")) for K in (50, 500, 5000)),
    ("importance", Settings(K=500, proposal="refined")),
    ("auto", Settings(tolerance=0.05, adaptive=True)),
    ("auto", Settings(tolerance=0.02, adaptive=True)),
]
DEAR = [
    *(("importance", Settings(K=K, proposal="posterior")) for K in (5000, 50_000)),
    *(("importance", Settings(K=K, proposal="laplace")) for K in (500, 5000)),
    *(("importance", Settings(K=K, proposal="auto")) for K in (500, 5000)),
    ("importance", Settings(K=500, proposal="refined")),
    ("auto", Settings(tolerance=0.05, adaptive=True)),
    *(("ais", Settings(K=16, temperatures=1000, proposal=start)) for start in ("posterior", "laplace", "auto")),
]
BETWEEN = [
    *(("importance", Settings(K=K, proposal="auto")) for K in (500, 5000)),
    ("ais", Settings(K=16, temperatures=1000, proposal="auto")),
]


def many(setting: Setting) -> Iterator[Row]:
    """A row for each way to draw, on the first 1,000 test images."""
    yield from _measured(_subject(setting, MANY), DRAWN)


def few(setting: Setting) -> Iterator[Row]:
    """The dear methods, and for comparison some of the cheap ones, on the first 100."""
    yield from _measured(_subject(setting, FEW), DEAR)


def between(setting: Setting) -> Iterator[Row]:
    """Both bounds on 100 images that the model made."""
    subject = _subject(setting, FEW)
    for method, settings in chosen(BETWEEN):
        began = time.process_time()
        found = finished(sandwich(subject.model, SIMULATED, replace(settings, seed=subject.seed), method))
        width = {"width": round(found.width.mean, 4), "±": round(found.width.se_data, 4)}
        sure = {"at least": round(found.log_px_at_least, 3), "at most": round(found.log_px_at_most, 3)}
        sides = {"L": round(found.lower.mean, 3), "U": round(found.upper.mean, 3)}
        yield _named(method, settings) | sides | width | sure | _spent(found.decodes, began)


def blame(setting: Setting) -> Iterator[Row]:
    """The gap of the first 100, split in two."""
    subject, began = _subject(setting, FEW), time.process_time()
    parts = finished(split_gap(subject.model, subject.split, Settings(seed=subject.seed)))
    gaps = {"total": parts.gap.gap, "amortisation": parts.amortisation_gap, "approximation": parts.approximation_gap}
    for name, part in (gaps | {f"closed by {each.family}": each.closes for each in parts.richer}).items():
        yield {"gap": name, "mean": part.mean, "across data": part.se_data, "Monte Carlo": part.se_mc}
    yield _spent(parts.decodes, began)


def _subject(setting: Setting, limit: int) -> Subject:
    torch.set_num_threads(1)
    return open_subject(os.environ["RUN"], overrides=[f"data.root={setting.root}"], limit=limit)


def _measured(subject: Subject, rows: list[tuple[str, Settings]]) -> Iterator[Row]:
    for method, settings in chosen(rows):
        began = time.process_time()
        found = finished(measure_gap(subject.model, subject.split, method, replace(settings, seed=subject.seed)))
        yield _named(method, settings) | _found(found) | _spent(found.decodes, began)


def _named(method: str, settings: Settings) -> Row:
    asked = {"tolerance": settings.tolerance} if settings.adaptive else {"K": settings.K}
    long = {"T": settings.temperatures} if method == "ais" else {}
    return {"method": method, "proposal": settings.proposal} | asked | long


def _found(found: GapFindings) -> Row:
    return {
        "samples": found.samples,
        "elbo": round(found.elbo.mean, 4),
        "log_px": round(found.log_px.mean, 4),
        "se_mc": round(found.log_px.se_mc or 0.0, 4),
        "interval": found.interval and [round(end, 4) for end in astuple(found.interval)],
        "ess": found.ess,
        "khat": found.khat_median,
        "verdict": found.verdict.word,
        "why": found.why,
    }


def _spent(decodes: int | None, began: float) -> Row:
    return {"decodes": decodes, "cpu seconds": round(time.process_time() - began, 1)}
