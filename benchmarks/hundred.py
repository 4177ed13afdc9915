"""A hundred seeds each: the hopeless proposal, and the posteriors of which a normal sees one part only."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import torch

from benchmarks.compare import chosen
from elbo_cli.data.split import Split
from elbo_cli.gap.importance import importance
from elbo_cli.gap.settings import Settings
from elbo_cli.runtime import finished
from tests.oracles import CASES

SEEDS = 100
K = 500
N = 16
ASKED = (
    ("hopeless", "posterior"),
    ("hopeless", "auto"),
    ("missed_mode", "laplace"),
    ("missed_mode", "auto"),
    ("missed_mode_10", "auto"),
    ("ring_spot", "auto"),
    ("funnel_5", "auto"),
    ("spike", "auto"),
)


def study() -> Iterator[dict[str, Any]]:
    """A row for each oracle and proposal: verdicts, the mean error in nats, and how often `resolved` was wrong."""
    torch.set_num_threads(1)
    for name, proposal in chosen(ASKED):
        model = CASES[name].build()
        words, error, wrong = Counter[str](), 0.0, 0
        for seed in range(SEEDS):
            x = model.data(N, seed)
            settings = Settings(K=K, proposal=proposal, seed=seed)
            found = finished(importance(model, Split("test", x, name), settings))
            miss = found.log_px.mean - model.log_px(x).mean().item()
            words[found.verdict.word] += 1
            wrong += found.verdict.resolved and abs(miss) > settings.tolerance
            error += miss / SEEDS
        yield {"oracle": name, "proposal": proposal, "K": K, **words, "mean error": round(error, 3), "wrong": wrong}
