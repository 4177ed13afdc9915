"""One gradient step, and what it saw."""

from dataclasses import replace

import torch
from torch import Tensor, nn

from elbo_cli.bounds.draws import Draws, draw, kl_per_latent
from elbo_cli.bounds.lower import BOUNDS, Bound, free_bits, kl, reconstruction, tempered
from elbo_cli.data.split import Split
from elbo_cli.training.experiment import Experiment


def update(experiment: Experiment, split: Split, index: Tensor, beta: float) -> Tensor:
    """One gradient step; returns the batch's sums of bound, ELBO, reconstruction and KL, all at beta = 1."""
    model, objective = experiment.model, experiment.objective
    x = split.batch(index)
    qz_x = model.posterior(x)
    bound = BOUNDS[objective.bound]
    draws = draw(model, x, objective.samples, qz_x, weights=bound.weights)
    target = draws if beta == 1 else tempered(draws, beta)
    if objective.free_bits:
        per_latent = kl_per_latent(qz_x, model.prior())
        assert per_latent is not None, "build refuses free bits where the KL has no closed form for each latent"
        target = replace(target, kl=free_bits(per_latent, objective.free_bits) * beta)
    experiment.optimizer.zero_grad()
    loss = -bound.estimate(target).mean()
    loss.backward()  # type: ignore[no-untyped-call]
    if experiment.plan.clip_norm is not None:
        nn.utils.clip_grad_norm_(model.parameters(), experiment.plan.clip_norm)
    experiment.optimizer.step()
    return _sums(draws, bound)


@torch.no_grad()
def _sums(draws: Draws, bound: Bound) -> Tensor:
    """Sums, not means, because the last batch is short: [bound, ELBO, reconstruction, KL]."""
    recon, divergence = reconstruction(draws).sum(), kl(draws).sum()
    total = recon - divergence
    return torch.stack([bound.estimate(draws).sum() if bound.weights else total, total, recon, divergence])
