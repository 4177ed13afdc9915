"""Where and with which noise the work runs: device, threads, derived seeds."""

import hashlib
import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from threading import RLock
from typing import Any, TypeVar

import torch

from elbo_cli.errors import UserError, choose

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


def abreast(work: Callable[[S], T], items: Iterable[S], workers: int) -> Iterator[T]:
    """Work on each of the items, the results in their order; several items at a time, each on a core of its own.

    Every item is computed by one thread, so that its bits do not depend on how many there are. What draws inside must
    do so in `noise`, of which there is one at a time; a few results at most wait for their turn.
    """
    if workers == 1:
        yield from map(work, items)
        return
    pool, waiting = ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)), deque[Future[T]]()
    with single_threaded():
        try:
            for item in items:
                waiting.append(pool.submit(work, item))
                if len(waiting) > 2 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


@contextmanager
def single_threaded() -> Iterator[None]:
    """Let torch compute with one thread meanwhile: then no bit depends on how many there are."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


LAUNCH = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")  # what torchrun tells each process


def launched() -> int:
    """How many processes torchrun started, this one among them; 1 where it did not start this one."""
    return int(os.environ["WORLD_SIZE"]) if all(name in os.environ for name in LAUNCH) else 1


def _auto() -> torch.device:
    return _cuda() if torch.cuda.is_available() else torch.device("cpu")


def _cuda() -> torch.device:
    """The GPU; of several processes on a machine each has its own."""
    return torch.device("cuda", int(os.environ["LOCAL_RANK"])) if launched() > 1 else torch.device("cuda")


DEVICES: dict[str, Callable[[], torch.device]] = {
    "auto": _auto,
    "cpu": lambda: torch.device("cpu"),
    "cuda": _cuda,
}


def open_device(name: str) -> torch.device:
    """The device called `auto`, `cpu` or `cuda`.

    Raises:
        UserError: there is no such device on this machine, or it cannot sum in float64.
    """
    if name == "mps":
        raise UserError("The device 'mps' has no float64, in which all sums here are taken. Type --device cpu.")
    device = choose(DEVICES, name, "device")()
    if device.type == "cuda" and not torch.cuda.is_available():
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
