"""How often each verdict is right: every oracle, proposal and K over several seeds. ONLY=0,1 takes two rows alone."""

from collections import Counter
from collections.abc import Iterator
from itertools import product
from typing import Any

import torch

from benchmarks.compare import chosen
from elbo_cli.data.split import Split
from elbo_cli.gap.importance import importance
from elbo_cli.gap.settings import Settings
from elbo_cli.runtime import finished
from tests.oracles import CASES

PROPOSALS = ("auto", "defensive", "posterior", "laplace")
KS = (64, 256, 1024, 4096)
SEEDS = 3
N = 64


def study() -> Iterator[dict[str, Any]]:
    """A row for each proposal and K: how many verdicts there were, and how many of them were within the tolerance."""
    torch.set_num_threads(1)
    for proposal, K in chosen(list(product(PROPOSALS, KS))):
        counts, wrong = Counter[str](), Counter[str]()
        for name, word, error in _measured(proposal, K):
            right = abs(error) < Settings().tolerance
            counts[f"{word}, {'within' if right else 'off'}"] += 1
            if word == "resolved" and not right:
                wrong[f"{name} {error:+.3f}"] += 1
        yield {"proposal": proposal, "K": K, "seeds": SEEDS, **counts, "wrongly resolved": dict(wrong)}


def _measured(proposal: str, K: int) -> Iterator[tuple[str, str, float]]:
    for name, case in CASES.items():
        model = case.build()
        for seed in range(SEEDS):
            x = model.data(N, seed)
            split = Split("test", x, name)
            found = finished(importance(model, split, Settings(K=K, proposal=proposal, seed=seed)))
            yield name, found.verdict.word, found.log_px.mean - model.log_px(x).mean().item()
