"""Training: a loop that yields records. It writes no file and prints no line; its caller does."""

import math
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from elbo_cli.bounds.draws import Draws, draw, kl_per_latent
from elbo_cli.bounds.lower import BOUNDS, Bound, free_bits, kl, reconstruction, tempered
from elbo_cli.data.split import Dataset, Split
from elbo_cli.errors import RunError
from elbo_cli.evaluation import measure
from elbo_cli.models.vae import VAE
from elbo_cli.records import EpochRecord, Tick
from elbo_cli.runtime import noise

BATCHES_A_TICK = 50  # batches between two looks at the losses: a look waits for the device


@dataclass(frozen=True, slots=True)
class Objective:
    """What training climbs: a bound with K draws, its KL weighted by beta(epoch) and freed below `free_bits`."""

    bound: str = "elbo"
    samples: int = 1
    beta: Callable[[int], float] = lambda epoch: 1.0
    free_bits: float = 0.0


@dataclass(frozen=True, slots=True)
class Plan:
    """How long and in what pieces to train; `lr` gives the learning rate of an epoch (1, 2, ...)."""

    epochs: int
    batch_size: int
    lr: Callable[[int], float]
    clip_norm: float | None = None
    patience: int | None = None
    gap_every: int = 0


@dataclass(frozen=True, slots=True)
class Probed:
    """The gap on the probe: mean log p(x) (a lower bound) and gap, nats per datum."""

    log_px: float
    gap: float


@dataclass(frozen=True, slots=True)
class Experiment:
    """Everything that training needs, made by build.py: nothing in here is a name any more."""

    model: VAE
    data: Dataset
    optimizer: torch.optim.Optimizer
    objective: Objective
    plan: Plan
    seed: int
    device: torch.device
    probe: Callable[[], Probed] | None = None


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run has come: what training must know of its past, beside weights and moments."""

    last: EpochRecord = field(default_factory=EpochRecord)
    best: EpochRecord | None = None
    probed: Probed | None = None

    def after(self, record: EpochRecord, probed: Probed | None) -> "Progress":
        """The progress once `record` is there too."""
        better = self.best is None or record.score > self.best.score
        return Progress(record, record if better else self.best, probed or self.probed)

    def patience_left(self, patience: int | None) -> bool:
        """Whether an epoch within `patience` was the best."""
        return patience is None or self.best is None or self.last.epoch - self.best.epoch < patience


def fit(experiment: Experiment, past: Progress = Progress()) -> Iterator[tuple[EpochRecord, Progress] | Tick]:  # frozen
    """Train epoch by epoch from `past` to the plan's end, or to the end of its patience.

    Yields:
        a Tick every few batches, and after every epoch its record with the progress so far. Weights, moments and
        progress at that moment are all that a checkpoint needs: every epoch draws from seeds of its own.

    Raises:
        RunError: a loss is not finite; the sentence names epoch and batch. The weights are then lost.
    """
    if past.last.epoch == 0 and experiment.probe and experiment.plan.gap_every:
        past = replace(past, probed=experiment.probe())
    while past.last.epoch < experiment.plan.epochs and past.patience_left(experiment.plan.patience):
        began = time.perf_counter()
        epoch = past.last.epoch + 1
        record = yield from _train(experiment, epoch)
        record = replace(record, step=past.last.step + _batches(experiment), **_validated(experiment, epoch))
        probed, ledger = _probe(experiment, epoch, past.probed)
        spent = past.last.seconds + time.perf_counter() - began
        record = replace(record, seconds=spent, **ledger)
        past = past.after(record, probed)
        yield record, past


def records(experiment: Experiment, past: Progress = Progress()) -> Iterator[EpochRecord]:
    """`fit` without its ticks: the records of the epochs alone."""
    return (event[0] for event in fit(experiment, past) if not isinstance(event, Tick))


def _batches(experiment: Experiment) -> int:
    return math.ceil(len(experiment.data.train) / experiment.plan.batch_size)


def _train(experiment: Experiment, epoch: int) -> Generator[Tick, None, EpochRecord]:
    """One pass over the training data; returns its record."""
    split, plan, objective = experiment.data.train, experiment.plan, experiment.objective
    lr, beta = plan.lr(epoch), objective.beta(epoch)
    for group in experiment.optimizer.param_groups:
        group["lr"] = lr
    experiment.model.train()
    with noise(experiment.seed, "order", epoch):
        order = torch.randperm(len(split)).to(experiment.device)
    pieces = torch.split(order, plan.batch_size)
    sums = torch.zeros(4, dtype=torch.float64, device=experiment.device)
    for first in range(0, len(pieces), BATCHES_A_TICK):
        with noise(experiment.seed, "train", epoch, first, device=experiment.device):
            rows = torch.stack(
                [_update(experiment, split, index, beta) for index in pieces[first : first + BATCHES_A_TICK]]
            )
        _insist_on_finite(rows, epoch, first)
        sums += rows.sum(0)
        yield Tick(done=min(first + BATCHES_A_TICK, len(pieces)), total=len(pieces), what=f"epoch {epoch}")
    bound, total, recon, divergence = (sums / len(split)).tolist()
    return EpochRecord(
        epoch=epoch,
        lr=lr,
        beta=beta,
        train_elbo=total,
        train_reconstruction=recon,
        train_kl=divergence,
        train_bound=None if objective.bound == "elbo" else bound,
    )


def _update(experiment: Experiment, split: Split, index: Tensor, beta: float) -> Tensor:
    """One gradient step; returns the batch's sums of bound, ELBO, reconstruction and KL, all at beta = 1."""
    model, objective = experiment.model, experiment.objective
    x = split.batch(index)
    qz_x = model.posterior(x)
    bound = BOUNDS[objective.bound]
    draws = draw(model, x, objective.samples, qz_x, weights=bound.weights)
    target = draws if beta == 1 else tempered(draws, beta)
    if objective.free_bits:
        per_latent = kl_per_latent(qz_x, model.prior())
        assert per_latent is not None, "build refuses free bits where the KL has no closed form for each latent"
        target = replace(target, kl=free_bits(per_latent, objective.free_bits) * beta)
    experiment.optimizer.zero_grad()
    loss = -bound.estimate(target).mean()
    loss.backward()  # type: ignore[no-untyped-call]
    if experiment.plan.clip_norm is not None:
        nn.utils.clip_grad_norm_(model.parameters(), experiment.plan.clip_norm)
    experiment.optimizer.step()
    return _sums(draws, bound)


