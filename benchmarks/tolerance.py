"""What `--tolerance` costs against a K that is fixed beforehand, at equal true error: truth from the oracles."""

import math
from collections import Counter
from collections.abc import Iterator
from typing import Any

import torch

from elbo_cli.data.split import Split
from elbo_cli.gap.importance import importance
from elbo_cli.gap.pilot import by_the_cheapest
from elbo_cli.gap.settings import Settings
from elbo_cli.records import GapFindings
from elbo_cli.runtime import finished
from tests.oracles import CASES, Oracle

SEEDS = 6
N = 32
TOLERANCE = 0.05
KS = tuple(4**j for j in range(3, 8))  # 64 to 16,384
CHOSEN = ("crude", "crude_50", "diagonal_20x10", "probit_crude", "hopeless", "funnel_10", "missed_mode_10", "ring_spot")


def study() -> Iterator[dict[str, Any]]:
    """A row for each oracle: decoder evaluations and r.m.s. error, and the least fixed K with an error no larger."""
    torch.set_num_threads(1)
    for name in CHOSEN:
        model = CASES[name].build()
        settings = [Settings(tolerance=TOLERANCE, adaptive=True, seed=seed) for seed in range(SEEDS)]
        found = [finished(by_the_cheapest(model, _split(model, name, s.seed), s)) for s in settings]
        error = _error(model, found)
        ways = Counter(f"{f.method} {f.proposal}, {f.verdict.word}" for f in found)
        asked = {"oracle": name, "tolerance": TOLERANCE, "decodes": _mean(found), "r.m.s. error": round(error, 4)}
        fixed = {proposal: _least(model, name, proposal, error) for proposal in ("posterior", "auto")}
        yield asked | {"ways": dict(ways)} | fixed


def _split(model: Oracle, name: str, seed: int) -> Split:
    return Split("test", model.data(N, seed), name)


def _error(model: Oracle, found: list[GapFindings]) -> float:
    """Root mean square over the seeds of the error of mean log p(x)."""
    missed = [f.log_px.mean - model.log_px(model.data(N, s).float()).mean().item() for s, f in enumerate(found)]
    return math.sqrt(sum(m * m for m in missed) / len(missed))


def _mean(found: list[GapFindings]) -> int:
    return round(sum(f.decodes or 0 for f in found) / len(found))


def _least(model: Oracle, name: str, proposal: str, error: float) -> dict[str, Any]:
    """The least K among KS of which the error is no larger, with its cost; else the largest, with its error."""
    for K in KS:
        settings = [Settings(K=K, proposal=proposal, seed=seed) for seed in range(SEEDS)]
        found = [finished(importance(model, _split(model, name, s.seed), s)) for s in settings]
        missed = _error(model, found)
        if missed <= error:
            break
    return {"K": K, "decodes": _mean(found), "r.m.s. error": round(missed, 4), "enough": missed <= error}
