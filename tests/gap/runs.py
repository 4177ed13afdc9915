"""How the tests run `importance`: on an oracle's data, to its findings."""

import torch
from torch import Tensor

from elbo_cli.bounds.draws import LatentVariableModel
from elbo_cli.data.split import Split
from elbo_cli.gap.importance import importance
from elbo_cli.gap.settings import Settings
from elbo_cli.records import GapFindings, Tick

NAMES = [
    "elbo",
    "log_px",
    "gap",
    "se_elbo",
    "se_log_px",
    "se_gap",
    "ess",
    "max_weight",
    "var_log_w",
    "khat",
    "jackknife",
]


def split_of(x: Tensor) -> Split:
    return Split("test", x.float(), "oracle")


def run(model: LatentVariableModel, x: Tensor, **settings: object) -> GapFindings:
    """The findings, which the generator returns behind its ticks."""
    work = importance(model, split_of(x), Settings(**settings))  # type: ignore[arg-type]
    while True:
        try:
            assert isinstance(next(work), Tick)
        except StopIteration as stop:
            found: GapFindings = stop.value
            return found


def columns(found: GapFindings) -> dict[str, Tensor]:
    """Each column of the rows, [N] float64."""
    return {name: torch.tensor([getattr(row, name) for row in found.rows], dtype=torch.float64) for name in NAMES}
