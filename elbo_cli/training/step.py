"""The plain step: a gradient by autograd, for any model, bound and optimiser; and what it saw."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from elbo_cli.bounds.draws import Draws, draw, kl_per_latent
from elbo_cli.bounds.gradients import GRADIENTS
from elbo_cli.bounds.lower import BOUNDS, Bound, free_bits, kl, reconstruction, tempered
from elbo_cli.models.vae import VAE
from elbo_cli.training.company import centred, pool
from elbo_cli.training.experiment import Objective, Optimizer


@dataclass(frozen=True, slots=True)
class PlainStep:
    """A `Step` along the gradient of the objective, as autograd finds it."""

    model: VAE
    optimizer: Optimizer
    objective: Objective
    clip_norm: float | None = None

    def __call__(self, x: Tensor, beta: float) -> Tensor:
        """Update once; returns the batch's sums of bound, ELBO, reconstruction and KL, all at beta = 1."""
        bound, objective = BOUNDS[self.objective.bound], self.objective
        self.optimizer.zero_grad()
        values, draws = climbed(self.model, objective, x, beta)
        values.mean().neg().backward()  # type: ignore[no-untyped-call]
        pool(self.model.parameters(), len(x))
        if self.clip_norm is not None:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.clip_norm)
        self.optimizer.step()
        plain = beta == 1 and not objective.free_bits and not GRADIENTS[objective.gradient].path
        return _sums(draws, values if plain else bound.estimate(draws), bound)


def climbed(model: VAE, objective: Objective, x: Tensor, beta: float) -> tuple[Tensor, Draws]:
    """What a step climbs the mean of, [N], the bound under beta and free bits; and the draws, without either."""
    bound, gradient = BOUNDS[objective.bound], GRADIENTS[objective.gradient]
    qz_x, weights = model.posterior(x), bound.weights or gradient.path
    draws = draw(model, x, objective.samples, qz_x, weights=weights, path=gradient.path)
    target = draws if beta == 1 else tempered(draws, beta)
    if objective.free_bits:
        per_latent = kl_per_latent(qz_x, model.prior())
        assert per_latent is not None, "build refuses free bits where the KL has no closed form for each latent"
        target = replace(target, kl=free_bits(centred(per_latent), objective.free_bits) * beta)
    return gradient.of[objective.bound](target), draws


@torch.no_grad()
def _sums(draws: Draws, estimate: Tensor, bound: Bound) -> Tensor:
    """Sums, not means, because the last batch is short: [bound, ELBO, reconstruction, KL]."""
    climbed, divergence = estimate.sum(), kl(draws).sum()
    if bound.weights:
        recon = reconstruction(draws).sum()
        return torch.stack([climbed, recon - divergence, recon, divergence])
    return torch.stack([climbed, climbed, climbed + divergence, divergence])
