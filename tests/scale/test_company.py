"""Training in several processes: the losses of one, a rank that dies, and a run that goes on with other ranks."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch.distributions import (
    Distribution,
    Exponential,
    Gumbel,
    Independent,
    Laplace,
    LowRankMultivariateNormal,
    MultivariateNormal,
    Normal,
    StudentT,
    Uniform,
)

from elbo_cli import checkpoint
from elbo_cli.data.binarize import BINARIZE
from elbo_cli.data.split import Split
from elbo_cli.errors import UserError
from elbo_cli.runs import RunFolder
from elbo_cli.runtime import noise
from elbo_cli.training.company import RowsOfNoise
from tests.cli.command import TINY, elbo
from tests.scale.processes import answers, company, environment, port, together
from tests.scale.rows import ROUNDING, same

WAYS = {
    "fused": ("train.batch_size=188",),
    "plain": ("train.step=plain", "optim.clip_norm=0.5", "train.batch_size=200"),
    "iwae": ("objective.bound=iwae", "objective.samples=3", "train.batch_size=37"),  # 1,317 data: the last has 22
    "free_bits": ("objective.free_bits=0.3", "train.batch_size=188", "optim.clip_norm=0.5"),  # the last batch has one
    "full": ("model.prior=vamp", "model.posterior=full_normal", "objective.gradient=stl", "train.batch_size=188"),
    "turns": ("train.update=alternate", "train.batch_size=188"),
    "layers": ("model.latent_dim=[3,2]", "model.between.hidden=[8]", "train.batch_size=188"),
}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tiny") / "tiny.yaml"
    path.write_text(TINY)
    return path


def test_processes_train_as_one_does_and_take_each_others_runs_up(tiny: Path, tmp_path: Path) -> None:
    """Losses, validation and ledger; batches that do not divide, one with fewer data than ranks; 2 -> 1 -> 2."""
    for name, way in WAYS.items():
        assert elbo("train", "--config", tiny, *way, "--out", tmp_path / name).code == 0
    way = WAYS["iwae"]
    assert elbo("train", "--config", tiny, *way, "train.epochs=1", "--out", tmp_path / "from_one").code == 0
    commands = [("train", "--config", tiny, *each, "--out", f"{name}_2") for name, each in WAYS.items()]
    commands += [("train", "--config", tiny, *way, "train.epochs=1", "--out", "from_two")]
    commands += [("train", "--resume", "from_one", "train.epochs=2"), ("evaluate", tmp_path / "iwae", "--json")]
    *_, evaluated = together(2, *commands, cwd=tmp_path)
    assert elbo("train", "--resume", tmp_path / "from_two", "train.epochs=2").code == 0
    for name in WAYS:
        same(tmp_path / name, tmp_path / f"{name}_2")
    same(tmp_path / "iwae", tmp_path / "from_one")
    same(tmp_path / "iwae", tmp_path / "from_two")
    assert json.loads(evaluated.out) == json.loads(elbo("evaluate", tmp_path / "iwae", "--json").out)
    assert json.loads((tmp_path / "iwae_2" / "manifest.json").read_text())["processes"] == 2


def test_the_losses_would_show_other_noise(tiny: Path, tmp_path: Path) -> None:
    """The negative control of the tolerance: another seed of the noise is a hundred tolerances away."""
    rows = []
    for seed in (0, 1):
        out = tmp_path / str(seed)
        assert elbo("train", "--config", tiny, "train.epochs=1", f"seed={seed}", "--out", out).code == 0
        rows.append(RunFolder(out).records()[0])
    assert abs(rows[0].train_elbo / rows[1].train_elbo - 1) > 100 * ROUNDING


def whole(out: Path) -> int:
    """The epoch of a last checkpoint, every byte of which is as it was written."""
    return checkpoint.read(RunFolder(out).last).header.last.epoch


def wait_for(there: Callable[[], bool], seconds: float = 90.0) -> None:
    end = time.monotonic() + seconds
    while not there():
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.05)


def test_a_rank_that_is_killed_ends_the_run_with_a_sentence(tiny: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    running = company(2, "elbo_cli", "train", "--config", tiny, "train.epochs=5000", "--out", out, cwd=tmp_path)
    wait_for(RunFolder(out).last.exists)
    running[1].kill()
    began = time.monotonic()
    first, second = answers(running)
    assert time.monotonic() - began < 30
    assert second.code == -signal.SIGKILL
    assert first.code == 1
    assert "Another process of this run has died" in first.err
    assert f"Last good checkpoint: {RunFolder(out).last}" in first.err
    assert "Traceback" not in first.err
    epoch = whole(out)
    assert elbo("train", "--resume", out, f"train.epochs={epoch + 1}").code == 0
    assert [record.epoch for record in RunFolder(out).records()] == list(range(1, epoch + 2))


def test_a_rank_that_falls_silent_ends_the_run_too(tiny: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    words = ("elbo_cli", "train", "--config", tiny, "train.epochs=5000", "--out", out)
    running = company(2, *words, cwd=tmp_path, ELBO_PATIENCE="8")
    wait_for(RunFolder(out).last.exists)
    running[1].send_signal(signal.SIGSTOP)
    told = running[0].communicate(timeout=60)
    running[1].kill()
    running[1].communicate()
    assert running[0].returncode == 1
    assert "was silent for 8 s" in told[1]
    assert whole(out) > 0


def worker(agent: int, rank: int) -> int | None:
    """The process that an agent of torchrun started for a rank."""
    for path in Path("/proc").glob("[0-9]*"):
        try:
            parent = int(path.joinpath("stat").read_text().rsplit(")", 1)[1].split()[1])
            if parent == agent and f"\0RANK={rank}\0".encode() in path.joinpath("environ").read_bytes():
                return int(path.name)
        except (OSError, IndexError, ValueError):
            continue
    return None


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="finds the worker to kill in /proc")
def test_torchrun_starts_a_killed_run_again_and_it_goes_on(tiny: Path, tmp_path: Path) -> None:
    out, epochs = tmp_path / "run", 12
    launch = [
        "--nproc-per-node",
        "2",
        "--max-restarts",
        "1",
        "--master-addr",
        "127.0.0.1",
        "--master-port",
        str(port()),
    ]
    train = ["-m", "elbo_cli", "train", "--config", str(tiny), f"train.epochs={epochs}", "--out", str(out)]
    command = [sys.executable, "-m", "torch.distributed.run", *launch, "--monitor-interval", "0.1", *train]
    quiet = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=tmp_path, env=environment(), **quiet) as running:  # type: ignore[call-overload]
        wait_for(RunFolder(out).last.exists)
        victim = worker(running.pid, 1)
        assert victim is not None
        os.kill(victim, signal.SIGKILL)
        said = running.communicate(timeout=120)
    assert running.returncode == 0, said[1]
    assert [record.epoch for record in RunFolder(out).records()] == list(range(1, epochs + 1))
    assert said[0].count("epoch=1 ") == 1, "a restart repeats nothing that is written down"


def test_restarts_need_a_folder(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHELASTIC_MAX_RESTARTS", "3")
    monkeypatch.chdir(tmp_path)
    assert "--max-restarts needs --out FOLDER" in elbo("train", "--config", tiny).err
    assert elbo("train", "--config", tiny, "train.epochs=1", "--out", "run").code == 0
    other = elbo("train", "--config", tiny, "train.epochs=1", "optim.lr=0.1", "--out", "run")
    assert other.code == 2
    assert "optim.lr: 0.001 -> 0.1" in other.err


@pytest.mark.parametrize("patience", ["soon", "0", "-1", "nan", "inf"])
def test_a_patience_that_is_none_is_told(patience: str, tiny: Path, tmp_path: Path) -> None:
    """Before any other process is waited for."""
    alone = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port())}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (alone | {"ELBO_PATIENCE": patience}).items():
            patch.setenv(name, value)
        answer = elbo("train", "--config", tiny, "--out", tmp_path / "run")
    assert answer.code == 2
    assert f"ELBO_PATIENCE={patience} is no number of seconds" in answer.err


N, D = 5, 3
FAMILIES: dict[str, Callable[[int], Distribution]] = {
    "normal": lambda n: Independent(Normal(torch.arange(n * D).view(n, D) / 7, 0.3), 1),
    "full": lambda n: MultivariateNormal(torch.arange(n * D).view(n, D) / 7, 0.5 * torch.eye(D)),
    "low_rank": lambda n: LowRankMultivariateNormal(torch.ones(n, D), torch.ones(n, D, 2), torch.ones(n, D)),
    "uniform": lambda n: Independent(Uniform(torch.zeros(n, D), 2.0), 1),
    "laplace": lambda n: Independent(Laplace(torch.zeros(n, D), 2.0), 1),
    "gumbel": lambda n: Independent(Gumbel(torch.zeros(n, D), 2.0), 1),
    "exponential": lambda n: Independent(Exponential(torch.full((n, D), 2.0)), 1),
}


@pytest.mark.parametrize("K", [1, 2, N])
@pytest.mark.parametrize("own", [[0, 1], [2, 3, 4], [0, 1, 2, 3, 4], [0, 3]])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_rows_of_a_rank_are_those_of_the_whole_batch(family: str, own: list[int], K: int) -> None:
    q = FAMILIES[family](N)
    with noise(0, "company"):
        z, after = q.rsample((K,)), torch.rand(1)
    part = _rows(q, own)
    with noise(0, "company"):
        with RowsOfNoise(torch.tensor(own), N):
            mine = part.rsample((K,))
        assert torch.equal(torch.rand(1), after), "the stream goes on where it would have"
    assert torch.equal(mine, z[:, own])


def _rows(q: Distribution, own: list[int]) -> Distribution:
    """The distribution of some rows of a batch."""
    base = q.base_dist if isinstance(q, Independent) else q
    names = {MultivariateNormal: ("loc", "scale_tril"), LowRankMultivariateNormal: ("loc", "cov_factor", "cov_diag")}
    wanted = names.get(type(base), tuple(base.arg_constraints))
    given = {name: getattr(base, name)[own] for name in wanted}
    cut = type(base)(**given)
    return Independent(cut, 1) if isinstance(q, Independent) else cut


def test_noise_that_ranks_cannot_share_is_refused() -> None:
    q = Independent(StudentT(torch.full((2, D), 3.0)), 1)  # a gamma takes as many numbers as it needs
    with RowsOfNoise(torch.arange(2), N), pytest.raises(UserError, match="processes cannot share"):
        q.rsample((1,))


@pytest.mark.parametrize("how", BINARIZE)
def test_pixels_of_a_rank_are_those_of_the_whole_batch(how: str) -> None:
    split = Split("train", torch.rand(9, 5), "here", pending=how)
    index, own = torch.tensor([3, 1, 8, 0]), torch.tensor([1, 3])
    with noise(0, "pixels"):
        x, after = split.batch(index), torch.rand(1)
    with noise(0, "pixels"):
        assert torch.equal(split.rows_of_batch(index, own), x[own])
        assert torch.equal(torch.rand(1), after), "the stream goes on where it would have"
