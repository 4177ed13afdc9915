"""Train a VAE in plain PyTorch on a binary array and save its weights in plain.pt."""

import sys

import numpy as np
import torch
from plain_vae import VAE, Tensor


def loss(vae: VAE, x: Tensor) -> Tensor:
    qz_x, pz = vae.posterior(x), vae.prior()
    z = qz_x.rsample()
    reconstruction = vae.likelihood(z).log_prob(x)
    kl = torch.distributions.kl_divergence(qz_x, pz)
    return -(reconstruction - kl).mean()


def main() -> None:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    x = torch.from_numpy(np.load(sys.argv[1])).float()
    vae = VAE()
    optimiser = torch.optim.Adam(vae.parameters(), 1e-3)
    for epoch in range(30):
        for index in torch.randperm(len(x)).split(50):
            value = loss(vae, x[index])
            optimiser.zero_grad()
            value.backward()
            optimiser.step()
        if epoch % 10 == 9:
            print(f"epoch {epoch + 1}, loss of its last batch {value.item():.2f}")
    torch.save(vae.state_dict(), "plain.pt")


if __name__ == "__main__":
    main()
