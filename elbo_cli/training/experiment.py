"""What training needs, and how far it has come."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor

from elbo_cli.data.split import Dataset
from elbo_cli.models.vae import VAE
from elbo_cli.records import EpochRecord
from elbo_cli.training.sides import UPDATES, Turns


@dataclass(frozen=True, slots=True)
class Objective:
    """What training climbs, a bound with K draws, and by which estimator of its gradient.

    Its KL is weighted by beta(epoch) and freed below `free_bits`.
    """

    bound: str = "elbo"
    gradient: str = "standard"
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
    shuffle_window: int | None = None  # how many data are shuffled together; None: all
    health: bool = False  # whether the gradient's signal and noise and the KL of each latent are measured


@dataclass(frozen=True, slots=True)
class Probed:
    """The gap on the probe: mean log p(x) (a lower bound) and gap, nats per datum."""

    log_px: float
    gap: float


class Optimizer(Protocol):
    """What training asks of an optimiser: torch.optim's have it, and training/adam.py."""

    param_groups: list[dict[str, Any]]

    def zero_grad(self) -> None:
        """Forget the gradients."""
        ...

    def step(self) -> Any:
        """Move the parameters along their gradients."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Its moments, as torch.optim names them."""
        ...

    def load_state_dict(self, state_dict: dict[str, Any], /) -> None:
        """Take them over."""
        ...


class Step(Protocol):
    """One update of the weights from one batch. The loop knows no more of how training is done.

    A step promises three things. It moves the model's weights and the optimiser's moments by one update, at the
    learning rate that the optimiser has then. It draws from the global generator alone, which its caller has seeded,
    and keeps nothing else from call to call: weights, moments and seed decide what comes. And it waits for no device.
    """

    def __call__(self, x: Tensor, beta: float) -> Tensor:
        """Learn from x [B, ...] on the experiment's device, with the KL weighted by beta.

        Returns:
            Sums over the batch, in nats, float64 [4] on that device, as the weights were before the update:
            bound, ELBO, reconstruction, KL, all at beta = 1. Where the loss is not finite, neither are they.
        """
        ...


@dataclass(frozen=True, slots=True)
class Experiment:
    """Everything that training needs, made by build.py: nothing in here is a name any more."""

    model: VAE
    data: Dataset
    optimizer: Optimizer
    step: Step
    objective: Objective
    plan: Plan
    seed: int
    device: torch.device
    probe: Callable[[], Probed] | None = None
    turns: Turns = field(default_factory=lambda: UPDATES["both"](1))


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


BEGINNING = Progress()
