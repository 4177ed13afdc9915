"""What a sweep is kept in: a journal torn by a kill, a file that is none, a folder that holds something else."""

import os
import random
import sys
from pathlib import Path

import pytest
import torch

pytest.importorskip("optuna")

from elbo_cli.config.errors import ConfigError
from elbo_cli.config.sweeps import load_sweep
from elbo_cli.errors import UserError
from elbo_cli.sweep.crew import command, run_cluster
from elbo_cli.sweep.storage import LARGEST
from elbo_cli.sweep.study import DONE, POINT, SEED, VALUES, Trials, _texts
from elbo_cli.sweep.worker import work
from tests.cli.command import TINY, elbo

CPU = torch.device("cpu")
TWO = "config: tiny.yaml\nfolder: {folder}\nspace: {{optim.lr: [1e-3, 1e-2]}}\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "tiny.yaml").write_text(TINY.replace("epochs: 2", "epochs: 1"))
    return tmp_path


def written(folder: Path, text: str = TWO, name: str = "sweep.yaml") -> Path:
    path = folder / name
    path.write_text(text.format(folder=folder / "runs"))
    return path


def test_a_journal_that_was_torn_anywhere_in_its_last_line_goes_on(folder: Path) -> None:
    """A worker killed in a write: the next line was glued to the half one, and the whole sweep could not be opened."""
    plan = load_sweep(written(folder))
    journal = folder / "runs" / "journal.log"
    Trials(plan)
    whole = journal.read_bytes()
    last = len(whole) - whole[:-1].rfind(b"\n") - 1
    for cut in sorted(random.Random(0).sample(range(1, last), 10)):
        journal.write_bytes(whole[: len(whole) - cut])
        states = [trial.state.name for trial in Trials(plan).all()]
        Trials(plan)  # and again, with what the one before has written behind it
        assert states == ["WAITING", "WAITING"]
        assert journal.read_bytes().endswith(b"\n")
    assert [told.why for told in work(plan, Trials(plan), CPU)] == ["", ""]


def test_a_worker_s_next_write_drops_what_another_left_half(folder: Path) -> None:
    plan = load_sweep(written(folder))
    journal, mine = folder / "runs" / "journal.log", Trials(plan)
    claimed = mine.claim()
    assert claimed is not None
    with journal.open("ab") as file:
        file.write(b'{"op_code": 5, "worker_id"')
    mine.tell(claimed, 1.0)
    assert [trial.state.name for trial in Trials(plan).all()] == [DONE, "WAITING"]


@pytest.mark.parametrize(
    ("storage", "said"),
    [
        ("notes.txt", "no journal of Optuna's"),
        ("tiny.yaml", "no journal of Optuna's"),
        (".", "is a folder"),
        ("pipe", "is no file"),
        ("/dev/zero", "is no file"),
        ("huge", f"{LARGEST + 1:,} bytes"),
        ("no/where", "there is no folder"),
        ("sqlite://", "no two workers share it"),
        ("nonsense://x", "nonsense"),
        ("sqlite:///tiny.yaml", "not a database"),
    ],
)
def test_a_storage_that_is_none_is_refused_and_not_written_to(
    storage: str, said: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    os.mkfifo("pipe")
    (folder / "notes.txt").write_text("a line without an end")
    with (folder / "huge").open("wb") as file:
        file.write(b'{"op_code":0}\n')
        file.truncate(LARGEST + 1)
    before = {path.name: path.read_bytes() for path in folder.glob("*.[ty]*")}
    with pytest.raises(UserError, match=r"cannot be used|storage:") as told:
        Trials(load_sweep(written(folder, TWO + f"storage: {storage}\n")))
    assert said in str(told.value)
    assert {name: (folder / name).read_bytes() for name in before} == before
    assert (folder / "runs").exists() is ("://" in storage and storage != "sqlite://")


def test_a_password_is_not_told(folder: Path) -> None:
    with pytest.raises(UserError) as told:
        Trials(load_sweep(written(folder, TWO + "storage: nonsense://me:secret@localhost/x\n")))
    assert "nonsense://...@localhost" in str(told.value)
    assert "secret" not in str(told.value)


def test_a_journal_of_another_s_values_is_refused(folder: Path) -> None:
    """Else a stranger's journal would set any key of the config."""
    plan = load_sweep(written(folder))
    trials = Trials(plan)
    trials.study.enqueue_trial({"optim.lr": "1e-3"}, user_attrs={SEED: 9, POINT: 9, VALUES: {"data.download": "true"}})
    with pytest.raises(UserError, match="other keys"):
        list(work(plan, Trials(plan), CPU))


def test_a_folder_that_holds_something_else_is_left_alone(folder: Path) -> None:
    (folder / "runs").mkdir()
    (folder / "runs" / "thesis.tex").write_text("x")
    answer = elbo("sweep", written(folder))
    assert answer.code == 2
    assert "holds no sweep" in answer.err
    assert [path.name for path in (folder / "runs").iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize("name", ["...yaml", "..yaml"])
def test_a_sweep_s_name_does_not_climb(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """sweeps/.. is no folder in sweeps."""
    monkeypatch.chdir(folder)
    path = written(folder, TWO.replace("folder: {folder}\n", ""), name)
    with pytest.raises(ConfigError, match="no folder of their own"):
        load_sweep(path)


def test_a_config_edited_meanwhile_changes_no_run(folder: Path) -> None:
    plan = load_sweep(written(folder))
    (folder / "tiny.yaml").write_text("model: {latent_dim: 9}\n")
    assert plan.config({"optim.lr": "1e-2"}, 3).model.latent_dim == 2


def test_a_random_point_that_is_drawn_twice_is_trained_once(folder: Path) -> None:
    """Equal runs would count as seeds that agree to the last bit."""
    text = TWO + "search: random\ntrials: 50\n"
    assert len(load_sweep(written(folder, text)).points()) == 2


def test_a_worker_imports_nothing_from_the_current_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unless this process itself was started as python -m."""
    monkeypatch.setattr(sys, "path", ["/somewhere/bin", str(Path.cwd())])
    assert command(Path("s.yaml"), "cpu")[1:3] == ["-P", "-m"]
    monkeypatch.setattr(sys, "path", [str(Path.cwd())])
    assert command(Path("s.yaml"), "cpu")[1] == "-m"


def test_a_cluster_that_is_not_here_is_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("submitit")
    monkeypatch.setenv("PATH", str(folder))
    plan = load_sweep(written(folder, TWO + "slurm: {{jobs: 1}}\n"))
    assert plan.sweep.slurm is not None
    with pytest.raises(UserError, match=r"slurm\.cluster slurm is not here"):
        run_cluster(plan, plan.sweep.slurm, "cpu")


def test_a_proposal_of_numpy_s_numbers_is_written_as_numbers() -> None:
    import numpy as np

    assert _texts({"a": np.float64(0.1), "b": np.int64(3), "c": "x", "d": 1e-8}) == {
        "a": "0.1",
        "b": "3",
        "c": "x",
        "d": "1e-08",
    }
