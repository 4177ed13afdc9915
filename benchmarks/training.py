"""An epoch of `elbo train`, everything on, against a bare loop, the floor and the peers: all at equal threads."""

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

from benchmarks.compare import Row, Setting, interleave, row, skipped
from benchmarks.images import as_files
from benchmarks.worker import Worker

PEERS: dict[str, tuple[str, dict[str, Any]]] = {
    "pythae": ("benchmarks.peers.pythae_trainer", {}),
    "pyro Trace_ELBO": ("benchmarks.peers.pyro_svi", {"loss": "Trace_ELBO"}),
    "pyro TraceMeanField_ELBO": ("benchmarks.peers.pyro_svi", {"loss": "TraceMeanField_ELBO"}),
}
SHAPE = "784-200-200-50 tanh"
ELBO, BARE, FLOOR = "elbo train", "bare loop", "matrix products"


def study(setting: Setting) -> Iterator[Row]:
    """The hot path at batch 20 and 100 with one thread and with two; then the same bound with k = 50."""
    examples = 50_000 if setting.full else 20_000
    with as_files(setting, examples + 200) as paths:
        for threads in (1, 2):
            for batch in (20, 100):
                yield from _epochs(setting, paths, {"batch": batch, "threads": threads, "examples": examples})
    examples //= 10
    with as_files(setting, examples + 200) as paths:
        few = {"batch": 20, "threads": 1, "examples": examples, "K": 50}
        yield from _epochs(setting, paths, few, "objective.bound=iwae", "objective.samples=50")


def _epochs(setting: Setting, paths: dict[str, str], wants: dict[str, Any], *more: str) -> Iterator[Row]:
    threads, batch, K = wants["threads"], wants["batch"], wants.get("K", 1)
    name = f"an epoch of {wants['examples']:,} images, {SHAPE}, batch {batch}, k = {K}, threads {threads}"
    peers = PEERS if K == 1 else {}
    with ExitStack() as stack:

        def worker(module: str, **options: Any) -> Worker:
            return stack.enter_context(Worker(module, **wants, **paths, **options))

        contenders = {ELBO: worker("benchmarks.elbo_train", more=more), BARE: worker("benchmarks.peers.bare_loop")}
        contenders[FLOOR] = worker("benchmarks.peers.floor")
        if setting.peers:
            contenders |= {each: worker(m, python=setting.peers, **o) for each, (m, o) in peers.items()}
        seconds = interleave(contenders, rounds=(7 if setting.full else 5) if K == 1 else 3)
    for baseline in list(seconds)[1:]:
        yield row(name, {ELBO: seconds[ELBO], baseline: seconds[baseline]}, ELBO, baseline)
    if not setting.peers and peers:
        yield skipped(name, "the peers are not installed here: make bench-full installs them")
