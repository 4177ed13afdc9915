"""The processes that share a piece of work: who they are, how they come together, and what they tell each other."""

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor

from elbo_cli.errors import RunError, UserError
from elbo_cli.runtime import derive, launched

PATIENCE = "ELBO_PATIENCE"  # seconds that a process waits for the others, in the environment
PATIENT = 300.0


def rows_of(total: int, part: int, parts: int) -> slice:
    """The rows of one part of `total`: consecutive, and as many as any other part's or one more."""
    return slice(total * part // parts, total * (part + 1) // parts)


@dataclass(frozen=True, slots=True)
class Ranks:
    """Which of how many processes this is: the only one, unless `together` has joined others."""

    rank: int = 0
    size: int = 1

    @property
    def first(self) -> bool:
        """Whether this is the one that writes and speaks."""
        return self.rank == 0

    @property
    def strided(self) -> slice:
        """Every size-th of a list that all ranks hold: this rank's own."""
        return slice(self.rank, None, self.size)

    def rows(self, total: int) -> slice:
        """The rows of `total` that are this rank's own."""
        return rows_of(total, self.rank, self.size)


def restarts() -> bool:
    """Whether torchrun starts its processes again when one of them fails (`--max-restarts`)."""
    return os.environ.get("TORCHELASTIC_MAX_RESTARTS", "0") != "0"


@contextmanager
def together(device: torch.device) -> Iterator[Ranks]:
    """Join the processes that torchrun started, by gloo and on GPUs by nccl; alone where it started no other.

    Raises:
        UserError: ELBO_PATIENCE is no number of seconds.
        RunError: they do not come together.
    """
    if launched() == 1:
        yield Ranks()
        return
    os.environ.setdefault("TORCH_NCCL_BLOCKING_WAIT", "1")  # else a lost process ends this one without a sentence
    with _missed():
        _join("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo", timedelta(seconds=_patience()))
    try:
        yield ranks()
    finally:
        dist.destroy_process_group()


def _join(backend: str, patience: timedelta) -> None:
    """Meet the others where torchrun says: after a restart under another name, for it keeps addresses of the dead."""
    found, rank, size = next(dist.rendezvous("env://", timeout=patience))  # type: ignore[attr-defined]
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    store = dist.PrefixStore(f"attempt {attempt}", found)  # type: ignore[attr-defined]
    dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=patience)


def _patience() -> float:
    text = os.environ.get(PATIENCE, str(PATIENT))
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise UserError(f"{PATIENCE}={text} is no number of seconds above 0. Type {PATIENCE}=300, say.")
    return seconds


def ranks() -> Ranks:
    """The processes that work on one thing together."""
    if dist.is_available() and dist.is_initialized():
        return Ranks(dist.get_rank(), dist.get_world_size())
    return Ranks()


def summed(tensor: Tensor) -> Tensor:
    """The sum of the ranks' tensors, in place and with the same bits on each.

    Raises:
        RunError: a rank is missing.
    """
    if ranks().size > 1:
        with _missed():
            dist.all_reduce(tensor)
    return tensor


def joined(own: Mapping[int, Tensor], shapes: Sequence[tuple[int, ...]]) -> list[Tensor]:
    """Tensors of known shapes of which each rank has some; all of them, to the bit, on every rank.

    Args:
        own: this rank's, float64 on the CPU, by number.
        shapes: of all.

    Raises:
        RunError: a rank is missing.
    """
    sizes = [math.prod(shape) for shape in shapes]
    none = torch.zeros(0, dtype=torch.float64)
    flat = [own[n].flatten() if n in own else none.new_zeros(size) for n, size in enumerate(sizes)]
    bits = summed(torch.cat([none, *flat]).view(torch.int64))  # adding whole zeros changes no bit of a float
    pieces = torch.split(bits.view(torch.float64), sizes)
    return [piece.reshape(shape) for piece, shape in zip(pieces, shapes, strict=True)]


def refuse_others(what: str, mark: str) -> None:
    """Insist that all ranks have the same of something, such as data.

    Args:
        what: its name, for the message.
        mark: its digest on this rank.

    Raises:
        UserError: a rank has another.
        RunError: a rank is missing.
    """
    mine = torch.tensor([derive(0, mark)]).view(torch.float64)
    marks = torch.cat(joined({ranks().rank: mine}, [(1,)] * ranks().size)).view(torch.int64).tolist()
    others = [rank for rank, mark in enumerate(marks) if mark != marks[0]]
    if others:
        raise UserError(f"Process {others[0]} has another {what} than process 0. Give all of them the same.")


@contextmanager
def _missed() -> Iterator[None]:
    """Tell that a rank is missing in a sentence.

    Raises:
        RunError: in the place of what torch raises when a process has died, or is silent for too long.
    """
    try:
        yield
    except (RuntimeError, ValueError) as error:  # ValueError: nobody at the address, within the time
        raise RunError(
            f"Another process of this run has died, or was silent for {_patience():g} s ({PATIENCE} sets how long)."
        ) from error
