"""A run that was stopped, killed or torn anywhere and is resumed ends in the same bits as one that never was."""

import csv
import multiprocessing
import os
import random
import shlex
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from elbo_cli import checkpoint, runs
from elbo_cli import config as configs
from elbo_cli.errors import UserError
from elbo_cli.journal import Session, journal, manifest, resume, start
from elbo_cli.records import EpochRecord, Tick

CPU = torch.device("cpu")
CLOCKS = ("seconds", "probe_seconds")
# everything that a resumed run must take up again: fresh pixels, draws, warm-up, patience, moments, the probe's past
CONFIG = """\
data: {name: digits, binarize: dynamic, valid: 60}
model: {latent_dim: 2, encoder: {hidden: [8]}, decoder: {hidden: [8]}}
objective: {bound: iwae, samples: 3, beta_warmup_epochs: 3}
optim: {name: adamw, lr: 0.3, weight_decay: 0.01, schedule: step, step_epochs: 2, step_factor: 0.9, clip_norm: 5.0}
train: {epochs: 6, batch_size: 300, patience: 3, gap_every: 2, gap_samples: 4, gap_examples: 8}
"""


@dataclass(frozen=True, slots=True)
class Kept:
    """What a run leaves behind, without its clocks, in bits."""

    rows: list[dict[str, str]]
    last: dict[str, bytes]
    best: dict[str, bytes]


def kept(folder: Path) -> Kept:
    with (folder / "metrics.csv").open() as file:
        rows = [{k: v for k, v in row.items() if k not in CLOCKS} for row in csv.DictReader(file)]
    return Kept(rows, bits(folder / "last.safetensors"), bits(folder / "best.safetensors"))


def bits(path: Path) -> dict[str, bytes]:
    return {name: tensor.numpy().tobytes() for name, tensor in checkpoint.read(path).tensors.items()}


def begin(folder: Path, *overrides: str) -> Session:
    return start(configs.loads(CONFIG, overrides=overrides), "test", folder, CPU)


