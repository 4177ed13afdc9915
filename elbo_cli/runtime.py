"""Where and with which noise the work runs: device, threads, derived seeds, and the processes that share it."""

import hashlib
import math
import os
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from threading import RLock
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from elbo_cli.errors import RunError, UserError, choose

S = TypeVar("S")
T = TypeVar("T")

_GENERATOR = RLock()  # torch's global generator serves one place at a time


def derive(seed: int, *path: str | int) -> int:
    """A seed of its own for every place that draws noise: a hash of the run's seed and the place's name.

    Two places never share noise by accident, and the noise of a place depends on nothing that ran before it.
    """
    digest = hashlib.blake2b(repr((seed, *path)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1  # 63 bits: torch takes a signed 64-bit seed


@contextmanager
def noise(seed: int, *path: str | int, device: torch.device | None = None) -> Iterator[None]:
    """Draw what is inside from the seed derived for `path`; leave the global generators as they were found.

    torch.distributions know only the global generator, so that is the one that is set. On the CPU it is set directly:
    `torch.manual_seed` would walk the stack for every other device each time, and this is called for every tile.
    """
    cuda = device is not None and device.type == "cuda"
    if device is not None and device.type != "cpu":
        with torch.random.fork_rng(devices=[device] if cuda else []):
            torch.manual_seed(derive(seed, *path))
            yield
        return
    with _GENERATOR:
        before = torch.default_generator.get_state()
        torch.default_generator.manual_seed(derive(seed, *path))
        try:
            yield
        finally:
            torch.default_generator.set_state(before)


def abreast(work: Callable[[S], T], items: Sequence[S], workers: int) -> Iterator[T]:
    """Work on each of the items, the results in their order; several items at a time, each on a core of its own.

    Every item is computed by one thread, so that its bits do not depend on how many there are. What draws inside must
    do so in `noise`, of which there is one at a time; a few results at most wait for their turn.
    """
    if workers == 1:
        yield from map(work, items)
        return
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    pool, waiting = ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)), deque[Future[T]]()
    try:
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) > 2 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(threads)


def _auto() -> torch.device:
    if torch.cuda.is_available():
        return _cuda()
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def _cuda() -> torch.device:
    """The GPU; of several processes on a machine each has its own."""
    return torch.device("cuda", int(os.environ["LOCAL_RANK"])) if launched() > 1 else torch.device("cuda")


DEVICES: dict[str, Callable[[], torch.device]] = {
    "auto": _auto,
    "cpu": lambda: torch.device("cpu"),
    "cuda": _cuda,
    "mps": lambda: torch.device("mps"),
}


def open_device(name: str) -> torch.device:
    """The device called `auto`, `cpu`, `cuda` or `mps`.

    Raises:
        UserError: there is no such device on this machine.
    """
    device = choose(DEVICES, name, "device")()
    missing = (device.type == "cuda" and not torch.cuda.is_available()) or (
        device.type == "mps" and not torch.backends.mps.is_available()
    )
    if missing:
        raise UserError(f"This machine has no device '{name}' that torch can use. Type --device cpu, or auto.")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UserError(
            f"Process {device.index} of this machine has no GPU of its own: there are {torch.cuda.device_count()}. "
            "Start as many with torchrun --nproc-per-node, or type --device cpu."
        )
    return device


def finished(work: Generator[Any, None, T]) -> T:
    """Run a generator to its end, for its result alone."""
    while True:
        try:
            next(work)
        except StopIteration as stop:
            return stop.value  # type: ignore[no-any-return]  # a generator's result comes untyped


def settle(threads: int) -> None:
    """Set torch's number of threads and flush denormals: both change speed, and threads the last bits of sums."""
    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)


LAUNCH = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")  # what torchrun tells each process
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


def launched() -> int:
    """How many processes torchrun started, this one among them; 1 where it did not start this one."""
    return int(os.environ["WORLD_SIZE"]) if all(name in os.environ for name in LAUNCH) else 1


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
