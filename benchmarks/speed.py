"""Speed as ratios of medians in one run, the contenders in turn: A B A B ..."""

import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits as bce

from elbo_cli import build, config
from elbo_cli.api import gap, subject_of
from elbo_cli.runtime import finished
from elbo_cli.training.experiment import Experiment
from elbo_cli.training.loop import _train

TEXT = """
data: {name: digits}
model: {latent_dim: 50}
train: {gap_every: 0}
"""  # 64-200-200-50 tanh, Bernoulli, dynamic binarisation: the hot path, on data that need no file


def compare(contenders: dict[str, Callable[[], None]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each contender, one warm-up and then `rounds` runs of each in turn."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for run in range(rounds + 1):
        for name, work in contenders.items():
            began = time.perf_counter()
            work()
            if run:
                seconds[name].append(time.perf_counter() - began)
    return seconds


def row(name: str, seconds: dict[str, list[float]], ours: str, baseline: str) -> dict[str, Any]:
    """The ratio of medians; no conclusion where the spread of the pairwise ratios holds 1."""
    ratios = [a / b for a, b in zip(seconds[ours], seconds[baseline], strict=True)]
    return {
        "name": name,
        "baseline": baseline,
        "ratio": round(statistics.median(ratios), 3),
        "spread": [round(min(ratios), 3), round(max(ratios), 3)],
        "median_seconds": {each: round(statistics.median(times), 3) for each, times in seconds.items()},
        "conclusive": not min(ratios) < 1 < max(ratios),
        "threads": torch.get_num_threads(),
    }


def binary_experiment(batch_size: int) -> Experiment:
    return build.experiment(config.loads(TEXT, overrides=[f"train.batch_size={batch_size}"]))


def training() -> Iterator[dict[str, Any]]:
    """An epoch of `elbo train`, metrics included, against a bare loop: tensors in memory, fused Adam, nothing else."""
    for batch_size in (20, 100):
        experiment = binary_experiment(batch_size)
        seconds = compare(
            {"elbo": lambda e=experiment: finished(_train(e, 1)), "bare loop": bare_loop(experiment)},  # type: ignore[misc]
            rounds=7,
        )
        yield row(f"an epoch of 1,437 8x8 images, batch {batch_size}", seconds, "elbo", "bare loop")


def bare_loop(experiment: Experiment) -> Callable[[], None]:
    """The least that trains the same model on the same data."""
    data, size = experiment.data.train, experiment.plan.batch_size
    pixels = data.batch(torch.arange(len(data))).flatten(1)
    encoder, decoder = experiment.model.encoder.net, experiment.model.decoder.net
    optimizer = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], lr=1e-3, fused=True)

    def epoch() -> None:
        for index in torch.randperm(len(pixels)).split(size):
            optimizer.zero_grad()
            loss(encoder, decoder, torch.bernoulli(pixels[index])).backward()
            optimizer.step()

    return epoch


def loss(encoder: nn.Module, decoder: nn.Module, x: Tensor) -> Tensor:
    mu, log_sigma = encoder(x).chunk(2, -1)
    sigma = log_sigma.exp()
    logits = decoder(mu + sigma * torch.randn_like(mu))
    kl = 0.5 * (mu.square() + sigma.square() - 1 - 2 * log_sigma).sum()
    return (bce(logits, x, reduction="sum") + kl) / len(x)


def importance() -> Iterator[dict[str, Any]]:
    """L_5000 from q for 50 data, against one datum at a time with torch's own Bernoulli."""
    experiment = binary_experiment(100)
    subject = subject_of(experiment)
    few = type(subject)(subject.name, subject.model, subject.split.first(50), subject.data, 0, subject.device)
    seconds = compare(
        {
            "elbo": lambda: gap(few, 5000, method="importance", proposal="posterior") and None,
            "one datum at a time": lambda: one_at_a_time(experiment, few.split.batch(torch.arange(50)), 5000),
        },
        rounds=5,
    )
    yield row("L_5000 of 50 data", seconds, "elbo", "one datum at a time")


@torch.no_grad()
def one_at_a_time(experiment: Experiment, x: Tensor, K: int) -> None:
    """What public code does: torch.distributions, K draws of one datum, no streaming."""
    model = experiment.model
    for datum in x.split(1):
        q = model.posterior(datum)
        z = q.sample((K,))
        px_z = torch.distributions.Bernoulli(logits=model.decoder(z).squeeze(2), validate_args=False)
        log_w = px_z.log_prob(datum).flatten(2).sum(-1) + model.prior().log_prob(z) - q.log_prob(z)
        log_w.logsumexp(0)
