"""A VAE that pythae trained and saved in the folder PYTHAE_VAE, for `elbo gap pythae_vae:model`."""

import os

import torch
from pythae.models import VAE
from torch import Tensor
from torch.distributions import Bernoulli, Independent, Normal


class Pythae(torch.nn.Module):
    def __init__(self, vae: VAE) -> None:
        super().__init__()
        self.vae = vae

    def prior(self) -> Independent:
        zero = next(self.vae.parameters()).new_zeros(self.vae.latent_dim)
        return Independent(Normal(zero, torch.ones_like(zero)), 1)

    def posterior(self, x: Tensor) -> Independent:
        q = self.vae.encoder(x)
        return Independent(Normal(q.embedding, (q.log_covariance / 2).exp()), 1)

    def likelihood(self, z: Tensor) -> Independent:
        body, last = self.vae.decoder.layers[0], self.vae.decoder.layers[1][0]  # what follows is a sigmoid: logits
        logits = last(body(z)).unflatten(-1, self.vae.input_dim)
        return Independent(Bernoulli(logits=logits), len(self.vae.input_dim))


def model() -> Pythae:
    return Pythae(VAE.load_from_folder(os.environ.get("PYTHAE_VAE", "pythae_vae")))
