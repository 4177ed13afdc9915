"""Importance sampling from q against public code."""

from collections.abc import Iterator

import torch
from torch import Tensor

from benchmarks.compare import Row, Setting, interleave, row
from elbo_cli import build, config
from elbo_cli.api import gap, subject_of
from elbo_cli.training.experiment import Experiment

TEXT = """
data: {name: digits}
model: {latent_dim: 50}
train: {gap_every: 0}
"""  # 64-200-200-50 tanh, Bernoulli, dynamic binarisation: the hot path, on data that need no file


def binary_experiment(batch_size: int) -> Experiment:
    return build.experiment(config.loads(TEXT, overrides=[f"train.batch_size={batch_size}"]))


def study(setting: Setting) -> Iterator[Row]:
    """L_5000 from q for 50 data, against one datum at a time with torch's own Bernoulli."""
    experiment = binary_experiment(100)
    subject = subject_of(experiment)
    few = type(subject)(subject.name, subject.model, subject.split.first(50), subject.data, 0, subject.device)
    seconds = interleave(
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
