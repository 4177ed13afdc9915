"""The log-weights of an easy, a typical and the worst datum, every one of them, under each proposal."""

from collections.abc import Sequence

import torch

from elbo_cli.bounds.draws import LatentVariableModel
from elbo_cli.data.split import Split
from elbo_cli.gap.importance import Plan, weigh_tiles
from elbo_cli.gap.jobs import Job
from elbo_cli.gap.proposals.mixture import Mixture
from elbo_cli.gap.proposals.recipes import PROPOSALS
from elbo_cli.gap.settings import Settings
from elbo_cli.portrait.pictures import array
from elbo_cli.portrait.records import Array, LogWeights
from elbo_cli.records import GapRow
from elbo_cli.runtime import derive, noise


def chosen(rows: Sequence[GapRow]) -> dict[str, GapRow]:
    """The datum of the smallest gap, of the median, and of the largest."""
    ranked = sorted(rows, key=lambda row: row.gap)
    return {"easy": ranked[0], "typical": ranked[len(ranked) // 2], "worst": ranked[-1]}


def log_weights(
    model: LatentVariableModel, split: Split, rows: Sequence[GapRow], proposals: Sequence[str], settings: Settings
) -> tuple[LogWeights, ...]:
    """log w of K draws of each proposal for three data."""
    three = chosen(rows)
    index = [row.index for row in three.values()]
    drawn = {name: _weigh(model, split, index, name, settings) for name in proposals}
    return tuple(
        LogWeights(
            index=row.index,
            role=role,
            gap=row.gap,
            log_px=row.log_px,
            log_w={name: table[:, n] for name, table in drawn.items()},
        )
        for n, (role, row) in enumerate(three.items())
    )


@torch.no_grad()
def _weigh(model: LatentVariableModel, split: Split, index: list[int], name: str, settings: Settings) -> Array:
    """[K, n], of draws that no bound was made of."""
    seed, x = derive(settings.seed, "portrait", "weights"), split.batch(torch.tensor(index))
    plan = Plan(settings.K, PROPOSALS[name], seed, settings.rows, settings.device)
    with torch.enable_grad(), noise(seed, name, device=settings.device):
        mixture = Mixture(plan.proposal(model, x, model.posterior(x)))
    job = Job(0, settings.K, torch.tensor(index))
    return array(torch.cat(list(weigh_tiles(model, x, mixture, settings.K, plan, job, name))))
