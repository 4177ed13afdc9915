"""The probe: the gap on the same few data with the same noise after every epoch, for the ledger."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import Distribution

from elbo_cli.bounds.draws import LatentVariableModel
from elbo_cli.data.split import Split
from elbo_cli.gap.importance import Plan, weigh_block
from elbo_cli.gap.jobs import Job, blocks, exchanged
from elbo_cli.gap.proposals.laplace import applies, laplace
from elbo_cli.gap.proposals.laplace import decodes as cost_of_laplace
from elbo_cli.gap.proposals.mixture import Component
from elbo_cli.gap.proposals.recipes import Proposal, defensive
from elbo_cli.ranks import ranks
from elbo_cli.training.experiment import Probed

STEPS = 2  # towards each mode: with one, log p(x) of a trained MNIST model is 1.3 nats too low and moves with q


def quick(model: LatentVariableModel, x: Tensor, qz_x: Distribution) -> tuple[Component, ...]:
    """A Laplace proposal of two steps with shares of q and of the prior: near enough for a difference of epochs."""
    if not applies(model, x, qz_x):
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
        n = min(self.examples, len(self.split))
        jobs = [Job(number, self.samples, index) for number, index in enumerate(blocks(n))]
        mine = jobs[ranks().strided]
        own = [weigh_block(self.model, self.split.batch(job.index), job, plan) for job in mine]
        weighed = exchanged(own, jobs, alike=False)
        log_px = torch.cat([w.proposal.log_px for w in weighed]).mean().item()
        return Probed(log_px, log_px - torch.cat([w.own.elbo for w in weighed]).mean().item())
