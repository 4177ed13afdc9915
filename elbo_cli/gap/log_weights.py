"""The log-weights themselves, for programs that judge them in ways of their own."""

from collections.abc import Iterator

import torch
from torch import Tensor

from elbo_cli.bounds.draws import LatentVariableModel
from elbo_cli.data.split import Split
from elbo_cli.gap.importance import plan_of, proposed, weigh_tiles
from elbo_cli.gap.jobs import Job, blocks
from elbo_cli.gap.settings import Settings


def blocks_of_log_weights(
    model: LatentVariableModel, split: Split, settings: Settings
) -> Iterator[tuple[Tensor, Tensor]]:
    """The draws that `importance` weighs, block by block: never are all K N weights held.

        log w_kn = log p(x_n, z_kn) - log r(z_kn),    z_kn ~ r, the proposal for x_n

    Yields:
        which data of the split, [n], and their log-weights, [K, n] float64 on the CPU, as the model gives them:
        where it gives nan, so does this.

    Raises:
        UserError: there is no such proposal.
    """
    plan = plan_of(settings)
    for number, index in enumerate(blocks(len(split))):
        x, job = split.batch(index), Job(number, plan.K, index)
        _, mixture = proposed(model, x, job, plan)
        tiles = weigh_tiles(model, x, mixture, plan.K, plan, job, "draws")
        yield index, torch.cat([log_w.cpu().double() for log_w in tiles])
