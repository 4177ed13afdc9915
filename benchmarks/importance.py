"""L_5000 from q, `elbo gap` against what others run for it: the same images, the same weights, equal threads."""

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

from benchmarks.compare import Row, Setting, interleave, row, skipped
from benchmarks.images import as_files
from benchmarks.worker import Worker

OURS, FLOOR = "elbo gap", "matrix products"
TORCH = ("one image a call", "passes of 5,000 (vae_vampprior)", "passes of 100 (scvi-tools)")
TORCH_FULL = ("one draw of all (yburda/iwae)",)
PEERS = ("pythae get_nll", "pyro RenyiELBO")
GIGAFLOP = 2 * (50 * 200 + 200 * 200 + 200 * 784) / 1e9  # of one decoder evaluation


def study(setting: Setting) -> Iterator[Row]:
    """With one thread and with two; the answers beside the seconds, because a fast wrong one is none."""
    K, examples = 5000, 100 if setting.full else 20
    with as_files(setting, 400) as paths:
        for threads in (1, 2):
            wants = {"K": K, "examples": examples, "threads": threads}
            yield from _raced(setting, paths, wants)
        yield from _agree(setting, paths, {"K": K, "examples": examples, "threads": 1})


def _raced(setting: Setting, paths: dict[str, str], wants: dict[str, Any]) -> Iterator[Row]:
    name = f"L_{wants['K']} of {wants['examples']} images from q, 784-200-200-50 tanh, threads {wants['threads']}"
    with ExitStack() as stack:
        contenders = _contenders(setting, stack, paths, wants)
        seconds = interleave(contenders, rounds=7 if setting.full else 5)
    products = GIGAFLOP * wants["K"] * wants["examples"]
    rates = {each: round(products / min(seconds[each]), 1) for each in (OURS, FLOOR)}
    for baseline in list(seconds)[1:]:
        pair = {OURS: seconds[OURS], baseline: seconds[baseline]}
        yield row(name, pair, OURS, baseline, gigaflops_of_products=rates)
    if not setting.peers:
        yield skipped(name, "the peers are not installed here: make bench-full installs them")


def _contenders(setting: Setting, stack: ExitStack, paths: dict[str, str], wants: dict[str, Any]) -> dict[str, Worker]:
    def worker(module: str, **options: Any) -> Worker:
        return stack.enter_context(Worker(module, **wants, **paths, **options))

    ways = [FLOOR, *TORCH, *(TORCH_FULL if setting.full else ())]
    found = {OURS: worker("benchmarks.elbo_gap")}
    found |= {way: worker("benchmarks.peers.likelihoods", way=way) for way in ways}
    if setting.peers:
        found |= {way: worker("benchmarks.peers.likelihoods", python=setting.peers, way=way) for way in PEERS}
    return found


def _agree(setting: Setting, paths: dict[str, str], wants: dict[str, Any]) -> Iterator[Row]:
    """Mean L_K of each: draws differ, so they agree to Monte Carlo error; the float64 run has elbo's own draws."""
    with ExitStack() as stack:
        contenders = _contenders(setting, stack, paths, wants | {"answer": True})
        more = wants | paths | {"answer": True}
        contenders["elbo gap, another seed"] = stack.enter_context(Worker("benchmarks.elbo_gap", seed=1, **more))
        answers = {name: round(work(), 4) for name, work in contenders.items() if name != FLOOR}
    yield {"name": f"mean L_{wants['K']} of {wants['examples']} images, nats", "answers": answers}
