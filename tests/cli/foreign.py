"""A VAE trained elsewhere, in torch.distributions: three methods and a factory are all that elbo asks for."""

import torch
from torch.distributions import Bernoulli, Distribution, Independent, Normal


class Elsewhere(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder = torch.nn.Linear(64, 4), torch.nn.Linear(2, 64)

    def prior(self) -> Distribution:
        return Independent(Normal(torch.zeros(2), torch.ones(2)), 1)

    def posterior(self, x: torch.Tensor) -> Distribution:
        mu, sigma = self.encoder(x.flatten(1)).chunk(2, -1)
        return Independent(Normal(mu, sigma.exp()), 1)

    def likelihood(self, z: torch.Tensor) -> Distribution:
        return Independent(Bernoulli(logits=self.decoder(z).unflatten(-1, (1, 8, 8))), 3)


def make() -> Elsewhere:
    """What `tests.cli.foreign:make` names; a real one would load its weights here."""
    torch.manual_seed(0)
    return Elsewhere()
