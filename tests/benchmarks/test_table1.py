"""The table of the IWAE paper with a tiny budget on the digits: ordinary runs, nothing twice."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from benchmarks import table1
from elbo_cli.runs import RunFolder
from tests.cli import command

TINY = ["model.latent_dim=2", "model.encoder.hidden=[8]", "model.decoder.hidden=[8]", "train.gap_examples=20"]
ROWS = ["mnist-vae", "mnist-iwae5"]


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """The commands of elbo's that are typed, in this process for speed."""
    log: list[tuple[str, ...]] = []

    def elbo(*words: str) -> dict[str, Any]:
        log.append(words)
        answer = command.elbo(*words, "--json")
        if answer.code:
            raise subprocess.CalledProcessError(answer.code, ["python", "-m", "elbo_cli", *words])
        return dict(json.loads(answer.out))

    monkeypatch.setattr(table1, "elbo", elbo)
    return log


def options(out: Path, *more: str, epochs: int = 2) -> list[str]:
    sizes = ["--epochs", str(epochs), "--batch", "200", "--images", "20", "--draws", "60", "--ours", "30"]
    return ["--data", "digits", "--out", str(out), "--rows", ",".join(ROWS), *sizes, *TINY, *more]


def test_every_row_is_an_ordinary_run_and_measured_both_ways(tmp_path: Path, typed: list[tuple[str, ...]]) -> None:
    rows = list(table1.study(options(tmp_path)))
    assert [row["row"] for row in rows] == ROWS
    for row in rows:
        assert (row["epochs"], row["images"], row["draws"]) == (2, 20, 60)
        assert row["nll"] > row["auto_nll"] - 1
        assert row["nll"] < -row["elbo"] + 1
        assert min(row["se_data"], row["se_mc"], row["auto_se_mc"], row["seconds"]) > 0
        assert "paper_nll" not in row, "the paper's figures are of MNIST"
        assert list(row["course"]) == [1, 2]
        assert RunFolder(tmp_path / row["row"]).records()[-1].epoch == 2
    assert [json.loads(line) for line in (tmp_path / "table1.jsonl").read_text().splitlines()] == json.loads(
        json.dumps(rows)
    )
    lines = (tmp_path / "table1.md").read_text().splitlines()
    assert len({line.count("|") for line in lines[2:]}) == 1, "every line has the columns of the head"
    assert f"{rows[0]['nll']:.2f} ±" in lines[4]
    assert [words[0] for words in typed] == ["train", "gap", "gap", "evaluate"] * 2


def test_what_is_done_is_not_done_again(tmp_path: Path, typed: list[tuple[str, ...]]) -> None:
    first = list(table1.study(options(tmp_path)))
    typed.clear()
    assert list(table1.study(options(tmp_path))) == first
    assert all("--resume" in words for words in typed), typed
    typed.clear()
    longer = list(table1.study(options(tmp_path, epochs=3)))
    assert [row["epochs"] for row in longer] == [3, 3]
    assert [words[0] for words in typed] == ["train", "gap", "gap", "evaluate"] * 2, "other weights are measured anew"


def test_a_row_that_fails_leaves_the_others(tmp_path: Path, typed: list[tuple[str, ...]]) -> None:
    (tmp_path / "mnist-vae").mkdir()
    (tmp_path / "mnist-vae" / "config.yaml").write_text("seed: 5\n")
    broken, whole = table1.study(options(tmp_path))
    assert broken["error"] == "elbo train: exit code 2"
    assert "nll" in whole
    assert "exit code 2" in (tmp_path / "table1.md").read_text()


@pytest.mark.parametrize("wrong", ["train.epochs", "--rows=vae"])
def test_a_slip_of_the_pen_is_told(tmp_path: Path, wrong: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        list(table1.study([*options(tmp_path), wrong]))
    assert "is neither KEY=VALUE nor a row" in capsys.readouterr().err


def test_the_papers_figures_stand_beside_ours() -> None:
    row = {"what": "VAE", "paper_nll": 86.76, "paper_active": "19", "active_units": 21, "seconds": 90, "nll": 90.0}
    row |= {"se_data": 0.8, "se_mc": 0.01, "auto_nll": 89.5, "auto_se_mc": 0.01, "auto_verdict": "resolved"}
    assert "| 86.76 | +3.24 |" in table1.line(row)
