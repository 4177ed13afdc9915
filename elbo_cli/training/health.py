"""How much signal the gradient has in its noise, at the weights of an epoch's end; training does not notice it."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from elbo_cli.runtime import noise
from elbo_cli.training.experiment import Experiment
from elbo_cli.training.step import climbed

ESTIMATES = 32  # of the gradient, from as many draws of noise


def health(experiment: Experiment, beta: float) -> dict[str, Any]:
    """The columns `gradient_norm` and `encoder_snr`, on one batch of training data.

        gradient_norm = mean_r |g_r|,    encoder_snr = |E g| / sqrt( tr Cov g ),    g_r along the encoder's weights

    over estimates of the gradient that differ in the noise of z alone: what falls as 1 / sqrt K for the
    importance-weighted bound and rises as sqrt K for its doubly reparameterised gradient (Rainforth et al. 2018,
    https://arxiv.org/abs/1802.04537). The square of |E g| is estimated without bias, so that no signal is near 0. Data
    and noise are the same every epoch; normalisations are as in an evaluation.
    """
    encoder, everything = _weights(experiment)
    experiment.model.eval()
    x = _batch(experiment)
    norms, total, squares = [], torch.zeros((), dtype=torch.float64), torch.zeros((), dtype=torch.float64)
    for r in range(ESTIMATES):
        with noise(experiment.seed, "health", "z", r, device=experiment.device):
            bound = climbed(experiment.model, experiment.objective, x, beta)[0].mean()
        parts = torch.autograd.grad(bound, everything, allow_unused=True, materialize_grads=True)
        norms.append(math.sqrt(sum(part.double().square().sum().item() for part in parts)))
        g = torch.cat([part.flatten() for part in parts[: len(encoder)]]).double().cpu()
        total, squares = total + g, squares + g.square()
    return {"gradient_norm": sum(norms) / ESTIMATES, "encoder_snr": _ratio(total / ESTIMATES, squares / ESTIMATES)}


def _weights(experiment: Experiment) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """The encoder's weights; and all weights, the encoder's first."""
    q, p = ([w for part in half for w in part.parameters() if w.requires_grad] for half in experiment.model.halves())
    return q, q + p


def _batch(experiment: Experiment) -> Tensor:
    """The first data of training, binarised the same way every epoch."""
    split = experiment.data.train
    with noise(experiment.seed, "health", "x", device=experiment.device):
        return split.batch(torch.arange(min(experiment.plan.batch_size, len(split)), device=experiment.device))


def _ratio(mean: Tensor, mean_square: Tensor) -> float | None:
    """|E g| / sqrt(tr Cov g) from the mean of R estimates and of their squares; None where there is no noise."""
    variance = ((mean_square - mean.square()).clamp(min=0) * ESTIMATES / (ESTIMATES - 1)).sum()
    signal = (mean.square().sum() - variance / ESTIMATES).clamp(min=0)
    return math.sqrt(signal.item() / variance.item()) if variance > 0 else None
