"""The probe: the gap on the same few data with the same noise after every epoch, for the ledger."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import Distribution

from elbo_cli.bounds.draws import LatentVariableModel
from elbo_cli.data.split import Split
from elbo_cli.gap.importance import Plan, weigh_block
from elbo_cli.gap.proposals.laplace import applies, laplace
from elbo_cli.gap.proposals.laplace import decodes as cost_of_laplace
from elbo_cli.gap.proposals.mixture import Component
from elbo_cli.gap.proposals.recipes import Proposal, defensive
from elbo_cli.gap.settings import DATA_TILE
from elbo_cli.training.experiment import Probed

STEPS = 1  # towards each mode: every epoch pays for it


def quick(model: LatentVariableModel, x: Tensor, qz_x: Distribution) -> tuple[Component, ...]:
    """A Laplace proposal of one step with shares of q and of the prior: near enough for a difference of epochs."""
    if not applies(model, qz_x):
        return defensive(model, x, qz_x)
    near = laplace(model, x, qz_x, steps=STEPS)
    return (Component(near, 0.8), Component(qz_x, 0.15), Component(model.prior(), 0.05))


QUICK = Proposal(quick, lambda D: cost_of_laplace(D, STEPS), defended=True)


@dataclass(frozen=True, slots=True)
class Probe:
    """Measures log p(x) (from below) and the gap on the first `examples` data of a split."""

    model: LatentVariableModel
    split: Split
    examples: int
    samples: int
    seed: int
    device: torch.device

    def __call__(self) -> Probed:
        """Mean L_K and mean gap, nats per datum."""
        plan = Plan(self.samples, QUICK, self.seed, device=self.device)
        blocks = torch.split(torch.arange(min(self.examples, len(self.split))), DATA_TILE)
        weighed = [weigh_block(self.model, self.split.batch(i), i, number, plan) for number, i in enumerate(blocks)]
        log_px = torch.cat([w.proposal.log_px for w in weighed]).mean().item()
        return Probed(log_px, log_px - torch.cat([w.own.elbo for w in weighed]).mean().item())
