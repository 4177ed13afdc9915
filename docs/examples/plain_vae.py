"""A VAE in plain PyTorch whose three methods are all that elbo asks for: `elbo gap plain_vae:model`."""

import torch
from torch import Tensor, nn
from torch.distributions import Bernoulli, Independent, Normal


class VAE(nn.Module):
    def __init__(self, latents: int = 8) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Flatten(), nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 2 * latents))
        self.decoder = nn.Sequential(nn.Linear(latents, 128), nn.ReLU(), nn.Linear(128, 64))
        self.register_buffer("zero", torch.zeros(latents), persistent=False)  # moves with the model

    def prior(self) -> Independent:
        return Independent(Normal(self.zero, torch.ones_like(self.zero)), 1)

    def posterior(self, x: Tensor) -> Independent:
        mu, log_var = self.encoder(x).chunk(2, -1)
        return Independent(Normal(mu, (log_var / 2).exp()), 1)

    def likelihood(self, z: Tensor) -> Independent:
        logits = self.decoder(z).unflatten(-1, (1, 8, 8))  # z is [K, N, D]: only its last axis is touched
        return Independent(Bernoulli(logits=logits), 3)


def model() -> VAE:
    vae = VAE()
    vae.load_state_dict(torch.load("plain.pt", weights_only=True))
    return vae
