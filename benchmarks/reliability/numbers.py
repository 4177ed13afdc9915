"""Numbers at their limits, and NaN where nobody expects it: finite, right, or refused; the last state is kept."""

import json
import math
import random
import re
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.reliability.child import elbo, fork, trials, unsaid
from benchmarks.reliability.tally import Tally, counting
from elbo_cli import checkpoint
from elbo_cli.data.split import Split
from elbo_cli.models.likelihoods import LIKELIHOODS, Options
from elbo_cli.runs import RunFolder
from elbo_cli.training import loop
from elbo_cli.training.adam import Adam

INJECTIONS = 100
EXTREMES = (-1e4, -89.0, -17.0, -1e-38, 0.0, 1e-38, 17.0, 89.0, 1e4)
NETS = "encoder: {hidden: [8]}, decoder: {hidden: [8]}"
SHORT = "train: {epochs: 2, batch_size: 16, gap_samples: 2, gap_examples: 4}\n"
SIGMAS = (1e-38, 1e-30, 1e-8, 1e-3, 1e3, 1e30, 1e38)


def run(count: int | None) -> Iterator[Tally]:
    """Log-densities, corners of data and config, and NaN at random steps."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        with counting("log-densities at extreme outputs, against float64") as tally:
            trials(tally, list(_densities()), lambda case: case())
        yield tally
        _furnish(folder)
        with counting("corners of data and config") as tally:
            corners = list(_corners(folder).items())
            trials(tally, corners, partial(_corner, folder), seconds=60)
        yield tally
        for kind in INJECTED:
            with counting(f"NaN in {kind}") as tally:
                dice = random.Random(kind)
                for i in range((count or INJECTIONS) // len(INJECTED)):
                    at = dice.randint(1, 60)
                    tally.count(f"step {at}", _injected(folder / f"{kind.replace(' ', '-')}{i}", kind, at))
            yield tally


def _densities() -> Iterator[tuple[str, Callable[[], str | None]]]:
    data = {"bernoulli": (0.0, 1.0), "continuous_bernoulli": (0.0, 0.3, 1.0), "gaussian": (-1e4, 0.0, 1.0)}
    data |= {"poisson": (0.0, 7.0), "categorical": (0.0, 1.0), "discretized_logistic": (0.0, 100 / 255, 1.0)}
    for name, make in LIKELIHOODS.items():
        for sigma in SIGMAS if name == "gaussian" else ("shared",):
            likelihood = make((1,), Options(sigma, 256))
            for value in data[name]:
                for extreme in EXTREMES:
                    case = f"{name}, sigma {sigma}, x = {value}, output {extreme}"
                    yield case, partial(_density, likelihood, value, extreme)


def _density(likelihood: Any, value: float, extreme: float) -> str | None:
    """The log-density in float32 is that of float64 where that fits; an infinity where it does not; never a NaN."""
    outputs = torch.full((1, likelihood.outputs, 1), extreme)
    found, exact = (
        likelihood.to(kind).distribution(outputs.to(kind)).log_prob(torch.tensor([[value]], dtype=kind))
        for kind in (torch.float32, torch.float64)
    )
    if found.isnan().any():
        return f"NaN, not {exact.item()}"
    beyond = abs(exact.item()) > 3e38
    if beyond or not exact.isfinite().all():
        return None if not found.isfinite().all() else f"{found.item()}, not {exact.item()}"
    if exact.double().sub(found.double()).abs().item() <= 1e-3 + 1e-4 * abs(exact.item()):
        return None
    return f"{found.item()}, not {exact.item()}"


def _furnish(folder: Path) -> None:
    dice = np.random.default_rng(0)
    grey = dice.random((40, 8, 8), dtype="f4")
    constant = grey.copy()
    constant[:, 3:5] = 0.5
    for name, values in {
        "grey": grey,
        "binary": (grey > 0.5).astype("f4"),
        "constant": constant,
        "all-constant": np.full_like(grey, 0.5),
        "one": grey[:1],
        "two": grey[:2],
        "three": grey[:3],
        "half": (grey * 6e4).astype("f2"),
        "half-subnormal": (grey * 6e-8).astype("f2"),
        "subnormal": grey * np.float32(1e-40),
        "tiny": grey * np.float32(1e-37),
        "huge": grey * np.float32(3e38),
        "large": grey * 1e4,
        "double": grey.astype("f8") * 1e300,
        "spread": 1 + grey * np.float32(1e-7),
        "int64": (grey * 2**62).astype("i8"),
    }.items():
        np.save(folder / f"{name}.npy", values)


def _corners(folder: Path) -> dict[str, str]:
    """Configs by name."""

    def config(data: str = "grey", model: str = "likelihood: gaussian, latent_dim: 2", more: str = SHORT) -> str:
        shares = ", valid: 1, test: 1" if data in ("one", "two", "three") else ""
        return f"data: {{name: arrays, path: {folder / data}.npy{shares}}}\nmodel: {{{model}, {NETS}}}\n{more}"

    found = {f"{path.stem} data": config(path.stem) for path in sorted(folder.glob("*.npy"))}
    found |= {f"{name} likelihood": config("binary", f"likelihood: {name}, latent_dim: 2") for name in LIKELIHOODS}
    found |= {f"sigma {s:g}": config(model=f"likelihood: gaussian, sigma: {s!r}, latent_dim: 2") for s in SIGMAS}
    found |= {f"latent_dim {d}": config(model=f"likelihood: gaussian, latent_dim: {d}") for d in (1, 512)}
    found |= {f"lr {lr:g}": config(more=f"optim: {{lr: {lr!r}}}\n{SHORT}") for lr in (1e-38, 1.0, 1e4, 1e38)}
    found |= {f"beta {b:g}": config(more=f"objective: {{beta: {b!r}}}\n{SHORT}") for b in (0.0, 1e-38, 1e4, 1e38)}
    found["a batch larger than the data"] = config(more=SHORT.replace("batch_size: 16", "batch_size: 1000000"))
    found["batches of one"] = config(more=SHORT.replace("batch_size: 16", "batch_size: 1"))
    found["IWAE with K = 1"] = config(more="objective: {bound: iwae, samples: 1}\n" + SHORT)
    found["one datum in a probe of millions"] = config("three", more=SHORT.replace("examples: 4", "examples: 9000000"))
    return found


def _corner(folder: Path, text: str) -> str | None:
    """Train, evaluate and measure the gap: finite numbers, or a sentence."""
    home = Path(tempfile.mkdtemp(dir=folder))
    (home / "c.yaml").write_text(text)
    out = home / "run"
    ended = fork(lambda: elbo("train", "--config", home / "c.yaml", "--out", out), home / "log").wait()
    if (lost := unsaid(ended)) or ended.code:
        return lost or f"~refused or stopped, code {ended.code}"
    for row in RunFolder(out).records():
        cells = (row.train_elbo, row.train_kl, row.valid_elbo, row.valid_log_px, row.valid_gap)
        if not all(value is None or math.isfinite(value) for value in cells):
            return f"metrics.csv of epoch {row.epoch}: {cells}"
    for words in (["evaluate", out, "--json"], ["gap", out, "--samples", "8", "--method", "importance", "--json"]):
        ended = fork(lambda w=words: elbo(*w), home / "log").wait()  # type: ignore[misc]
        if lost := unsaid(ended):
            return f"{words[0]}: {lost}"
        if ended.code == 0:
            answer = json.loads(next(line for line in ended.said.splitlines() if line.startswith("{")))
            means = {key: answer[key]["mean"] for key in ("elbo", "log_px", "gap") if key in answer}
            if None in means.values():
                return f"{words[0]}: {means}"
    return "~finite to the end"


def _injected(home: Path, kind: str, at: int) -> str | None:
    """A NaN at the n-th step: code 1, the epoch is named, and what was kept is the epoch before, finite."""
    (config := home.with_suffix(".yaml")).write_text(
        f"data: {{name: digits, valid: 60, test: 1500}}\nmodel: {{latent_dim: 2, {NETS}}}\n"
        "train: {epochs: 20, batch_size: 50, gap_every: 2, gap_samples: 2, gap_examples: 10}\n"
    )

    def work() -> None:
        INJECTED[kind](at)
        elbo("train", "--config", config, "--out", home, "--device", "cpu")

    ended = fork(work, home.with_suffix(".log")).wait()
    if lost := unsaid(ended, (1,)):
        return lost
    epoch = (at - 1) // BATCHES + 1
    named = re.search(r"epoch (\d+)", ended.said.splitlines()[-1])
    # a NaN that the epoch's last step leaves is seen by its validation, before anything is written
    if named is None or int(named[1]) != epoch:
        return f"epoch {epoch} is not named: {ended.said[-200:]}"
    due = (at - 1) % BATCHES + (1 if kind == "data" else 2)  # the first loss that is not finite
    if due <= BATCHES and f"batch {due}." not in ended.said:
        return f"batch {due} is not named: {ended.said[-200:]}"
    if [row.epoch for row in RunFolder(home).records()] != list(range(1, epoch)):
        return "metrics.csv does not end with the last good epoch"
    if epoch > 1:
        kept = checkpoint.read(home / "last.safetensors")
        if kept.header.last.epoch != epoch - 1:
            return f"the checkpoint is of epoch {kept.header.last.epoch}"
        if not all(value.isfinite().all() for value in kept.tensors.values()):
            return "the checkpoint is not finite"
    return None


BATCHES = math.ceil((1797 - 60 - 1500) / 50)  # in an epoch


def _moving(at: int, spoil: Callable[[list[torch.Tensor], list[torch.Tensor]], None], before: bool) -> None:
    """Spoil weights or gradients before or after the n-th step of the optimiser, whoever calls it."""
    moving, steps = Adam._move, [0]

    def move(
        self: Adam, weights: list[torch.Tensor], gradients: list[torch.Tensor], *state: list[torch.Tensor]
    ) -> None:
        steps[0] += 1
        if before and steps[0] == at:
            spoil(weights, gradients)
        moving(self, weights, gradients, *state)
        if not before and steps[0] == at:
            spoil(weights, gradients)

    Adam._move = move  # type: ignore[method-assign]


def _weights(at: int) -> None:
    def spoil(weights: list[torch.Tensor], gradients: list[torch.Tensor]) -> None:
        weights[0].view(-1)[0] = math.nan

    _moving(at, spoil, before=False)


def _gradients(at: int) -> None:
    def spoil(weights: list[torch.Tensor], gradients: list[torch.Tensor]) -> None:
        gradients[0].view(-1)[0] = math.nan

    _moving(at, spoil, before=True)


def _data(at: int) -> None:
    visited, visits = loop._visited, [0]

    def spoilt(split: Split, index: torch.Tensor, batch_size: int) -> Iterator[tuple[torch.Tensor, int]]:
        for x, B in visited(split, index, batch_size):
            visits[0] += 1
            if visits[0] == at:
                x.view(-1)[0] = math.nan
            yield x, B

    loop._visited = spoilt


INJECTED: dict[str, Callable[[int], None]] = {"weights": _weights, "gradients": _gradients, "data": _data}
