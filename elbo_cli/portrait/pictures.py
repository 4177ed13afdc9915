"""Reconstructions, samples of the prior, and walks along latents: E[x | z], as arrays."""

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Distribution

from elbo_cli.bounds.draws import LatentVariableModel
from elbo_cli.data.split import Split
from elbo_cli.portrait.records import Array, Beside, Samples, Traversal
from elbo_cli.runtime import noise

STEPS = (-3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0)  # of a walk: a standard normal prior has 99.7 % of its mass between


@torch.no_grad()
def beside(
    model: LatentVariableModel, split: Split, index: tuple[int, ...], nats: tuple[float, ...], quantity: str, seed: int
) -> Beside:
    """Data and reconstructions, E[x | z] at one draw z ~ q(z | x) of each."""
    x = split.batch(torch.tensor(index))
    with noise(seed, "portrait", "beside", quantity, device=split.device):
        z = model.posterior(x).sample()
        means = expectation(model.likelihood(z))
    return Beside(quantity=quantity, index=index, nats=nats, data=array(x), means=array(means))


@torch.no_grad()
def samples(model: LatentVariableModel, n: int, seed: int, device: torch.device) -> Samples:
    """n draws from the prior: E[x | z], and x ~ p(x | z)."""
    with noise(seed, "portrait", "samples", device=device):
        px_z = model.likelihood(model.prior().sample(torch.Size([n])))
        draws = px_z.sample()
        return Samples(means=array(expectation(px_z)), draws=array(draws))


@torch.no_grad()
def traversal(
    model: LatentVariableModel, split: Split, index: int, kl: tuple[float, ...] | None, most: int, seed: int
) -> Traversal:
    """Walks along the latents of largest KL (the first ones, where it is not known), from the mean of one datum's q."""
    x = split.batch(torch.tensor([index]))
    with noise(seed, "portrait", "traversal", device=split.device):
        start = expectation(model.posterior(x))[0].flatten()
        shape = model.prior().event_shape
        order = sorted(range(len(start)), key=lambda j: -kl[j]) if kl else list(range(len(start)))
        latents = tuple(order[:most])
        z = start.repeat(len(latents), len(STEPS), 1)
        for row, latent in enumerate(latents):
            z[row, :, latent] = torch.tensor(STEPS).to(z)
        means = expectation(model.likelihood(z.reshape(-1, *shape)))
    grid = array(means).reshape(len(latents), len(STEPS), *means.shape[1:])
    return Traversal(
        index=index, latents=latents, kl=tuple(kl[j] if kl else None for j in latents), at=STEPS, means=grid
    )


def expectation(distribution: Distribution) -> Tensor:
    """Its mean, or a draw where it does not know its mean."""
    try:
        return distribution.mean
    except (NotImplementedError, AttributeError):
        return distribution.sample()


def array(values: Tensor) -> Array:
    """As a record holds it."""
    return values.detach().cpu().to(torch.float32).numpy().astype(np.float32, copy=False)
