"""Experiments small enough to be followed by hand: linear maps on a few numbers, with every part settable."""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn

from elbo_cli.data.split import Dataset, Split
from elbo_cli.models.likelihoods import LIKELIHOODS, Options
from elbo_cli.models.networks import KINDS, Architecture
from elbo_cli.models.posteriors import POSTERIORS
from elbo_cli.models.priors import PRIORS
from elbo_cli.models.vae import VAE
from elbo_cli.runtime import noise
from elbo_cli.training import Experiment, Objective, Plan, Probed

D, P = 2, 4  # latents and pixels
BATCHES = (50, 50, 30)  # 130 data in batches of 50: the last is short
CPU = torch.device("cpu")


def numbers(n: int, seed: int) -> Tensor:
    with noise(seed, "experiments"):
        return 0.5 * torch.randn(n, P) @ torch.randn(P, P) + torch.arange(n)[:, None] / n


def dataset(x: Tensor | None = None) -> Dataset:
    train = numbers(sum(BATCHES), 1) if x is None else x
    return Dataset(
        "numbers",
        *(
            Split(name, values, "numbers")
            for name, values in zip(NAMES, (train, numbers(40, 2), numbers(40, 3)), strict=True)
        ),
    )


NAMES = ("train", "valid", "test")


def vae(seed: int = 0, sigma: float | str = 0.8) -> VAE:
    """A linear map to q's parameters and a linear map to the mean of N(mean, sigma^2)."""
    likelihood = LIKELIHOODS["gaussian"]((P,), Options(sigma=sigma))
    family, linear = POSTERIORS["diagonal_normal"], Architecture(hidden=())
    with noise(seed, "vae"):
        encoder = KINDS["mlp"].encoder((P,), linear, family.size(D))
        decoder = KINDS["mlp"].decoder(D, linear, (1, P))
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.mul_(0.3)  # no sigma is far from 1: plain gradient descent gets along with that
    return VAE(encoder, decoder, PRIORS["standard_normal"](D), family, likelihood)


def weights(model: nn.Module) -> Tensor:
    """All that is learnt, in one row."""
    return torch.cat([p.detach().flatten().clone() for p in model.parameters() if p.requires_grad])


def experiment(
    *,
    epochs: int = 3,
    lr: float = 0.0,
    batch_size: int = 50,
    objective: Objective | None = None,
    data: Dataset | None = None,
    seed: int = 0,
    probe: Callable[[], Probed] | None = None,
    model: VAE | None = None,
    **plan: object,
) -> Experiment:
    """Plain gradient descent; at lr = 0 the model stands still and every epoch must say the same of it."""
    model = model or vae()
    trained = [p for p in model.parameters() if p.requires_grad]
    settled = Plan(epochs=epochs, batch_size=batch_size, lr=lambda epoch: lr)
    return Experiment(
        model=model,
        data=data or dataset(),
        optimizer=torch.optim.SGD(trained, lr=1.0),
        objective=objective or Objective(),
        plan=replace(settled, **plan),  # type: ignore[arg-type]
        seed=seed,
        device=CPU,
        probe=probe,
    )
