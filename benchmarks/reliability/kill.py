"""SIGKILL at random instants and inside every write; then resume, and compare with the run that nobody disturbed."""

import csv
import io
import os
import pathlib
import random
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from benchmarks.reliability.child import Ended, elbo, fork, unsaid
from benchmarks.reliability.tally import Tally, counting
from elbo_cli import checkpoint

KILLS = 200
SOON = 5.0  # seconds of the processor in which a polite signal is obeyed
CLOCKS = ("seconds", "probe_seconds")  # columns that no two runs share
HEAD = "data: {name: digits, binarize: fixed, valid: 60, test: 1000}\n"
NETS = "model: {latent_dim: 2, encoder: {hidden: [16]}, decoder: {hidden: [16]}}\n"
LEDGER = "gap_samples: 4, gap_examples: 20, gap_every: 1"
CONFIGS = {
    "mlp": HEAD + NETS + "train: {epochs: 4, batch_size: 100, gap_every: 0}\n",
    "iwae": HEAD + NETS + "objective: {bound: iwae, samples: 3}\ntrain: {epochs: 4, batch_size: 100, gap_every: 0}\n",
    "dynamic": HEAD.replace("fixed", "dynamic") + NETS + "train: {epochs: 4, batch_size: 100, gap_every: 0}\n",
    "warm-up": HEAD
    + NETS
    + "objective: {beta_warmup_epochs: 3}\noptim: {schedule: step, step_epochs: 2}\n"
    + "train: {epochs: 4, batch_size: 100, gap_every: 0}\n",
    "patience": HEAD + NETS + "optim: {lr: 0.3}\ntrain: {epochs: 12, batch_size: 100, patience: 2, gap_every: 0}\n",
    "ledger": HEAD + NETS + "train: {epochs: 4, batch_size: 100, " + LEDGER.replace("every: 1", "every: 2") + "}\n",
    "all": HEAD.replace("fixed", "dynamic")
    + NETS
    + "objective: {bound: iwae, samples: 2, beta_warmup_epochs: 2}\noptim: {clip_norm: 1.0}\n"
    + "train: {epochs: 4, batch_size: 100, patience: 3, "
    + LEDGER
    + "}\n",
}


