"""Whose turn a step is: the encoder's, which closes the gap, the decoder's, which raises log p(x), or both's."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn

from elbo_cli.errors import UserError
from elbo_cli.models.vae import VAE


@dataclass(frozen=True, slots=True)
class Turn:
    """Which half of the ELBO a step moves."""

    encoder: bool  # q(z | x)
    decoder: bool  # p(x | z) and p(z), a learned sigma among them


Turns = Callable[[int], Turn]  # number of the step since the beginning (0, 1, ...) -> whose it is
BOTH, ENCODER, DECODER = Turn(True, True), Turn(True, False), Turn(False, True)

UPDATES: dict[str, Callable[[int], Turns]] = {  # of how many encoder steps come before a decoder step
    "both": lambda encoder_steps: lambda step: BOTH,
    "encoder": lambda encoder_steps: lambda step: ENCODER,
    "decoder": lambda encoder_steps: lambda step: DECODER,
    "alternate": lambda encoder_steps: lambda step: DECODER if step % (encoder_steps + 1) == encoder_steps else ENCODER,
}


@contextmanager
def moving(model: VAE, turn: Turn) -> Iterator[None]:
    """Let one half of the model learn and hold the other still, as it is in an evaluation, while a step is taken.

    What is still gets no gradient, so that an optimiser leaves its weights and its moments as they are, and is not in
    training, so that a normalisation keeps its running statistics.
    """
    encoder, decoder = model.halves()
    still = [*([] if turn.encoder else encoder), *([] if turn.decoder else decoder)]
    frozen = [p for module in still for p in module.parameters() if p.requires_grad]
    training = [module for part in still for module in part.modules() if module.training]
    for parameter in frozen:
        parameter.requires_grad_(False)
    _set_training(training, False)
    try:
        yield
    finally:
        for parameter in frozen:
            parameter.requires_grad_(True)
        _set_training(training, True)


def _set_training(modules: Iterable[nn.Module], mode: bool) -> None:
    for module in modules:
        module.training = mode


def refuse_shared(model: VAE) -> None:
    """Insist that log p(x) stands still when the encoder alone is trained.

    Raises:
        UserError: p(z) is made with the encoder's weights, as a VampPrior is; or it is none before the first step.
    """
    try:
        shared = _shared(model)
    except torch.linalg.LinAlgError as error:  # type: ignore[attr-defined]  # its documented name
        raise UserError(
            "A covariance is not positive definite before the first step: the data are too large for these networks. "
            "Type data.scale=NUMBER, by which they are divided."
        ) from error
    if shared:
        raise UserError(
            "train.update is encoder, which leaves log p(x) as it is, but this p(z) looks through the encoder and "
            "would move with it. Choose model.prior=standard_normal, or train.update=both."
        )


def _shared(model: VAE) -> bool:
    """Whether log p(z) moves with a weight of the encoder."""
    encoder, _ = model.halves()
    weights = [p for module in encoder for p in module.parameters() if p.requires_grad]
    with torch.enable_grad():
        pz = model.prior()
        log_pz = pz.log_prob(torch.zeros(pz.event_shape, device=weights[0].device)).sum()
        return log_pz.requires_grad and any(
            g is not None for g in torch.autograd.grad(log_pz, weights, allow_unused=True)
        )
