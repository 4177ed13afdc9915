"""`elbo compare` on three seeds of two configs, on the shipped digits."""

import csv
import io
import json
import shutil
from pathlib import Path

import pytest

from elbo_cli import checkpoint
from tests.cli.command import TINY, elbo

FEW = ("--limit", 60)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three seeds of a config, and of one that cannot learn: its KL weighs fifty times what it should."""
    folder = tmp_path_factory.mktemp("runs")
    (folder / "tiny.yaml").write_text(TINY)
    for name, beta in (("good", 1.0), ("lame", 50.0)):
        for seed in range(3):
            words = [
                "optim.lr=0.02",
                "train.epochs=8",
                f"objective.beta={beta}",
                f"seed={seed}",
                "train.gap_every=0",
                "--out",
                folder / f"{name}{seed}",
            ]
            assert elbo("train", "--config", folder / "tiny.yaml", *words).code == 0
    return folder


def names(folder: Path, *stems: str) -> list[Path]:
    return [folder / f"{stem}{seed}" for stem in stems for seed in range(3)]


def test_three_seeds_of_two_configs_say_which_won(runs: Path) -> None:
    answer = elbo("compare", *names(runs, "lame", "good"), *FEW, "--json")
    assert answer.code == 0, answer.err
    found = json.loads(answer.out)
    assert found["differs"] == {"objective.beta": {"A": 50.0, "B": 1.0}}
    assert [config["config"] for config in found["configs"]] == ["B", "A"]
    assert all(config["seeds"] == [0, 1, 2] for config in found["configs"])
    elbo_difference = found["differences"][0]
    assert elbo_difference["quantity"] == "elbo"
    assert 0 < elbo_difference["low"] < elbo_difference["mean"] < elbo_difference["high"]
    assert elbo_difference["se_seeds"] > 0
    assert found["verdict"].startswith("B is better")
    assert "what differs in the configs" in answer.err


def test_a_run_and_its_copy_cannot_be_told_apart(runs: Path, tmp_path: Path) -> None:
    shutil.copytree(runs / "good0", tmp_path / "copy")
    found = json.loads(elbo("compare", runs / "good0", tmp_path / "copy", *FEW, "--json").out)
    assert "one config" in found["verdict"]
    assert found["runs"][0]["elbo"] == found["runs"][1]["elbo"]
    assert found["runs"][1]["behind"] == found["runs"][1]["se_behind"] == 0


def test_runs_are_measured_as_evaluate_measures_the_first(runs: Path) -> None:
    """The first run's data and noise, for all; a seed of its own would binarise the test data otherwise."""
    found = json.loads(elbo("compare", runs / "good1", runs / "good2", *FEW, "--json").out)
    alone = json.loads(elbo("evaluate", runs / "good1", *FEW, "--json").out)
    other = json.loads(elbo("evaluate", runs / "good2", *FEW, "--json").out)
    by_run = {Path(run["run"]).name: run for run in found["runs"]}
    assert by_run["good1"]["elbo"] == alone["elbo"]["mean"]
    assert by_run["good2"]["elbo"] != other["elbo"]["mean"]


def test_the_gap_is_compared_where_it_is_asked_for(runs: Path) -> None:
    words = ("--limit", 10, "--gap", 16, "--json")
    found = json.loads(elbo("compare", runs / "good0", runs / "lame0", *words).out)
    assert {d["quantity"] for d in found["differences"]} == {"elbo", "reconstruction", "kl", "log_px", "gap"}
    assert all(run["log_px"] > run["elbo"] - 1 for run in found["runs"])


def test_the_first_run_is_read_no_more_often_than_the_others(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    read = checkpoint.read
    monkeypatch.setattr(checkpoint, "read", lambda path: (opened.append(path.parent.name), read(path))[1])
    assert elbo("compare", *names(runs, "good"), "--limit", 2).code == 0
    assert {name: opened.count(name) for name in opened} == {"good0": 3, "good1": 3, "good2": 3}


def test_rows_as_csv(runs: Path) -> None:
    answer = elbo("compare", *names(runs, "good"), *FEW, "--csv")
    rows = list(csv.DictReader(io.StringIO(answer.out)))
    assert len(rows) == 3
    assert [float(row["elbo"]) for row in rows] == sorted((float(row["elbo"]) for row in rows), reverse=True)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["good0"], "two runs or more"),
        (["good0", "good0"], "named twice"),
        (["data.root=x"], "Name a run"),
        (["good0", "nowhere"], "no checkpoint nowhere"),
        (["good0", "good1", "--csv", "--json"], "--csv and --json"),
        (["good0", "good1", "model.latent_dim=3"], "no checkpoint"),
    ],
)
def test_mistakes_are_sentences(words: list[str], says: str, runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(runs)
    answer = elbo("compare", *words)
    assert answer.code == 2
    assert says in answer.err


def test_other_data_are_not_compared(runs: Path, tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(TINY.replace("dynamic", "threshold"))
    assert elbo("train", "--config", tmp_path / "tiny.yaml", "train.epochs=1", "--out", tmp_path / "other").code == 0
    answer = elbo("compare", runs / "good0", tmp_path / "other")
    assert answer.code == 2
    assert "other test data" in answer.err
