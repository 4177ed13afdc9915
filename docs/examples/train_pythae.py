"""Train pythae's own VAE on a binary array, and say what its get_nll says of a test array."""

import argparse

import numpy as np
import torch
from pythae.data.datasets import BaseDataset
from pythae.models import VAE, VAEConfig
from pythae.trainers import BaseTrainer, BaseTrainerConfig


def load(path: str) -> torch.Tensor:
    return torch.from_numpy(np.load(path)).float()


def train(path: str, latent_dim: int, epochs: int, folder: str) -> VAE:
    x = load(path)
    config = VAEConfig(input_dim=tuple(x.shape[1:]), latent_dim=latent_dim, reconstruction_loss="bce")
    model = VAE(config)
    training = BaseTrainerConfig(
        output_dir=folder,
        num_epochs=epochs,
        learning_rate=1e-3,
        per_device_train_batch_size=100,
        keep_best_on_train=True,
    )
    BaseTrainer(model, BaseDataset(x, torch.zeros(len(x))), training_config=training).train()
    model.save(folder)
    return model.eval()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("train")
    parser.add_argument("test")
    parser.add_argument("--latent-dim", type=int, default=8)
    parser.add_argument("--epochs", type=int, default=50)
    parser.add_argument("--samples", type=int, nargs="*", default=[50, 500])
    parser.add_argument("--limit", type=int, default=None)
    parser.add_argument("--out", default="pythae_vae")
    given = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(1)
    model = train(given.train, given.latent_dim, given.epochs, given.out)
    x = load(given.test)[: given.limit]
    for samples in given.samples:
        torch.manual_seed(0)
        print(f"get_nll, n_samples={samples}, batch_size=100: {model.get_nll(x, samples, 100):.3f}")


if __name__ == "__main__":
    main()