@dataclass(slots=True)
class Faults:
    """Counts the instants around every write, flush, rename and removal in one process; ends it at one of them."""

    at: int = 0  # the instant to end at, from 1; 0: none
    passed: int = 0

    def instant(self) -> None:
        """One of them is here."""
        self.passed += 1
        if self.passed == self.at:
            os.kill(os.getpid(), signal.SIGKILL)

    def install(self) -> None:
        """Put instants before and after the system's calls, and inside each write; in a child only."""
        for name in ("fsync", "replace", "rename", "unlink", "mkdir"):
            setattr(os, name, self._around(getattr(os, name)))
        opening = pathlib.Path.open

        def torn(path: Path, mode: str = "r", *more: Any, **options: Any) -> Any:
            if mode[0] not in "wax":
                return opening(path, mode, *more, **options)
            self.instant()
            return Torn(opening(path, mode, *more, **options), self)

        pathlib.Path.open = torn  # type: ignore[method-assign,assignment]

    def _around(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def between(*words: Any, **options: Any) -> Any:
            self.instant()
            result = call(*words, **options)
            self.instant()
            return result

        return between


class Torn:
    """A file with an instant in the middle of each write."""

    def __init__(self, file: IO[Any], faults: Faults) -> None:
        self._file, self._faults = file, faults
        faults.instant()

    def write(self, data: Any) -> int:
        """The first half, which reaches the system; an instant; the second."""
        self._file.write(data[: len(data) // 2])
        self._file.flush()
        self._faults.instant()
        self._file.write(data[len(data) // 2 :])
        self._faults.instant()
        return len(data)

    def flush(self) -> None:
        """With an instant after it."""
        self._file.flush()
        self._faults.instant()

    def fileno(self) -> int:
        """The system's number."""
        return self._file.fileno()

    def __enter__(self) -> "Torn":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._faults.instant()


@dataclass(frozen=True, slots=True)
class Reference:
    """The run that nobody disturbed."""

    config: Path
    run: Path
    instants: int
    seconds: float


def run(count: int | None) -> Iterator[Tally]:
    """Kills, half of them inside a write and half at random; then the polite signals."""
    with tempfile.TemporaryDirectory() as place:
        folder, dice = Path(place), random.Random(0)
        references = {name: _reference(folder, name, text) for name, text in CONFIGS.items()}
        kinds: dict[str, Callable[[Reference, random.Random, float], Kill]] = {
            "write": in_a_write,
            "instant": at_random,
        }
        for kind, choose in kinds.items():
            with counting(f"kill in a {kind}" if kind == "write" else "kill at a random instant") as tally:
                tries = (count or KILLS) // 2
                for i in range(tries):
                    name = list(CONFIGS)[i % len(CONFIGS)]
                    kill = choose(references[name], dice, (i + dice.random()) / tries)
                    tally.count(f"{name}, {kill}", _trial(folder / f"{kind}{i}", references[name], kill, dice))
                tally.notes["instants in a run"] = ", ".join(f"{k} {r.instants}" for k, r in references.items())
            yield tally
        with counting("SIGTERM and Ctrl-C") as tally:
            for i in range(max(2, (count or KILLS) // 10)):
                number = (signal.SIGTERM, signal.SIGINT)[i % 2]
                name = dice.choice(list(CONFIGS))
                lost, seconds = _stopped(folder / f"stop{i}", references[name], number, dice)
                tally.count(f"{name}, {number.name}", lost)
                tally.notes["slowest exit, s of CPU"] = round(
                    max(seconds, float(tally.notes.get("slowest exit, s of CPU", 0))), 2
                )
        yield tally


@dataclass(frozen=True, slots=True)
class Kill:
    """When a process ends: at an instant of its writes, or after some seconds."""

    at: int = 0
    after: float = 0.0


def in_a_write(reference: Reference, dice: random.Random, share: float) -> Kill:
    """Instants spread over the whole run."""
    return Kill(at=1 + int(share * reference.instants))


def at_random(reference: Reference, dice: random.Random, share: float) -> Kill:
    """Any time from the fork to the end."""
    return Kill(after=dice.uniform(0.0, 0.95 * reference.seconds))


def _reference(folder: Path, name: str, text: str) -> Reference:
    config, out = folder / f"{name}.yaml", folder / f"{name}.run"
    config.write_text(text)
    faults = Faults()

    def work() -> None:
        faults.install()
        try:
            elbo("train", "--config", config, "--out", out, "--device", "cpu")
        finally:
            print(faults.passed)

    ended = fork(work, folder / f"{name}.log").wait()
    assert ended.code == 0, ended
    instants = int(ended.said.split()[-1])
    assert instants > 60, f"blind: {instants} instants around writes were seen, so the writing goes another way"
    return Reference(config, out, instants, ended.seconds)


def _trial(run: Path, reference: Reference, kill: Kill, dice: random.Random) -> str | None:
    """Kill, look at what is left, resume (a third are killed again in that), compare."""
    while not (ended := _killed(run, reference, kill)).killed:
        if kill.at or ended.code:
            return f"was not killed: {ended}"
        shutil.rmtree(run)  # over before the instant: a kill is what counts
        kill = Kill(after=kill.after / 2)
    for again in [*([Kill(at=dice.randint(1, 40))] if dice.random() < 1 / 3 else []), None]:
        if lost := _unreadable(run):
            return lost
        before = _whole_lines(run)
        ended = _killed(run, reference, again) if again else _go_on(run, reference)
        if not again and ended.code != 0:
            return f"does not resume: {ended}"
        if not _whole_lines(run).startswith(before):
            return "history was rewritten"
    return _different(run, reference.run)


def _killed(run: Path, reference: Reference, kill: Kill) -> Ended:
    def work() -> None:
        if kill.at:
            Faults(kill.at).install()
        elbo(*_words(run, reference))

    child = fork(work, run.with_suffix(".log"))
    if kill.after:
        time.sleep(kill.after)
        child.signal(signal.SIGKILL)
    return child.wait()


def _words(run: Path, reference: Reference) -> list[str | Path]:
    """Resume where there is something to resume, as a user would; else begin."""
    there = (run / "config.yaml").exists()
    return ["train", *(["--resume", run] if there else ["--config", reference.config, "--out", run]), "--device", "cpu"]


def _go_on(run: Path, reference: Reference) -> Ended:
    return fork(lambda: elbo(*_words(run, reference)), run.with_suffix(".log")).wait()


def _unreadable(run: Path) -> str | None:
    """Whether a checkpoint under its own name cannot be opened."""
    for path in run.glob("[!.]*.safetensors"):
        try:
            checkpoint.read(path)
        except Exception as error:
            return f"after the kill: {error}"
    return None


def _whole_lines(run: Path) -> bytes:
    path = run / "metrics.csv"
    text = path.read_bytes() if path.exists() else b""
    return text[: text.rfind(b"\n") + 1]


def _different(run: Path, other: Path) -> str | None:
    """What differs between two finished runs, the clocks apart."""
    if (left := [p.name for p in run.glob(".*") if p.name != ".lock"]) != []:
        return f"left behind: {left}"
    if _rows(run) != _rows(other):
        return "metrics.csv differs"
    for name in ("last.safetensors", "best.safetensors"):
        if not (run / name).exists():
            return f"{name} is gone"
        ours, theirs = checkpoint.read(run / name), checkpoint.read(other / name)
        if ours.tensors.keys() != theirs.tensors.keys():
            return f"{name}: other tensors"
        different = [key for key, value in ours.tensors.items() if not value.equal(theirs.tensors[key])]
        if different:
            return f"{name}: {different[:3]} differ"
    return None


def _rows(run: Path) -> list[dict[str, str]]:
    rows = list(csv.DictReader(io.StringIO((run / "metrics.csv").read_text())))
    return [{key: value for key, value in row.items() if key not in CLOCKS} for row in rows]


def _stopped(run: Path, reference: Reference, number: int, dice: random.Random) -> tuple[str | None, float]:
    """A polite signal in a run that would be long: a sentence, code 130, within seconds; and it resumes.

    It is sent once an epoch is over: before that, on a busy machine, the process may not have got as far as to listen.
    The seconds are the processor's, which it uses from the signal to its end.
    """
    child = fork(lambda: _endless(run, reference), run.with_suffix(".log"))
    if not child.says("epoch=1 "):
        child.signal(signal.SIGKILL)
        return f"trains nothing: {child.wait()}", 0.0
    time.sleep(dice.uniform(0.0, 0.7))
    before = child.cpu
    child.signal(number)
    ended = child.wait(60)
    seconds = ended.cpu - before
    lost = unsaid(ended, (130,)) or (f"took {seconds:.1f} s" if seconds > SOON else None)
    if not lost:
        reached = checkpoint.read(run / "last.safetensors").header.last.epoch
        words = ["train", "--resume", run, f"train.epochs={reached + 1}"]
        lost = unsaid(fork(lambda: elbo(*words), run.with_suffix(".log")).wait(), (0,))
    return lost, seconds


def _endless(run: Path, reference: Reference) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job's parent may have set it aside
    elbo("train", "--config", reference.config, "--out", run, "train.epochs=100000", "--device", "cpu")
