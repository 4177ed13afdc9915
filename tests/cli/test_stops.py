"""How a training ends before its time: by hand, by a scheduler, by its numbers; and how it goes on."""

import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
import torch
from torch import Tensor

from elbo_cli.checkpoint import read
from elbo_cli.data.split import Split
from elbo_cli.models.vae import VAE
from tests.cli.command import TINY, elbo, start

CLOCKS = ["seconds", "probe_seconds"]
LONG = ("train", "--config", "tiny.yaml", "--out", "my run", "train.epochs=300", "train.gap_every=0")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "tiny.yaml").write_text(TINY)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def wait_for_line(running: "subprocess.Popen[str]", beginning: str) -> None:
    """Until the process has printed such a line: it comes at once, not when a buffer is full."""
    assert running.stdout
    for text in running.stdout:
        if text.startswith(beginning):
            assert running.poll() is None, "it is done already"
            return
    pytest.fail(f"no line begins with {beginning}: {running.communicate()}")


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM], ids=lambda stop: stop.name)
def test_a_stopped_training_says_how_to_go_on_and_a_second_one_waits(stop: signal.Signals, here: Path) -> None:
    running = start(*LONG, cwd=here)
    wait_for_line(running, "epoch=2 ")
    second = elbo("train", "--resume", "my run")
    assert (second.code, second.err.count("\n")) == (2, 1)
    assert "Another process is training in my run" in second.err
    running.send_signal(stop)
    out, err = running.communicate(timeout=60)
    assert running.returncode == 130, (out, err)
    assert err == "Stopped. The last whole epoch is kept. Go on with: elbo train --resume 'my run'\n"

    done = read(here / "my run" / "last.safetensors").header.last.epoch
    answer = elbo("train", "--resume", "my run", f"train.epochs={done + 2}")
    assert answer.code == 0, answer.err
    assert list(pd.read_csv("my run/metrics.csv").epoch) == [*range(1, done + 3)]


def test_a_training_killed_in_the_middle_goes_on_to_the_same_numbers(here: Path) -> None:
    running = start(*LONG, cwd=here)
    wait_for_line(running, "epoch=3 ")
    running.kill()
    running.communicate(timeout=60)
    done = read(here / "my run" / "last.safetensors").header.last.epoch
    end = f"train.epochs={done + 3}"
    assert elbo("train", "--resume", "my run", end).code == 0
    assert elbo("train", "--config", "tiny.yaml", "--out", "whole", "train.gap_every=0", end).code == 0
    tables = [pd.read_csv(f"{folder}/metrics.csv").drop(columns=CLOCKS) for folder in ("my run", "whole")]
    pd.testing.assert_frame_equal(*tables, check_exact=True)