@torch.no_grad()
def _sums(draws: Draws, bound: Bound) -> Tensor:
    """Sums, not means, because the last batch is short: [bound, ELBO, reconstruction, KL]."""
    recon, divergence = reconstruction(draws).sum(), kl(draws).sum()
    total = recon - divergence
    return torch.stack([bound.estimate(draws).sum() if bound.weights else total, total, recon, divergence])


def _insist_on_finite(rows: Tensor, epoch: int, first: int) -> None:
    bad = (~rows.isfinite().all(1)).nonzero()
    if len(bad):
        batch = first + int(bad[0]) + 1
        raise RunError(
            f"The loss is not finite at epoch {epoch}, batch {batch}. Lower optim.lr, or set optim.clip_norm=1.0."
        )


def _validated(experiment: Experiment, epoch: int) -> dict[str, Any]:
    """The validation columns: the same data and the same noise every epoch, so that epochs compare."""
    if not len(experiment.data.valid):
        return {}
    objective = experiment.objective
    K = objective.samples if objective.bound != "elbo" else 1
    measured = measure(experiment.model, experiment.data.valid, K, experiment.seed, experiment.device)
    means = {
        "valid_elbo": measured.elbo.mean().item(),
        "valid_reconstruction": measured.reconstruction.mean().item(),
        "valid_kl": measured.kl.mean().item(),
        "active_units": measured.active_units,
    }
    if objective.bound != "elbo":
        means["valid_bound"] = measured.iwae.mean().item()
    if not math.isfinite(means["valid_elbo"] or 0.0):
        raise RunError(
            f"The validation ELBO is not finite after epoch {epoch}. Lower optim.lr, or set optim.clip_norm=1.0."
        )
    return means


def _probe(experiment: Experiment, epoch: int, before: Probed | None) -> tuple[Probed | None, dict[str, Any]]:
    """The gap on the probe, and the ledger's columns: how much of the change was the model and how much the bound."""
    if experiment.probe is None or not experiment.plan.gap_every or epoch % experiment.plan.gap_every:
        return None, {}
    began = time.perf_counter()
    now = experiment.probe()
    row = {"valid_log_px": now.log_px, "valid_gap": now.gap, "probe_seconds": time.perf_counter() - began}
    if before is not None:
        row |= {"delta_log_px": now.log_px - before.log_px, "delta_gap": now.gap - before.gap}
    return now, row
