"""The variational autoencoder: an encoder, a decoder and three families, behind the three methods of the waist."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from elbo_cli.models import binary
from elbo_cli.models.likelihoods import Bernoulli, Likelihood
from elbo_cli.models.plain import Layer, plain_layers
from elbo_cli.models.posteriors import Posterior


class VAE(nn.Module):
    """p(z), q(z | x) and p(x | z) with networks between them. Kingma and Welling (2014). https://arxiv.org/abs/1312.6114."""

    def __init__(
        self, encoder: nn.Module, decoder: nn.Module, prior: nn.Module, posterior: Posterior, likelihood: Likelihood
    ) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder, decoder
        self.latent, self.visible = prior, likelihood
        self.family = posterior

    def prior(self) -> Distribution:
        """p(z), event [D]."""
        return self.latent(self.posterior)  # type: ignore[no-any-return]

    def posterior(self, x: Tensor) -> Distribution:
        """q(z | x) for x [N, ...], batch [N], event [D]."""
        return self.family.distribution(self.encoder(x))

    def likelihood(self, z: Tensor) -> Distribution:
        """p(x | z) for z [..., D], batch [...], event the shape of a datum."""
        return self.visible.distribution(self.decoder(z))

    def quick_log_likelihood(self, x: Tensor) -> Callable[[Tensor], Tensor]:
        """log p(x | z), [K, N], of x [N, ...] at z [K, N, D]: by the quickest way where no gradient is asked for."""
        layers = None if torch.is_grad_enabled() else plain_layers(self.decoder)
        if layers is None or type(self.visible) is not Bernoulli:  # a heir of it has a density of its own
            return lambda z: self.likelihood(z).log_prob(x)
        return binary.log_likelihood(layers, x, lambda x, z: self.likelihood(z).log_prob(x))

    def eta_layers(self) -> tuple[Layer, ...] | None:
        """The decoder's layers, where they are plain and give the coordinates of Fisher's information themselves."""
        return plain_layers(self.decoder) if self.visible.outputs_are_eta else None

    def halves(self) -> tuple[list[nn.Module], list[nn.Module]]:
        """What q(z | x) is made of, and what p(x | z) and p(z) are made of."""
        return [self.encoder, self.family], [self.decoder, self.latent, self.visible]
