"""The main job from end to end on the shipped digits: train, evaluate, gap, and what other programs may rely on."""

import json
import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from elbo_cli.checkpoint import read
from elbo_cli.data.digits import digits
from elbo_cli.records import EpochRecord, EvaluationRow, GapRow
from tests.cli.command import TINY, Answer, elbo

MEANS = {"elbo", "reconstruction", "kl"}
KEYS = {
    "train": {"run", "epochs", "best_epoch", "seconds", "train", "valid"},
    "evaluate": {"checkpoint", "data", "split", "examples", "elbo", "reconstruction", "kl", "active_units"},
    "gap": {
        *("checkpoint", "data", "split", "examples", "samples", "method", "seed", "seconds", "elbo", "log_px", "gap"),
        *("certified", "curve", "rho", "khat", "verdict", "advice"),
    },
}
GAP = ("gap", "--samples", 32, "--limit", 20)


def answer_of(answer: Answer) -> dict[str, Any]:
    """The one JSON object on standard output."""
    assert answer.code == 0, answer.err
    assert answer.out.endswith("}\n")
    assert answer.out.count("\n") == 1
    found = json.loads(answer.out, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert isinstance(found, dict)
    return found


def columns(record: type) -> list[str]:
    return [f.name for f in fields(record)]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_training_answers_in_json_and_leaves_a_run_behind(here: Path) -> None:
    (here / "tiny.yaml").write_text(TINY)
    answer = elbo("train", "--config", "tiny.yaml", "--out", "run", "--json", "train.epochs=1")
    found = answer_of(answer)
    assert found.keys() >= KEYS["train"]
    assert found["train"].keys() == found["valid"].keys() == MEANS
    assert (found["run"], found["epochs"], found["best_epoch"]) == ("run", 1, 1)
    row = pd.read_csv(here / "run" / "metrics.csv").iloc[-1]
    assert found["valid"] == {name: pytest.approx(row[f"valid_{name}"], rel=1e-14) for name in MEANS}  # pandas 2 rounds
    assert row.train_elbo == pytest.approx(row.train_reconstruction - row.train_kl, abs=1e-4)
    assert "epoch=1" in answer.err
    visible = {path.name for path in (here / "run").iterdir() if not path.name.startswith(".")}
    assert visible == {"config.yaml", "manifest.json", "metrics.csv", "last.safetensors", "best.safetensors"}
    assert all(str(Path("run") / name) in answer.err for name in visible)


def test_a_run_without_a_name_goes_to_a_folder_of_its_own(here: Path) -> None:
    (here / "tiny.yaml").write_text(TINY)
    folders = {
        answer_of(elbo("train", "-c", "tiny.yaml", "train.epochs=1", "train.gap_every=0", "--json"))["run"]
        for _ in range(2)
    }
    assert len(folders) == 2
    assert all(Path(folder).match("runs/*_tiny_*") for folder in folders)


def test_metrics_csv_has_a_row_per_epoch_and_the_columns_of_the_record(trained: Path) -> None:
    table = pd.read_csv(trained / "metrics.csv")
    assert list(table) == columns(EpochRecord)
    assert list(table.epoch) == [1, 2]
    ledger = table.valid_log_px.diff()[1] - table.valid_gap.diff()[1]
    assert ledger == pytest.approx(table.delta_log_px[1] - table.delta_gap[1], abs=1e-9)


def test_training_from_a_runs_own_config_gives_the_same_run(trained: Path, here: Path) -> None:
    assert elbo("train", "--config", trained / "config.yaml", "--out", "again").code == 0
    first, again = (pd.read_csv(folder / "metrics.csv") for folder in (trained, here / "again"))
    clocks = ["seconds", "probe_seconds"]
    pd.testing.assert_frame_equal(first.drop(columns=clocks), again.drop(columns=clocks), check_exact=True)


def test_evaluation_answers_in_json(trained: Path) -> None:
    found = answer_of(elbo("evaluate", trained, "--json"))
    assert found.keys() >= KEYS["evaluate"]
    assert (found["data"], found["split"], found["examples"]) == ("digits", "test", 180)
    assert found["elbo"]["mean"] == pytest.approx(found["reconstruction"]["mean"] - found["kl"]["mean"], abs=1e-6)
    assert all(found[name]["se"] > 0 for name in MEANS)


def test_the_gap_answers_in_json(trained: Path) -> None:
    found = answer_of(elbo(*GAP, trained, "--json"))
    assert found.keys() >= KEYS["gap"]
    assert (found["data"], found["split"], found["examples"], found["samples"]) == ("digits", "test", 20, 32)
    assert all(found[name].keys() == {"mean", "se_data", "se_mc"} for name in ("elbo", "log_px", "gap"))
    assert found["gap"]["mean"] == pytest.approx(found["log_px"]["mean"] - found["elbo"]["mean"], abs=1e-9)
    assert found["certified"].keys() >= {"log_px_at_least", "gap_at_least", "delta"}
    assert found["certified"]["log_px_at_least"] < found["log_px"]["mean"]
    assert [point["k"] for point in found["curve"]] == [1, 4, 16, 32]
    assert all(point.keys() >= {"k", "bound", "se"} for point in found["curve"])
    assert found["khat"].keys() == {"median", "above_threshold"}
    assert (found["interval"]["low"] is None) is (found["verdict"] != "resolved")
    assert found["verdict"] in ("resolved", "partial", "unresolved")


def test_the_gap_answers_with_the_same_keys_whatever_method_is_chosen(trained: Path) -> None:
    for words in (
        [],
        ["--tolerance", 0.5],
        ["--tolerance", 2, "--method", "ais"],
        ["--method", "importance"],
        ["--proposal", "posterior"],
    ):
        found = answer_of(elbo("gap", trained, "--limit", 3, *words, "--json"))
        assert found.keys() >= KEYS["gap"], words
        assert found["khat"].keys() == {"median", "above_threshold"}
        assert (found["interval"]["low"] is None) is (found["verdict"] != "resolved"), words
        assert found["certified"].keys() >= {"log_px_at_least", "gap_at_least", "delta"}


def test_what_json_cannot_say_is_null(trained: Path) -> None:
    found = answer_of(elbo("gap", trained, "--samples", 1, "--limit", 1, "--json"))
    assert found["log_px"]["se_mc"] is None
    assert found["log_px"]["se_data"] is None


def test_bound_gap_is_another_name_for_gap(trained: Path) -> None:
    found = [answer_of(elbo(name, *GAP[1:], trained, "--json")) for name in ("gap", "bound-gap")]
    assert found[0] | {"seconds": 0} == found[1] | {"seconds": 0}


def test_the_same_seed_gives_the_same_numbers_and_another_seed_others(trained: Path) -> None:
    def means(command: str, *words: object) -> list[float]:
        found = answer_of(elbo(command, trained, "--limit", "20", *map(str, words), "--json"))
        return [found[name]["mean"] for name in ("elbo", "log_px" if command == "gap" else "kl")]

    for command in ("evaluate", "gap"):
        first = means(command, "--seed", 7, "--samples", 16)
        assert means(command, "--seed", 7, "--samples", 16) == first
        assert means(command, "--seed", 8, "--samples", 16)[0] != first[0]


def test_the_tile_changes_memory_and_not_the_answer(trained: Path) -> None:
    found = [answer_of(elbo(*GAP, trained, "--tile", tile, "--json"))["log_px"]["mean"] for tile in ("33", "100000")]
    assert found[0] == pytest.approx(found[1], abs=1e-5)  # float32 in the networks: batches of other sizes round so


@pytest.mark.parametrize("ending", ["csv", "parquet"])
@pytest.mark.parametrize(("command", "record"), [(("evaluate",), EvaluationRow), (GAP, GapRow)])
def test_a_row_for_each_datum_is_written(
    command: tuple[object, ...], record: type, ending: str, trained: Path, here: Path
) -> None:
    pytest.importorskip("pyarrow")
    found = answer_of(elbo(*map(str, command), trained, "--out", f"rows.{ending}", "--json"))
    table = (pd.read_csv if ending == "csv" else pd.read_parquet)(here / f"rows.{ending}")
    assert list(table) == columns(record)
    assert list(table["index"]) == list(range(found["examples"]))
    assert table["elbo"].mean() == pytest.approx(found["elbo"]["mean"], abs=1e-9)
    assert [path.name for path in here.iterdir()] == [f"rows.{ending}"]


def test_explain_says_what_each_line_is_and_opens_nothing(here: Path) -> None:
    """Every name that the report prints is explained, and each reference that is named is given."""
    answer = elbo("gap", "--explain")
    assert answer.code == 0
    for name in ("ELBO", "log p(x)", "gap", "certificate", "curve", "rho", "remainder", "jackknife", "k-hat", "ESS"):
        assert re.search(rf"^{re.escape(name)}  ", answer.out, re.MULTILINE), name
    assert all(f"{word}  " in answer.out for word in ("resolved", "partial", "unresolved"))
    assert all(re.search(rf"{re.escape(mark)} [A-Z]", answer.out) for mark in re.findall(r"\[\d\]", answer.out))
    assert not list(here.iterdir())


def test_strict_ends_with_3_unless_the_verdict_is_resolved(trained: Path) -> None:
    few = elbo("gap", trained, "--samples", 2, "--limit", 5, "--strict", "--json")
    assert few.code == 3
    assert json.loads(few.out)["verdict"] != "resolved"
    many = elbo("gap", trained, "--samples", 1000, "--limit", 2, "--strict", "--json")
    assert json.loads(many.out)["verdict"] == "resolved"
    assert many.code == 0


def test_a_folder_stands_for_its_best_checkpoint(trained: Path) -> None:
    means = {
        name: answer_of(elbo("evaluate", trained / name, "--limit", 9, "--json"))["elbo"]
        for name in ("", "best.safetensors", "last.safetensors")
    }
    assert means[""] == means["best.safetensors"]
    assert read(trained / "best.safetensors").header.last.epoch == 2  # so that both are of one epoch here
    assert means["best.safetensors"] == means["last.safetensors"]


def test_every_split_can_be_measured(trained: Path) -> None:
    for split, examples in {"train": 1437, "valid": 180, "test": 180}.items():
        found = answer_of(elbo("evaluate", trained, "--split", split, "--json"))
        assert (found["split"], found["examples"]) == (split, examples)


def test_other_data_can_be_measured_from_a_file(trained: Path, here: Path) -> None:
    held_out = digits(binarize="dynamic", seed=0).test
    np.save(here / "mine.npy", held_out.batch(torch.arange(180)).numpy())
    mine = answer_of(elbo("evaluate", trained, "--data", "mine.npy", "data.binarize=none", "--json"))
    own = answer_of(elbo("evaluate", trained, "--json"))
    assert (mine["data"], mine["examples"]) == ("mine.npy", 180)
    assert mine["elbo"] == own["elbo"]


def test_other_data_are_scaled_as_those_that_were_learnt_from(here: Path) -> None:
    (here / "tiny.yaml").write_text(TINY)
    np.save(here / "loud.npy", np.random.default_rng(0).uniform(0, 16, (50, 5)).astype(np.float32))
    loud = [
        "data.name=arrays",
        "data.path=loud.npy",
        "data.binarize=none",
        "data.scale=16",
        "model.likelihood=gaussian",
    ]
    assert elbo("train", "-c", "tiny.yaml", *loud, "train.epochs=1", "--out", "run").code == 0
    same, given, other = (
        answer_of(elbo("evaluate", "run", "--data", "./loud.npy", *words, "--json"))["elbo"]["mean"]
        for words in ([], ["data.scale=16"], ["data.scale=1"])
    )
    assert same == given != other


def test_a_data_set_is_measured_by_its_name(trained: Path) -> None:
    named = answer_of(elbo("evaluate", trained, "--data", "digits", "--json"))
    assert named["elbo"] == answer_of(elbo("evaluate", trained, "--json"))["elbo"]


def test_settings_of_the_data_can_be_overridden(trained: Path) -> None:
    fewer = answer_of(elbo("evaluate", trained, "data.test=100", "data.binarize=threshold", "--json"))
    assert fewer["examples"] == 100
    assert fewer["elbo"] != answer_of(elbo("evaluate", trained, "--json"))["elbo"]


def test_the_limit_takes_the_first_data(trained: Path, here: Path) -> None:
    for limit in (10, 20):
        assert elbo("evaluate", trained, "--limit", limit, "--out", f"{limit}.csv").code == 0
    ten, twenty = pd.read_csv("10.csv"), pd.read_csv("20.csv")
    assert (len(ten), len(twenty)) == (10, 20)
    assert ten.kl.to_numpy() == pytest.approx(twenty.kl[:10].to_numpy(), rel=1e-5)  # closed form: no draws in it


def test_presets_are_listed_written_and_checked(here: Path) -> None:
    listed = elbo("init")
    assert "digits" in listed.out
    assert elbo("init", "digits").code == 0
    checked = elbo("check", "digits.yaml", "model.latent_dim=3")
    assert checked.code == 0
    assert "latent_dim: 3" in checked.out
