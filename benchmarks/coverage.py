"""Coverage over 400 seeds: the certificate, and the 95 % Monte Carlo interval where the verdict is `resolved`."""

from collections.abc import Iterator
from typing import Any

import torch

from elbo_cli.data.split import Split
from elbo_cli.gap.importance import importance
from elbo_cli.gap.settings import Settings
from elbo_cli.runtime import finished
from tests.oracles import CASES

SEEDS = 400
K = 256
N = 16
CHOSEN = ("slightly_crude", "crude", "diagonal", "probit_crude", "logistic", "two_latents", "two_latents_crude")


def study() -> Iterator[dict[str, Any]]:
    """A row for each oracle: violations of the certificate at delta = 5 %, coverage of mean +- 1.96 s.e."""
    torch.set_num_threads(1)
    for name in CHOSEN:
        model = CASES[name].build()
        x = model.data(N, 0)
        truth = model.log_px(x).mean().item()
        violated = resolved = covered = 0
        for seed in range(SEEDS):
            found = finished(importance(model, Split("test", x, name), Settings(K=K, seed=seed)))
            at_least = found.certified.log_px_at_least
            violated += at_least is not None and at_least > truth
            if found.verdict.resolved:
                resolved += 1
                covered += abs(found.log_px.mean - truth) < 1.96 * (found.log_px.se_mc or 0.0)
        rate = round(covered / resolved, 4) if resolved else None
        yield {"oracle": name, "seeds": SEEDS, "K": K, "violated": violated, "resolved": resolved, "covered": rate}