def train(session: Session, until: int | None = None) -> list[int]:
    """Train to the end, or until an epoch is over; the epochs that it took."""
    epochs = []
    for event in journal(session):
        if isinstance(event, EpochRecord):
            epochs.append(event.epoch)
            if event.epoch == until:
                break
    return epochs


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Kept:
    """The run that nobody interrupts."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    torch.set_num_threads(1)
    assert train(begin(folder)) == [1, 2, 3, 4, 5, 6]
    return kept(folder)


def test_the_run_tries_what_resuming_could_lose(whole: Kept) -> None:
    assert whole.rows[0]["beta"] == "0.0"  # warm-up
    assert {row["train_bound"] == "" for row in whole.rows} == {False}
    assert [row["valid_gap"] != "" for row in whole.rows] == [False, True] * 3
    assert [row["delta_gap"] != "" for row in whole.rows] == [False, True] * 3
    assert whole.best != {k: v for k, v in whole.last.items() if k.startswith("model/")}  # best is not last
    assert any("exp_avg" in name for name in whole.last)


@pytest.mark.parametrize("epoch", [1, 2, 3, 4, 5, 6])
def test_a_run_stopped_after_any_epoch_goes_on_to_the_same_bits(epoch: int, whole: Kept, tmp_path: Path) -> None:
    assert train(begin(tmp_path / "run"), until=epoch) == [*range(1, epoch + 1)]
    assert train(resume(tmp_path / "run", [], CPU)) == [*range(epoch + 1, 7)]
    assert kept(tmp_path / "run") == whole


def test_a_run_resumed_after_every_epoch_ends_in_the_same_bits(whole: Kept, tmp_path: Path) -> None:
    train(begin(tmp_path / "run"), until=1)
    for epoch in range(2, 7):
        assert train(resume(tmp_path / "run", [], CPU), until=epoch) == [epoch]
    assert kept(tmp_path / "run") == whole


def test_a_run_for_longer_is_the_long_run(whole: Kept, tmp_path: Path) -> None:
    assert train(begin(tmp_path / "run", "train.epochs=3")) == [1, 2, 3]
    assert train(resume(tmp_path / "run", ["train.epochs=6"], CPU)) == [4, 5, 6]
    assert kept(tmp_path / "run") == whole
    assert configs.load(tmp_path / "run" / "config.yaml") == configs.loads(CONFIG)
    assert train(resume(tmp_path / "run", [], CPU)) == []  # it remembers for how long


def test_patience_counts_epochs_from_before_the_stop(tmp_path: Path) -> None:
    impatient = ("train.patience=2", "train.epochs=40", "optim.lr=0.5")
    epochs = train(begin(tmp_path / "whole", *impatient))
    assert 3 < len(epochs) < 40
    train(begin(tmp_path / "run", *impatient), until=len(epochs) - 1)
    assert train(resume(tmp_path / "run", [], CPU)) == [len(epochs)]
    assert train(resume(tmp_path / "run", [], CPU)) == []
    assert kept(tmp_path / "run") == kept(tmp_path / "whole")


def test_another_seed_is_another_run(whole: Kept, tmp_path: Path) -> None:
    train(begin(tmp_path / "run", "seed=1"))
    assert kept(tmp_path / "run") != whole


class Killed(BaseException):
    """The process is gone."""


class Reaper:
    """Kills the process at one of its writes: before it, or in the middle of it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, at: int | None, midway: bool) -> None:
        self.writes, self.at, self.midway = 0, at, midway
        self.write_whole, self.append = runs.write_whole, runs.append
        for module in ("runs", "checkpoint", "journal"):
            monkeypatch.setattr(f"elbo_cli.{module}.write_whole", self.writing)
        monkeypatch.setattr("elbo_cli.runs.append", self.appending)

    def strikes(self) -> bool:
        self.writes += 1
        return self.writes - 1 == self.at

    def writing(self, path: Path, content: bytes | str) -> None:
        if self.strikes():
            if self.midway:
                path.with_name(f".{path.name}.1.tmp").write_bytes(b"half")
            raise Killed
        self.write_whole(path, content)

    def appending(self, path: Path, row: str) -> None:
        if self.strikes():
            if self.midway:
                self.append(path, row[: len(row) // 2])
            raise Killed
        self.append(path, row)


SHORT = "train.epochs=4"
WRITES = range(2 + 4 * 3)  # config and manifest; then best, last and the row of each of four epochs


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> Kept:
    """Four epochs that nobody interrupts."""
    folder = tmp_path_factory.mktemp("short") / "run"
    torch.set_num_threads(1)
    train(begin(folder, SHORT))
    return kept(folder)


@pytest.mark.parametrize("midway", [False, True])
@pytest.mark.parametrize("at", WRITES)
def test_a_kill_at_any_write_leaves_a_run_that_resumes(
    at: int, midway: bool, short: Kept, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "run"
    with monkeypatch.context() as patch:
        Reaper(patch, at, midway)
        with pytest.raises(Killed):
            train(begin(folder, SHORT))
    if at == 0:  # not even the config: then it is no run yet, and may be begun again
        with pytest.raises(UserError, match="not a run folder"):
            resume(folder, [], CPU)
        train(begin(folder, SHORT))
    else:
        train(resume(folder, [], CPU))
    assert kept(folder) == short
    assert [path.name for path in folder.iterdir() if path.suffix == ".tmp"] == []


def test_the_kills_above_strike_at_every_kind_of_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reaper = Reaper(monkeypatch, None, False)
    train(begin(tmp_path / "run", SHORT))
    assert reaper.writes == len(WRITES)


def test_a_kill_while_a_longer_run_is_written_down_changes_nothing(
    whole: Kept, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "run"
    train(begin(folder, "train.epochs=3"))
    with monkeypatch.context() as patch:
        Reaper(patch, 0, midway=True)
        with pytest.raises(Killed):
            train(resume(folder, ["train.epochs=6"], CPU))
    train(resume(folder, ["train.epochs=6"], CPU))
    assert kept(folder) == whole


def test_a_second_process_in_the_same_folder_is_refused_and_spoils_nothing(whole: Kept, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    first = journal(begin(folder))
    first_epochs = (event for event in first if isinstance(event, EpochRecord))
    next(first_epochs)
    late = resume(folder, [], CPU)  # read while the first is at work
    with pytest.raises(UserError, match=f"Another process is training in {folder}"):
        train(late)
    assert len([*first_epochs]) == 5
    with pytest.raises(UserError, match="goes to epoch 6, but the checkpoint that was read to epoch 1"):
        train(late)  # the first is done, and what was read is of the past
    assert kept(folder) == whole


def test_two_new_runs_in_one_folder_are_one_too_many(tmp_path: Path) -> None:
    first, second = begin(tmp_path / "run"), begin(tmp_path / "run", "seed=1")
    running = journal(first)
    assert isinstance(next(running), Tick)
    with pytest.raises(UserError, match="Another process is training"):
        train(second)
    assert configs.load(tmp_path / "run" / "config.yaml").seed == 0


def test_what_a_resumed_run_may_not_change_is_named_with_both_values(tmp_path: Path) -> None:
    train(begin(tmp_path / "run"), until=1)
    with pytest.raises(UserError, match=r"optim\.lr: 0\.3 -> 0\.1; seed: 0 -> 3|seed: 0 -> 3; optim\.lr: 0\.3 -> 0\.1"):
        resume(tmp_path / "run", ["optim.lr=0.1", "seed=3"], CPU)


def test_what_a_resumed_run_may_not_change_is_named_as_it_is_typed(tmp_path: Path) -> None:
    train(begin(tmp_path / "run"), until=1)
    changed = ["model.encoder.hidden=[8, 4]", "optim.clip_norm=null", "model.likelihood=gaussian", "model.sigma=0.5"]
    with pytest.raises(UserError) as refused:
        resume(tmp_path / "run", changed, CPU)
    for said in (
        "model.encoder.hidden: [8] -> [8, 4]",
        "optim.clip_norm: 5.0 -> null",
        "model.sigma: nothing -> 0.5",
        "model.likelihood: bernoulli -> gaussian",
    ):
        assert said in str(refused.value)


def test_the_manifest_has_the_command_as_it_can_be_typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    typed = ["elbo", "train", "--out", "my run", "model.encoder.hidden=[8, 4]"]
    monkeypatch.setattr(sys, "argv", typed)
    assert shlex.split(manifest(begin(tmp_path / "run"))["command"]) == typed


def test_the_rows_come_back_as_the_records_that_they_were(tmp_path: Path) -> None:
    records = [event for event in journal(begin(tmp_path / "run")) if isinstance(event, EpochRecord)]
    assert runs.RunFolder(tmp_path / "run").records() == records


EPOCHS = 30


def work(folder: str) -> None:
    """What a process of its own does: begin, or go on."""
    torch.set_num_threads(1)
    path = Path(folder)
    train(resume(path, [], CPU) if (path / "config.yaml").exists() else begin(path, *LONG))


LONG = (f"train.epochs={EPOCHS}", "train.patience=null")


def test_ten_kills_at_random_moments_change_no_bit(tmp_path: Path) -> None:
    whole = begin(tmp_path / "whole", *LONG)
    began = time.perf_counter()
    assert len(train(whole)) == EPOCHS
    epoch = (time.perf_counter() - began) / EPOCHS

    processes = multiprocessing.get_context("forkserver")
    # all that a training imports is there before the fork: its processes are up in no time
    warm = [name for name in sys.modules if name.startswith(("torch", "elbo_cli"))]
    processes.set_forkserver_preload(["tests.test_journal", *warm])
    moments, folder, kills = random.Random(0), tmp_path / "run", 0
    while kills < 10:
        running = processes.Process(target=work, args=(str(folder),))
        running.start()
        assert running.pid is not None
        _wait_for_an_epoch(folder)
        time.sleep(moments.uniform(0, 1.5 * epoch))
        os.kill(running.pid, signal.SIGKILL)
        running.join()
        assert running.exitcode == -signal.SIGKILL, "it was done too soon: no kill"
        kills += 1
    assert train(resume(folder, [], CPU))
    assert kept(folder) == kept(tmp_path / "whole")


def _wait_for_an_epoch(folder: Path) -> None:
    """Until one more row is there than now."""
    metrics = folder / "metrics.csv"

    def rows() -> int:
        return metrics.read_bytes().count(b"\n") if metrics.exists() else 0

    before, patience = rows(), time.monotonic() + 30
    while rows() == before:
        assert time.monotonic() < patience, "the process trains no epoch"
        time.sleep(0.001)
