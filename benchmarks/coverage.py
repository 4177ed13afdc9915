"""Coverage over 400 seeds: the certificate, and the 95 % interval where the verdict is `resolved`."""

from collections.abc import Iterator
from typing import Any

import torch

from benchmarks.compare import chosen
from elbo_cli.data.split import Split
from elbo_cli.gap.importance import importance
from elbo_cli.gap.settings import Settings
from elbo_cli.gap.verdict import SIDES
from elbo_cli.runtime import finished
from tests.oracles import CASES

SEEDS = 400
N = 16
ASKED = (
    *((name, 256) for name in ("slightly_crude", "crude", "diagonal", "probit_crude", "logistic")),
    ("two_latents", 1024),
    ("two_latents_crude", 1024),
)


def study() -> Iterator[dict[str, Any]]:
    """A row for each oracle: violations of the certificate at delta = 5 %, coverage by interval and by noise alone."""
    torch.set_num_threads(1)
    for name, K in chosen(ASKED):
        model = CASES[name].build()
        x = model.data(N, 0)
        truth = model.log_px(x).mean().item()
        violated = resolved = covered = bare = 0
        for seed in range(SEEDS):
            found = finished(importance(model, Split("test", x, name), Settings(K=K, seed=seed)))
            at_least = found.certified.log_px_at_least
            violated += at_least is not None and at_least > truth
            if found.interval is not None:
                resolved += 1
                covered += found.interval.low < truth < found.interval.high
                bare += abs(found.log_px.mean - truth) < SIDES * (found.log_px.se_mc or 0.0)
        share = {"covered": covered / resolved, "noise alone": bare / resolved} if resolved else {}
        yield {"oracle": name, "seeds": SEEDS, "K": K, "violated": violated, "resolved": resolved, **share}
