"""elbo from Python: the same four jobs as on the command line, on objects instead of files.

from elbo_cli.api import evaluate, fit, gap, load, open_subject, subject_of
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from elbo_cli import build
from elbo_cli import config as configs
from elbo_cli.evaluation import evaluate as evaluate_model
from elbo_cli.gap.log_weights import blocks_of_log_weights
from elbo_cli.gap.methods import measure_gap, settled
from elbo_cli.gap.settings import Settings, default_draws
from elbo_cli.records import EpochRecord, Evaluation, GapFindings
from elbo_cli.runtime import finished
from elbo_cli.subject import Subject, open_subject
from elbo_cli.training.experiment import Experiment
from elbo_cli.training.loop import records

__all__ = ["Experiment", "Subject", "evaluate", "fit", "gap", "load", "log_weights", "open_subject", "subject_of"]


def load(path: Path | str, overrides: Sequence[str] = (), device: torch.device = build.CPU) -> Experiment:
    """A config file as an experiment: data loaded and checked, model made, nothing written.

    Raises:
        UserError: the config, the data, or their fit.
    """
    return build.experiment(configs.load(path, overrides), device)


def fit(experiment: Experiment) -> Iterator[EpochRecord]:
    """Train, epoch by epoch: reconstruction, KL and ELBO in nats per datum. Writes no file.

    Raises:
        RunError: a loss is not finite.
    """
    return records(experiment)


def subject_of(experiment: Experiment, split: str = "test") -> Subject:
    """An experiment's model as it now is, with one of its splits, to be measured."""
    return Subject(
        name=experiment.data.name,
        model=experiment.model.eval(),
        split=experiment.data.split(split).frozen(),
        data=experiment.data.name,
        seed=experiment.seed,
        device=experiment.device,
    )


def evaluate(subject: Subject, samples: int = 10) -> Evaluation:
    """ELBO, reconstruction and KL with standard errors across data, in nats per datum."""
    return evaluate_model(
        subject.model, subject.split, data=subject.data, samples=samples, seed=subject.seed, device=subject.device
    )


def gap(
    subject: Subject,
    samples: int | None = None,
    *,
    tolerance: float | None = None,
    method: str = "auto",
    proposal: str = "auto",
    delta: float = 0.05,
) -> GapFindings:
    """ELBO, log p(x) and the gap between them, with errors, certificate and verdict, in nats per datum.

    Args:
        subject: model and data.
        samples: K, draws for each datum; None: 500, unless a tolerance is given or the model allows an exact answer.
        tolerance: nats that log p(x) is wanted to, in the place of `samples`.
        method: a name in `gap.methods.METHODS`.
        proposal: a name in `gap.proposals.PROPOSALS`.
        delta: probability that the certificate may fail.

    Raises:
        UserError: there is no such method or proposal.
        RunError: the model gives no finite number.
    """
    K = samples or default_draws(method)
    settings = Settings(K=K, proposal=proposal, delta=delta, seed=subject.seed, device=subject.device).to(tolerance)
    return finished(measure_gap(subject.model, subject.split, settled(method, samples, proposal), settings))


def log_weights(subject: Subject, samples: int = 500, *, proposal: str = "auto") -> Iterator[tuple[Tensor, Tensor]]:
    """The log-weights that `gap` with as many samples judges, in blocks of 32 data.

        log w = log p(x, z) - log r(z),    z ~ r, the proposal

    Args:
        subject: model and data.
        samples: K, draws for each datum.
        proposal: a name in `gap.proposals.PROPOSALS`.

    Yields:
        which data of the split, [n], and their log-weights, [K, n] float64, in nats.

    Raises:
        UserError: there is no such proposal.
    """
    settings = Settings(K=samples, proposal=proposal, seed=subject.seed, device=subject.device)
    return blocks_of_log_weights(subject.model, subject.split, settings)
