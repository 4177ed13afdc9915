"""The probe: the gap on the same few data with the same noise after every epoch, for the ledger."""

from dataclasses import dataclass

import torch

from elbo_cli.bounds.draws import LatentVariableModel
from elbo_cli.data.split import Split
from elbo_cli.gap.importance import Plan, weigh_block
from elbo_cli.gap.proposals import PROPOSALS
from elbo_cli.gap.settings import DATA_TILE
from elbo_cli.training import Probed


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
        plan = Plan(self.samples, PROPOSALS["auto"], self.seed, device=self.device)
        blocks = torch.split(torch.arange(min(self.examples, len(self.split))), DATA_TILE)
        weighed = [weigh_block(self.model, self.split.batch(i), i, number, plan) for number, i in enumerate(blocks)]
        log_px = torch.cat([w.proposal.log_px for w in weighed]).mean().item()
        return Probed(log_px, log_px - torch.cat([w.own.elbo for w in weighed]).mean().item())
