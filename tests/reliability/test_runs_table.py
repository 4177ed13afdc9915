"""`elbo runs`: what it says of whole, killed and damaged runs; what a spreadsheet and a terminal get of names."""

import csv
import io
import json
import shutil
import tracemalloc
from pathlib import Path

import pytest

from elbo_cli.report.rows import tame_csv
from elbo_cli.report.runs_table import RunRow, list_runs
from tests.cli.command import TINY, elbo


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    (folder / "tiny.yaml").write_text(TINY)
    assert elbo("train", "--config", folder / "tiny.yaml", "--out", folder / "whole").code == 0
    for name in ("killed", "patient", "torn", "damaged", "=1+cmd|'calc'!A0", "\x1b[31mred"):
        shutil.copytree(folder / "whole", folder / name)
    config = (folder / "whole" / "config.yaml").read_text()
    (folder / "killed" / "config.yaml").write_text(config.replace("epochs: 2", "epochs: 9"))
    (folder / "patient" / "config.yaml").write_text(
        config.replace("epochs: 2", "epochs: 9").replace("patience: null", "patience: 1")
    )
    metrics = (folder / "whole" / "metrics.csv").read_text()
    (folder / "patient" / "metrics.csv").write_text(metrics + metrics.splitlines()[-1].replace("2,", "3,", 1) + "\n")
    (folder / "torn" / "metrics.csv").write_text(metrics + "3,45,0.")
    for each in (folder / "damaged").iterdir():
        each.write_bytes(bytes(range(255)))
    return folder


def test_a_run_is_finished_at_its_last_epoch_or_at_the_end_of_its_patience(runs: Path) -> None:
    rows = {Path(row.path).name: row for row in list_runs(runs)}
    assert {name: rows[name].status for name in ("whole", "killed", "patient", "damaged")} == {
        "whole": "finished",
        "killed": "unfinished",
        "patient": "finished",
        "damaged": "damaged",
    }
    assert (rows["whole"].epochs, rows["patient"].epochs, rows["torn"].epochs, rows["damaged"].epochs) == (2, 3, 2, 0)


def test_the_best_validation_elbo_is_the_one_that_was_logged(runs: Path) -> None:
    with (runs / "whole" / "metrics.csv").open() as file:
        logged = {int(row["epoch"]): float(row["valid_elbo"]) for row in csv.DictReader(file)}
    row = next(row for row in list_runs(runs) if row.path.endswith("whole"))
    assert row.valid_elbo == max(logged.values())
    assert row.best_epoch is not None
    assert row.valid_elbo == logged[row.best_epoch]


def test_rows_without_the_column_that_is_sorted_by_come_last(runs: Path) -> None:
    for order in ("valid_elbo", "started", "data"):
        assert list_runs(runs, order)[-1].path.endswith("damaged")


def test_json_and_csv_hold_the_same_rows(runs: Path) -> None:
    from_json = json.loads(elbo("runs", runs, "--json").out)["runs"]
    from_csv = list(csv.DictReader(io.StringIO(elbo("runs", runs, "--csv").out)))
    assert [row["valid_elbo"] or "" for row in from_json] == [float(row["valid_elbo"] or 0) or "" for row in from_csv]
    assert len(from_json) == 7


def test_a_name_is_no_formula_in_a_spreadsheet_and_no_command_to_a_terminal(
    runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(runs)
    rows = list(csv.reader(io.StringIO(tame_csv(list_runs(Path()), RunRow))))
    assert not [cell for row in rows for cell in row if cell[:1] in ("=", "@", "+")]
    assert any(row[0] == "'=1+cmd|'calc'!A0" for row in rows)
    answer = elbo("runs", ".")
    assert answer.code == 0
    assert "\x1b" not in answer.out
    assert "\\x1b[31mred" in answer.out


def test_numbers_beyond_64_bits_are_none_of_elbo_s(runs: Path, tmp_path: Path) -> None:
    shutil.copytree(runs / "whole", tmp_path / "wide")
    shutil.copytree(runs / "whole", tmp_path / "long")
    (tmp_path / "wide" / "config.yaml").write_text(f"train: {{epochs: {2**63}}}\n")
    (tmp_path / "long" / "metrics.csv").write_text(f"epoch,valid_elbo\n{'9' * 4000},1\n")
    rows = {Path(row.path).name: row for row in list_runs(tmp_path)}
    assert rows["wide"].status == "damaged"
    assert rows["long"].epochs == 0


@pytest.mark.parametrize("cells", [400, 4000])
@pytest.mark.parametrize("cut", ["", "4,60,1e-3," + "0.0123456789 " * 4000])
def test_a_last_row_with_the_kl_of_many_latents_is_found(cells: int, cut: str, runs: Path, tmp_path: Path) -> None:
    shutil.copytree(runs / "killed", tmp_path / "wide")
    kl = " ".join(["0.0123456789012"] * cells)
    (tmp_path / "wide" / "metrics.csv").write_text(f"epoch,kl_per_latent\n2,{kl}\n3,{kl}\n{cut}")
    assert [row.epochs for row in list_runs(tmp_path)] == [3]


def test_a_last_row_without_an_end_is_looked_for_within_bounds(runs: Path, tmp_path: Path) -> None:
    shutil.copytree(runs / "killed", tmp_path / "endless")
    with (tmp_path / "endless" / "metrics.csv").open("w") as file:
        file.write("epoch,step\n2,45\n3,")
        file.truncate(2**32)  # a hole: it takes no room on the disk
    tracemalloc.start()
    assert [row.epochs for row in list_runs(tmp_path)] == [0]
    assert tracemalloc.get_traced_memory()[1] < 2**24
    tracemalloc.stop()


@pytest.mark.parametrize("value", ["2001-99-99", "[[", "[" * 3000, "&a [*a]", "!!python/name:os.system", "\x00"])
def test_a_condition_s_value_is_a_word_whatever_yaml_would_make_of_it(value: str, runs: Path) -> None:
    """A date that is none was a ValueError, and brackets were a RecursionError."""
    assert list_runs(runs, where=[f"data={value}"]) == []
    assert len(list_runs(runs, where=[f"data!={value}"])) == 7


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nowhere"], "Cannot list the runs in nowhere"),
        (["."], "It is a run itself"),
        ([".", "--sort", "valid_ebo"], "Did you mean 'valid_elbo'?"),
        ([".", "--csv", "--json"], "give one of them"),
    ],
)
def test_a_mistake_is_told_in_a_sentence(
    words: list[str], said: str, runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(runs / "whole")
    answer = elbo("runs", *words)
    assert (answer.code, answer.out) == (2, "")
    assert said in answer.err
