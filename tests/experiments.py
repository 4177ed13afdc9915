"""Experiments small enough to be followed by hand: linear maps on a few numbers, with every part settable."""

import math
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn

from elbo_cli.data.split import Dataset, Split
from elbo_cli.models.architecture import Architecture
from elbo_cli.models.choices import Choices
from elbo_cli.models.likelihoods import LIKELIHOODS, Options
from elbo_cli.models.networks import KINDS
from elbo_cli.models.posteriors import POSTERIORS
from elbo_cli.models.priors import PRIORS
from elbo_cli.models.vae import VAE
from elbo_cli.records import EpochRecord, Tick
from elbo_cli.runtime import noise
from elbo_cli.training.experiment import Experiment, Objective, Plan, Probed, Progress
from elbo_cli.training.loop import fit, records
from elbo_cli.training.step import PlainStep

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
    family, linear = POSTERIORS["diagonal_normal"](D, Choices()), Architecture(hidden=())
    with noise(seed, "vae"):
        encoder = KINDS["mlp"].encoder((P,), linear, family.size)
        decoder = KINDS["mlp"].decoder(D, linear, (1, P))
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.mul_(0.3)  # no sigma is far from 1: plain gradient descent gets along with that
    return VAE(encoder, decoder, PRIORS["standard_normal"](D, Choices()), family, likelihood)


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
    settled = replace(settled, **plan)  # type: ignore[arg-type]
    optimizer, objective = torch.optim.SGD(trained, lr=1.0), objective or Objective()
    return Experiment(
        model=model,
        data=data or dataset(),
        optimizer=optimizer,
        step=PlainStep(model, optimizer, objective, settled.clip_norm),
        objective=objective,
        plan=settled,
        seed=seed,
        device=CPU,
        probe=probe,
    )


def timeless(record: EpochRecord) -> EpochRecord:
    """A record without what a clock says."""
    probe = None if record.probe_seconds is None else 0.0
    return replace(record, seconds=0.0, probe_seconds=probe)


def trained(run: Experiment) -> list[EpochRecord]:
    return [timeless(record) for record in records(run)]


def stopped(run: Experiment, epoch: int) -> Progress:
    """Train to the end of an epoch; what is known of the past then, beside weights and moments."""
    return next(event[1] for event in fit(run) if not isinstance(event, Tick) and event[0].epoch == epoch)


def changed(run: Experiment) -> Tensor:
    """By how much training changes the weights."""
    before = weights(run.model)
    trained(run)
    return weights(run.model) - before


def closed_elbo(model: VAE, x: Tensor, sigma: float, beta: float = 1.0) -> Tensor:
    """The ELBO of linear maps, [N]: E_q |x - W z - b|^2 is |x - W mu - b|^2 + sum v_j |W_j|^2."""
    mu, log_sigma = model.encoder(x).chunk(2, -1)
    linear = model.decoder.net[0]  # type: ignore[index, union-attr]
    v = (2 * log_sigma).exp()
    error = (x - linear(mu)).square().sum(-1) + (v * linear.weight.square().sum(0)).sum(-1)
    kl = 0.5 * (v + mu.square() - 1 - 2 * log_sigma).sum(-1)
    return -0.5 * (P * math.log(2 * math.pi * sigma**2) + error / sigma**2) - beta * kl


def log_px(W: Tensor, b: Tensor, x: Tensor, sigma: float) -> Tensor:
    """log N(x; b, W W' + sigma^2 I), [N], in float64."""
    covariance = W.double() @ W.double().T + sigma**2 * torch.eye(P, dtype=torch.float64)
    return torch.distributions.MultivariateNormal(b.double(), covariance).log_prob(x.double())


def decoder_of(model: VAE) -> tuple[Tensor, Tensor]:
    linear = model.decoder.net[0]  # type: ignore[index, union-attr]
    return linear.weight, linear.bias
