"""The loop over epochs: a generator of records."""

import math
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from elbo_cli.data.split import Split
from elbo_cli.errors import RunError
from elbo_cli.evaluation import measure
from elbo_cli.ranks import ranks, summed
from elbo_cli.records import EpochRecord, Tick
from elbo_cli.runtime import noise
from elbo_cli.training.company import own_noise, own_rows, own_sums
from elbo_cli.training.experiment import BEGINNING, Experiment, Probed, Progress
from elbo_cli.training.health import health
from elbo_cli.training.order import visiting
from elbo_cli.training.sides import moving

CELLS = 2**18  # values fetched together: 1 MB as float32, which stays in the cache
BATCHES_A_TICK = 50  # batches between two looks at the losses: a look waits for the device


def fit(experiment: Experiment, past: Progress = BEGINNING) -> Iterator[tuple[EpochRecord, Progress] | Tick]:
    """Train epoch by epoch from `past` to the plan's end, or to the end of its patience.

    Yields:
        a Tick every few batches, and after every epoch its record with the progress so far. Weights, moments and
        progress at that moment are all that a checkpoint needs: every epoch draws from seeds of its own.

    Raises:
        RunError: a loss is not finite, or a covariance not positive definite; the sentence names epoch and batch. The
            weights are then lost.
    """
    if past.last.epoch == 0 and experiment.probe and experiment.plan.gap_every:
        with _positive_definite(0):
            past = replace(past, probed=experiment.probe())
    while past.last.epoch < experiment.plan.epochs and past.patience_left(experiment.plan.patience):
        began = time.perf_counter()
        epoch = past.last.epoch + 1
        with _positive_definite(epoch):
            record = yield from _train(experiment, epoch)
            record = replace(record, step=past.last.step + _batches(experiment), **_validated(experiment, epoch))
            if experiment.plan.health:
                record = replace(record, **health(experiment, record.beta))
            probed, ledger = _probe(experiment, epoch, past.probed)
        spent = past.last.seconds + time.perf_counter() - began
        record = replace(record, seconds=spent, **ledger)
        past = past.after(record, probed)
        yield record, past


@contextmanager
def _positive_definite(epoch: int) -> Iterator[None]:
    """A covariance that cannot be factored is a loss that is not finite: the weights have run away.

    Raises:
        RunError: in the place of torch's own.
    """
    try:
        yield
    except torch.linalg.LinAlgError as error:  # type: ignore[attr-defined]  # its documented name
        raise RunError(
            f"A covariance is not positive definite any more at epoch {epoch}. "
            "Lower optim.lr, or set optim.clip_norm=1.0."
        ) from error


def records(experiment: Experiment, past: Progress = BEGINNING) -> Iterator[EpochRecord]:
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
        order = visiting(len(split), plan.shuffle_window).to(experiment.device)
    sums = torch.zeros(4, dtype=torch.float64, device=experiment.device)
    done, batches = 0, _batches(experiment)
    for stretch in torch.split(order, BATCHES_A_TICK * min(plan.batch_size, len(split))):
        before = (epoch - 1) * batches + done  # steps since the beginning
        with noise(experiment.seed, "train", epoch, done, device=experiment.device):
            visited = enumerate(_visited(split, stretch, plan.batch_size))
            rows = torch.stack([_step(experiment, x, B, beta, before + i) for i, (x, B) in visited])
        summed(rows)  # over ranks, each of which saw its own rows of every batch
        _insist_on_finite(rows, epoch, done)
        sums += rows.sum(0)
        done += len(rows)
        yield Tick(done=done, total=batches, what=f"epoch {epoch}")
    bound, total, recon, divergence = (sums / len(split)).tolist()
    return EpochRecord(
        epoch=epoch,
        lr=lr,
        beta=beta,
        free_bits=objective.free_bits,
        implied_beta=_implied(experiment, beta),
        train_elbo=total,
        train_reconstruction=recon,
        train_kl=divergence,
        train_bound=None if objective.bound == "elbo" else bound,
    )


def _step(experiment: Experiment, x: Tensor, B: int, beta: float, number: int) -> Tensor:
    """One step of whoever's turn it is, on this rank's rows x of a batch of B; see `Step` for what it returns."""
    turn = experiment.turns(number)
    # nothing to hold still, at every step of the hot path
    still = nullcontext() if turn.encoder and turn.decoder else moving(experiment.model, turn)
    with still, own_noise(B):
        return own_sums(experiment.step(x, beta), B)


def _implied(experiment: Experiment, beta: float) -> float | None:
    """The KL's weight beside |x - mean|^2 / 2, beta sigma^2, where there is one sigma."""
    variance = experiment.model.visible.variance()
    return None if variance is None or variance.dim() else beta * variance.item()


def _visited(split: Split, index: Tensor, batch_size: int) -> Iterator[tuple[Tensor, int]]:
    """The data at `index` in batches, of each this rank's own rows, with the size of the whole batch.

    They are fetched and drawn in blocks: a call for every batch would cost as much again.
    """
    block = max(1, CELLS // (batch_size * math.prod(split.shape)))
    for rows in torch.split(index, block * batch_size):
        batches = torch.split(torch.arange(len(rows)), batch_size)
        own = [batch[own_rows(len(batch))] for batch in batches]
        x = split.batch(rows) if ranks().size == 1 else split.rows_of_batch(rows, torch.cat(own))
        yield from zip(torch.split(x, [len(each) for each in own]), map(len, batches), strict=True)


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
    means: dict[str, Any] = {
        "valid_elbo": measured.elbo.mean().item(),
        "valid_reconstruction": measured.reconstruction.mean().item(),
        "valid_kl": measured.kl.mean().item(),
        "active_units": measured.active_units,
    }
    if experiment.plan.health and measured.kl_per_latent is not None:
        means["kl_per_latent"] = tuple(measured.kl_per_latent.tolist())
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
