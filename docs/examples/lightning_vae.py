"""A VAE as a LightningModule, the same three methods; `elbo gap lightning_vae:model` opens lightning.ckpt."""

import lightning
import torch
from plain_vae import VAE
from torch import Tensor
from torch.distributions import Independent, kl_divergence


class LightningVAE(lightning.LightningModule):
    def __init__(self, latents: int = 8) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.vae = VAE(latents)

    def training_step(self, batch: list[Tensor], number: int) -> Tensor:
        qz_x = self.posterior(batch[0])
        reconstruction = self.likelihood(qz_x.rsample()).log_prob(batch[0])
        loss = -(reconstruction - kl_divergence(qz_x, self.prior())).mean()
        self.log("loss", loss)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), 1e-3)

    def prior(self) -> Independent:
        return self.vae.prior()

    def posterior(self, x: Tensor) -> Independent:
        return self.vae.posterior(x)

    def likelihood(self, z: Tensor) -> Independent:
        return self.vae.likelihood(z)


def model() -> LightningVAE:
    return LightningVAE.load_from_checkpoint("lightning.ckpt", map_location="cpu", weights_only=True)
