"""Where nothing is written out by hand: an epoch of other models against a bare loop with the same networks."""

import copy
import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.distributions import ContinuousBernoulli
from torch.nn.functional import binary_cross_entropy_with_logits as bce

from benchmarks.compare import Row, Setting, interleave, row
from benchmarks.images import as_files
from elbo_cli import build, config
from elbo_cli.runtime import finished
from elbo_cli.training.experiment import Experiment
from elbo_cli.training.loop import _train

LogProb = Callable[[Experiment, Tensor, Tensor], Tensor]  # x [N, 784], outputs [K, N, 784] -> log p(x | z) [K, N]


def bernoulli(run: Experiment, x: Tensor, outputs: Tensor) -> Tensor:
    return -bce(outputs, x.expand_as(outputs), reduction="none").sum(-1)


def continuous_bernoulli(run: Experiment, x: Tensor, outputs: Tensor) -> Tensor:
    log_p: Tensor = ContinuousBernoulli(logits=outputs, validate_args=False).log_prob(x).sum(-1)
    return log_p


def gaussian(run: Experiment, x: Tensor, outputs: Tensor) -> Tensor:
    log_sigma: Any = run.model.visible.log_sigma
    white = (x - outputs) * (-log_sigma).exp()
    return -0.5 * white.square().sum(-1) - x.shape[-1] * (log_sigma + 0.5 * math.log(2 * math.pi))


CASES: dict[str, tuple[LogProb, tuple[str, ...]]] = {
    "Bernoulli, by autograd": (bernoulli, ("data.binarize=threshold", "train.step=plain")),
    "Bernoulli, layers normalised": (
        bernoulli,
        ("data.binarize=threshold", "model.encoder.norm=layer", "model.decoder.norm=layer"),
    ),
    "Bernoulli, convolutions": (
        bernoulli,
        ("data.binarize=threshold", "model.encoder.kind=conv", "model.decoder.kind=conv"),
    ),
    "Gaussian, sigma learned": (gaussian, ("model.likelihood=gaussian",)),
    "continuous Bernoulli": (continuous_bernoulli, ("model.likelihood=continuous_bernoulli",)),
    "Gaussian, iwae, k = 5": (
        gaussian,
        ("model.likelihood=gaussian", "objective.bound=iwae", "objective.samples=5"),
    ),
}


def study(setting: Setting) -> Iterator[Row]:
    """Batches of 20 and of 100, one thread."""
    with as_files(setting, 2200) as paths:
        for name, (log_px_z, overrides) in CASES.items():
            for batch in (20, 100):
                run = experiment(paths["grey"], batch, *overrides)
                contenders = {"elbo train": lambda run=run: finished(_train(run, 1)), "bare loop": bare(run, log_px_z)}  # type: ignore[misc]
                seconds = interleave(contenders, rounds=5)
                yield row(f"an epoch of 2,000 images, {name}, batch {batch}", seconds, "elbo train", "bare loop")


def experiment(path: str, batch: int, *overrides: str) -> Experiment:
    base = (f"data.path={path}", "data.name=arrays", "data.valid=100", "data.test=100", "train.gap_every=0")
    return build.experiment(config.loads("seed: 0\n", overrides=[*base, f"train.batch_size={batch}", *overrides]))


def bare(run: Experiment, log_px_z: LogProb) -> Callable[[], None]:
    """The least that trains a model of the same networks: autograd, tensors in memory, torch's fused Adam."""
    twin = replace(run, model=copy.deepcopy(run.model))
    x = run.data.train.batch(torch.arange(len(run.data.train)))
    optimizer = torch.optim.Adam([p for p in twin.model.parameters() if p.requires_grad], lr=1e-3, fused=True)
    K, climb = run.objective.samples, minus_iwae if run.objective.bound == "iwae" else minus_elbo

    def epoch() -> None:
        for index in torch.randperm(len(x)).split(run.plan.batch_size):
            optimizer.zero_grad()
            climb(twin, x[index], K, log_px_z).backward()
            optimizer.step()

    return epoch


def minus_elbo(run: Experiment, x: Tensor, K: int, log_px_z: LogProb) -> Tensor:
    mu, log_sigma = run.model.encoder(x).chunk(2, -1)
    sigma = log_sigma.exp()
    outputs = run.model.decoder(mu + sigma * torch.randn(K, *mu.shape)).flatten(2)
    kl = 0.5 * (mu.square() + sigma.square() - 1 - 2 * log_sigma).sum(-1)
    return (kl - log_px_z(run, x.flatten(1), outputs).mean(0)).mean()


def minus_iwae(run: Experiment, x: Tensor, K: int, log_px_z: LogProb) -> Tensor:
    mu, log_sigma = run.model.encoder(x).chunk(2, -1)
    eps = torch.randn(K, *mu.shape)
    z = mu + log_sigma.exp() * eps
    outputs = run.model.decoder(z).flatten(2)
    ratio = (0.5 * (eps.square() - z.square()) + log_sigma).sum(-1)
    return math.log(K) - (log_px_z(run, x.flatten(1), outputs) + ratio).logsumexp(0).mean()
