"""The probe: the gap on the same few data with the same noise after every epoch, for the ledger."""

from dataclasses import dataclass

import torch

from elbo_cli.bounds.draws import LatentVariableModel
from elbo_cli.data.split import Split
from elbo_cli.gap.importance import Plan, weigh_blocks
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
        blocks = enumerate(self.split.first(self.examples).blocks(DATA_TILE))
        plan = Plan(self.samples, PROPOSALS["auto"], self.seed, device=self.device)
        weighed = list(weigh_blocks(self.model, blocks, plan))
        log_px = torch.cat([w.proposal.log_px for w in weighed]).mean().item()
        return Probed(log_px, log_px - torch.cat([w.own.elbo for w in weighed]).mean().item())