def test_a_stop_before_the_first_epoch_is_over_keeps_the_run(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("elbo_cli.training.loop._visited", interrupted)
        answer = elbo("train", "--config", "tiny.yaml", "--out", "run", "train.epochs=1")
    assert answer.code == 130
    assert answer.err == "Stopped. No epoch was whole yet. Go on with: elbo train --resume run\n"
    assert elbo("train", "--resume", "run").code == 0


def test_a_stop_before_there_is_a_run_leaves_none(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("elbo_cli.build.experiment", interrupted)
    answer = elbo("train", "--config", "tiny.yaml", "--out", "run")
    assert (answer.code, answer.err) == (130, "Stopped.\n")
    assert not (here / "run").exists()


def test_numbers_that_run_away_stop_the_training_with_epoch_batch_and_advice(here: Path) -> None:
    answer = elbo("train", "--config", "tiny.yaml", "--out", "run", "optim.lr=1e30")
    assert answer.code == 1
    assert "Traceback" not in answer.err
    for part in ("epoch 1", "batch 2", "optim.lr", "optim.clip_norm", "No epoch was whole yet"):
        assert part in answer.err
    assert not (here / "run" / "last.safetensors").exists()


def test_numbers_that_run_away_late_leave_the_last_good_checkpoint_as_it_was(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert elbo("train", "--config", "tiny.yaml", "--out", "run").code == 0
    before = {path.name: path.read_bytes() for path in (here / "run").glob("*.safetensors")}
    rows = (here / "run" / "metrics.csv").read_text()

    with monkeypatch.context() as patch:
        patch.setattr("elbo_cli.training.loop._visited", broken)
        answer = elbo("train", "--resume", "run", "train.epochs=3")
    assert answer.code == 1
    assert "epoch 3, batch 1" in answer.err
    assert f"Last good checkpoint: {Path('run') / 'last.safetensors'}" in answer.err
    assert {path.name: path.read_bytes() for path in (here / "run").glob("*.safetensors")} == before
    assert (here / "run" / "metrics.csv").read_text() == rows
    assert elbo("train", "--resume", "run", "train.epochs=3").code == 0


def broken(split: Split, index: Tensor, batch_size: int) -> Iterator[tuple[Tensor, int]]:
    """Data that are no numbers, with the size of each batch."""
    return ((x, len(x)) for x in torch.split(split.batch(index) * float("nan"), batch_size))


def test_a_disk_that_is_full_is_a_failure_and_no_traceback(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    assert elbo("train", "--config", "tiny.yaml", "--out", "run", "train.epochs=1").code == 0
    monkeypatch.setattr("os.fsync", full)
    answer = elbo("train", "--resume", "run", "train.epochs=2")
    assert answer.code == 1
    assert answer.err.startswith("Failed: Cannot write ")
    assert "No space left on device" in answer.err


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (MemoryError(), "there is not enough memory"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: 8 TB"), "there is not enough memory"),
        (PermissionError(13, "Permission denied", "runs"), "the system refuses: PermissionError"),
        (ZeroDivisionError("division by zero"), "ZeroDivisionError: division by zero. This is a fault of elbo's"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_nobody_foresaw_is_a_sentence_too(
    error: Exception, said: str, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr("elbo_cli.build.experiment", fail)
    answer = elbo("train", "--config", "tiny.yaml", "--out", "run")
    assert (answer.code, answer.err.count("\n")) == (1, 1)
    assert answer.err.startswith(f"Failed: {said}")
    monkeypatch.setenv("ELBO_TRACEBACK", "1")
    assert "Traceback" in elbo("train", "--config", "tiny.yaml", "--out", "run").err


def test_a_finished_run_has_nothing_left_to_train(trained: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in trained.glob("[!.]*")}
    answer = elbo("train", "--resume", trained)
    assert answer.code == 0
    assert "Nothing left to train after epoch 2: give train.epochs=N to go on for longer." in answer.out
    assert {path: path.stat().st_mtime_ns for path in trained.glob("[!.]*")} == before


def test_a_run_whose_patience_ended_is_told_to_have_more(here: Path) -> None:
    words = ("train.epochs=9", "train.patience=1", "optim.lr=0.5", "train.batch_size=50")
    assert elbo("train", "--config", "tiny.yaml", *words, "--out", "run").code == 0
    reached = len((here / "run" / "metrics.csv").read_text().splitlines()) - 1
    assert reached < 9
    over = f"Nothing left to train after epoch {reached}: give"
    more = "train.patience=N (above 1, or null)"
    assert f"{over} {more} to go on for longer." in elbo("train", "--resume", "run").out
    both = elbo("train", "--resume", "run", f"train.epochs={reached}")
    assert f"{over} train.epochs=N and {more} to go on for longer." in both.out
    again = elbo("train", "--resume", "run", f"train.epochs={reached + 1}", "train.patience=null")
    assert "Nothing left" not in again.out


def test_a_resumed_run_sums_up_all_of_its_epochs(here: Path) -> None:
    train = ("train", "--config", "tiny.yaml", "train.batch_size=50", "optim.lr=0.1")
    whole = elbo(*train, "--out", "whole", "train.epochs=5")
    assert elbo(*train, "--out", "run", "train.epochs=4").code == 0
    resumed = elbo("train", "--resume", "run", "train.epochs=5")
    sums = [text for text in whole.out.splitlines() if text.startswith(("Best epoch", "Of "))]
    assert len(sums) == 2
    assert "Best epoch 5" not in sums[0]  # so that the best lies before the stop
    assert [text in resumed.out for text in sums] == [True, True]


@pytest.mark.parametrize("command", ["evaluate", "gap"])
def test_a_stopped_measurement_says_no_more_than_that(
    command: str, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(VAE, "likelihood", interrupted)
    answer = elbo(command, trained, "--json")
    assert (answer.code, answer.out, answer.err) == (130, "", "Stopped.\n")


def test_a_signal_of_the_caller_is_given_back(trained: Path) -> None:
    def own(*_: object) -> None:
        pass

    before = signal.signal(signal.SIGTERM, own)
    try:
        assert elbo("evaluate", trained, "--limit", 3).code == 0
        assert signal.getsignal(signal.SIGTERM) is own
    finally:
        signal.signal(signal.SIGTERM, before)
