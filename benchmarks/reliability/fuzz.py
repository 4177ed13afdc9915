"""Random configs, mutated configs and random command lines: a result, or a sentence."""

import io
import math
import os
import random
import tempfile
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from benchmarks.reliability.child import Ended, elbo, fork, trials, unsaid
from benchmarks.reliability.random_configs import Draw, configs_of
from benchmarks.reliability.tally import Tally, counting
from elbo_cli import build
from elbo_cli import config as configs
from elbo_cli.errors import RunError, UserError
from elbo_cli.training.loop import records

CASES = 5000
SECONDS = 60.0
FEW = """\
data: {name: arrays, path: binary.npy, valid: 4, test: 40}
model: {latent_dim: 3, encoder: {hidden: [2]}, decoder: {hidden: [2]}}
train: {epochs: 2, batch_size: 20, gap_samples: 2, gap_examples: 2}
"""
JUNK = st.sampled_from(
    [
        *"null true no -1 0 1e-3 .nan -.inf 1e999 9223372036854775807 [] {} a:b [1,2 *x [[[]]] {a:{b:{c:1}}}".split(),
        *"digits gaussian ../.. - --json = data.name= module:factory 1:2 ' \" é".split(),
        *["", "!!int 3", "&x 1", "a: b", "- x", "\x00", "\x1b[31m", "\u202e", "9" * 500],
    ]
) | st.text(max_size=8)


def run(count: int | None) -> Iterator[Tally]:
    """Each kind so many times."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        os.chdir(folder)
        _furnish(folder)
        subjects: list[tuple[str, st.SearchStrategy[Any], Callable[[Any], str | None], int]] = [
            ("valid configs: check, build, an epoch", configs_of(folder), _one_epoch, count or CASES),
            ("mutated configs: check", mutated(configs_of(folder)), partial(_checked, folder), count or CASES),
            ("overrides: check", st.lists(override(), max_size=4), _overridden, count or CASES),
            ("command lines", lines(), _typed, count or CASES),
        ]
        for name, strategy, attempt, wanted in subjects:
            with counting(name) as tally:
                cases = [(repr(case)[:600], case) for case in examples(strategy, wanted)]
                trials(tally, cases, attempt, seconds=SECONDS, memory=2**33)
            yield tally


def examples(strategy: st.SearchStrategy[Any], count: int) -> list[Any]:
    """So many examples, the same ones each time."""
    found: list[Any] = []

    @settings(
        max_examples=count,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def collect(case: Any) -> None:
        found.append(case)

    collect()
    dice = random.Random(0)
    return [*found, *(dice.choice(found) for _ in range(count - len(found)))][:count]


def _furnish(folder: Path) -> None:
    dice = np.random.default_rng(0)
    np.save(folder / "grey.npy", dice.random((30, 6), dtype="f4"))
    np.save(folder / "binary.npy", (dice.random((60, 8, 8)) > 0.5).astype("u1"))
    np.save(folder / "colour.npy", dice.integers(0, 256, (24, 8, 8, 3), dtype="u1"))
    np.save(folder / "counts.npy", dice.poisson(3.0, (30, 5)).astype("f8"))
    np.save(folder / "loud.npy", dice.normal(0, 1e6, (30, 5)))
    np.save(folder / "half.npy", dice.random((30, 5)).astype("f2"))
    (folder / "tiny.yaml").write_text(FEW)
    (folder / "sweep.yaml").write_text("config: tiny.yaml\nspace: {optim.lr: [1e-3, 1e-2]}\n")
    begun = [
        ["train", "--config", "tiny.yaml", "--out", "run"],
        ["train", "--config", "tiny.yaml", "--out", "run2", "model.latent_dim=1"],
        *(["gap", "run", "--samples", "3", "--shard", f"{i}/2", "--out", f"part-{i}.csv"] for i in (1, 2)),
    ]
    for words in begun:
        ended = fork(lambda words=words: elbo(*words), folder / "log").wait()  # type: ignore[misc]
        assert ended.code == 0, ended


def _one_epoch(tree: dict[str, Any]) -> str | None:
    """A record of finite numbers, or a sentence."""
    try:
        config = configs.loads(yaml.safe_dump(tree))
        if configs.loads(configs.dump(config)) != config:
            return "what was resolved reads otherwise"
        record = next(records(build.experiment(config)))
    except (UserError, RunError) as error:
        return f"~refused ({type(error).__name__})" if str(error).strip() else "an empty sentence"
    seen = (record.train_elbo, record.valid_elbo or 0.0, record.valid_kl or 0.0)
    return "~trained" if all(map(math.isfinite, seen)) else f"numbers that are none: {seen}"


@st.composite
def mutated(draw: Draw, whole: st.SearchStrategy[dict[str, Any]]) -> str:
    """A config's text with a few lines made wrong."""
    lines = yaml.safe_dump(draw(whole)).splitlines()
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(lines) - 1))
        key = lines[at].partition(":")[0]
        what = draw(st.sampled_from(["value", "key", "twice", "indent", "gone", "cut", "noise"]))
        lines[at] = {
            "value": f"{key}: {draw(JUNK)}",
            "key": lines[at].replace(key.strip() or "-", draw(JUNK) or "x", 1),
            "twice": f"{lines[at]}\n{lines[at]}",
            "indent": " " * draw(st.integers(0, 5)) + lines[at].lstrip(),
            "gone": "",
            "cut": lines[at][: draw(st.integers(0, 9))],
            "noise": lines[at] + draw(JUNK),
        }[what]
    return "\n".join(lines)


