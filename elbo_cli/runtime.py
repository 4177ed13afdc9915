"""Where and with which noise the work runs: device, threads and derived seeds."""

import hashlib
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch

from elbo_cli.errors import UserError, choose

T = TypeVar("T")


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
    before = torch.default_generator.get_state()
    torch.default_generator.manual_seed(derive(seed, *path))
    try:
        yield
    finally:
        torch.default_generator.set_state(before)


def _auto() -> torch.device:
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


DEVICES: dict[str, Callable[[], torch.device]] = {
    "auto": _auto,
    "cpu": lambda: torch.device("cpu"),
    "cuda": lambda: torch.device("cuda"),
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