def _checked(folder: Path, text: str) -> str | None:
    (folder / "mutated.yaml").write_bytes(text.encode("utf-8", "surrogatepass"))
    return _counted(said("check", "mutated.yaml"))


@st.composite
def override(draw: Draw) -> str:
    """KEY=VALUE, more or less."""
    section = draw(st.sampled_from(["data", "model", "objective", "optim", "train", "model.encoder", "x", ""]))
    keys = ["name", "path", "latent_dim", "hidden", "lr", "betas", "epochs", "bound", "sigma", "likelihood", ""]
    key, value = draw(st.sampled_from(keys) | JUNK), draw(JUNK)
    return f"{section}.{key}={value}" if draw(st.booleans()) else f"{key}={value}"


def _overridden(words: list[str]) -> str | None:
    return _counted(said("check", "tiny.yaml", "--", *words))


def lines() -> st.SearchStrategy[list[str]]:
    """Command lines: any words that the tool knows in any order, and lines that are right but for a few words."""
    commands = st.sampled_from(sorted({line.split()[0] for line in GOOD}))
    words = st.lists(st.sampled_from(sorted({word for line in GOOD for word in line.split()[1:]})) | JUNK, max_size=7)
    return st.builds(lambda command, more: [command, *more], commands | JUNK, words) | nearly_right()


@st.composite
def nearly_right(draw: Draw) -> list[str]:
    """A line that works, with up to three words of it changed, doubled, left out or added to."""
    words: list[str] = draw(st.sampled_from(GOOD)).split()
    others = st.sampled_from(draw(st.sampled_from(GOOD)).split()) | JUNK
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(words) - 1))
        what = draw(st.sampled_from(["other", "twice", "gone", "more", "tail"]))
        words[at : at + 1] = {
            "other": [draw(others)],
            "twice": [words[at]] * 2,
            "gone": [],
            "more": [words[at], draw(others)],
            "tail": [words[at] + draw(JUNK)],
        }[what]
        words = words or ["--help"]
    return words


GOOD = """\
train --config tiny.yaml --out out train.epochs=1
train --config tiny.yaml --out ./x model.latent_dim=1 data.binarize=fixed --json
train --init run --out out2 train.update=encoder
train --resume run train.epochs=3
evaluate run --split valid --limit 3 --samples 3 --json
evaluate run --data grey.npy --out x.csv --seed 1 --threads 1
evaluate os:getcwd --data digits --limit 2
gap run --limit 3 --samples 4 --proposal auto --delta 0.5 --strict
gap run --limit 2 --tolerance 1.0 --method importance --json
gap run --samples 3 --shard 1/1 --out p.csv
gap --merge part-1.csv
gap --merge part-1.csv part-2.csv --json
gap run --limit 2 --samples 4 --sandwich 2 --tile 64
gap run --limit 2 --samples 4 --split-gap
gap run2 --limit 2 --samples 2 --method ais --temperatures 3
bound-gap run2 --limit 2 --method exact --out x.parquet --device cpu
compare run run2 --split valid --samples 2
compare run run2 --gap 3 --limit 3 --csv
compare run run2 run/best.safetensors --json data.valid=4
report run --limit 2 --samples 3 --out page.html
report run run2 --limit 2 --samples 3 --out pages.html --json
sample run --number 2 --walks 1 --out pics --seed 3
plot run --what kl
plot run run2 --what elbo --out k.svg
sweep sweep.yaml --worker
sweep sweep.yaml --worker --device cpu --json
runs . --where data.name=arrays --where valid_elbo>-100 --sort epochs
runs --where model.latent_dim!=3 --csv
check tiny.yaml optim.lr=1e-3
init digits --out i.yaml --force
--version
--help""".splitlines()


def _typed(words: list[str]) -> str | None:
    return _counted(said(*words))


def _counted(ended: Ended) -> str:
    return unsaid(ended, (0, 1, 2, 3)) or f"~exit code {ended.code}"


def said(*words: str) -> Ended:
    """The command in this process, with what it said and its code."""
    text, code = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors="backslashreplace"), 0
    with redirect_stdout(text), redirect_stderr(text):
        try:
            elbo(*words)
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 0
    text.flush()
    return Ended(code, text.buffer.getvalue().decode(), 0.0)  # type: ignore[attr-defined]
