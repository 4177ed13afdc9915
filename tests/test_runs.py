"""The run folder: what may be begun where, what is read from it, and who may write to it."""

from dataclasses import fields, replace
from pathlib import Path

import pytest

from elbo_cli.errors import RunError, UserError
from elbo_cli.records import EpochRecord
from elbo_cli.runs import RunFolder, checkpoint_path, new_folder, old_folder

FIRST = EpochRecord(
    epoch=1,
    step=9,
    seconds=0.1 + 0.2,
    lr=1e-3,
    train_elbo=-1 / 3,
    train_reconstruction=float("-inf"),
    train_kl=5e-324,
    valid_elbo=-2.5,
    active_units=3,
    kl_per_latent=(0.1 + 0.2, 1e-300, 0.0),
)
COMMAS = len(fields(EpochRecord)) - 1
SECOND = replace(FIRST, epoch=2, valid_elbo=None, active_units=None, kl_per_latent=None, valid_gap=1e300)


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    """A folder with two epochs in it."""
    folder = RunFolder(tmp_path / "run")
    with folder.locked():
        folder.create("seed: 0\n", {"elbo": "0"})
        folder.log(FIRST)
        folder.log(SECOND)
    return folder


def test_what_was_logged_is_read_back_to_the_last_bit(run: RunFolder) -> None:
    assert run.records() == [FIRST, SECOND]


def test_a_folder_without_rows_has_no_records(tmp_path: Path) -> None:
    assert RunFolder(tmp_path).records() == []


def test_metrics_csv_has_one_heading_and_ends_every_row(run: RunFolder) -> None:
    text = run.metrics.read_bytes()
    assert text.count(b"epoch,") == 1
    assert text.count(b"\n") == 3
    assert text.endswith(b"\n")
    assert b"\r" not in text


@pytest.mark.parametrize("lost", range(1, 260, 7))
def test_a_row_cut_short_anywhere_is_mended(lost: int, run: RunFolder) -> None:
    before = run.metrics.read_bytes()
    run.metrics.write_bytes(before[:-lost])
    rows = run.records()
    run.mend(SECOND)
    assert run.records() == [*rows, *([SECOND] if rows[-1:] != [SECOND] else [])]
    if len(rows) == 1:  # what one kill can do
        assert run.metrics.read_bytes() == before


def test_a_missing_row_is_taken_from_the_checkpoint(run: RunFolder) -> None:
    before = run.metrics.read_bytes()
    run.metrics.write_bytes(before[: before.index(b"\n2,") + 1])
    run.mend(SECOND)
    assert run.metrics.read_bytes() == before


def test_whole_rows_are_left_as_they_are(run: RunFolder) -> None:
    before, stamp = run.metrics.read_bytes(), run.metrics.stat().st_mtime_ns
    run.mend(SECOND)
    assert (run.metrics.read_bytes(), run.metrics.stat().st_mtime_ns) == (before, stamp)


def test_rows_beyond_the_checkpoint_are_refused_and_kept(run: RunFolder) -> None:
    before = run.metrics.read_bytes()
    with pytest.raises(UserError, match="goes to epoch 2, but the checkpoint that was read to epoch 1"):
        run.mend(FIRST)
    assert run.metrics.read_bytes() == before


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("3,1\n", "the row of epoch 3 has too many or too few cells"),
        ("," * (COMMAS + 9) + "\n", "too many or too few cells"),
        ("three" + "," * COMMAS + "\n", "invalid literal for int"),
        ("," * COMMAS + "\n", "invalid literal for int"),
        ("3,1,fast" + "," * (COMMAS - 2) + "\n", "could not convert string to float: 'fast'"),
        ("\x00\xff\n", ""),
    ],
)
def test_a_row_that_is_not_elbos_is_told_with_its_file(row: str, said: str, run: RunFolder) -> None:
    with run.metrics.open("a", encoding="latin-1") as file:
        file.write(row)
    with pytest.raises(UserError, match=f"{run.metrics} is not as elbo wrote it: .*{said}"):
        run.records()


def test_rows_of_a_version_with_other_columns_get_those_of_this_one(run: RunFolder) -> None:
    """Else a resumed run would put long rows below a short heading."""
    before = run.records()
    lines = [line.split(",") for line in run.metrics.read_text().splitlines()]
    without = lines[0].index("free_bits")
    run.metrics.write_text("".join(",".join(line[:without] + line[without + 1 :]) + "\n" for line in lines))
    run.mend(SECOND)
    assert run.records() == before
    run.log(replace(SECOND, epoch=3))
    assert [record.epoch for record in run.records()] == [1, 2, 3]


def test_columns_of_another_table_are_told(run: RunFolder) -> None:
    run.metrics.write_text("a,b\n1,2\n")
    with pytest.raises(UserError, match="is not as elbo wrote it"):
        run.records()


def test_only_one_may_hold_a_folder_and_after_it_the_next(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    with (
        folder.locked(),
        pytest.raises(UserError, match="Another process is training in"),
        RunFolder(folder.path).locked(),
    ):
        pass
    with folder.locked():
        pass


def test_a_failure_inside_lets_go_of_the_folder_and_keeps_its_own_name(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    with pytest.raises(BrokenPipeError, match="the reader"), folder.locked():
        raise BrokenPipeError("the reader")
    with folder.locked():
        pass


def test_what_a_killed_process_left_half_written_is_cleared(run: RunFolder) -> None:
    left = run.path / ".last.safetensors.123.tmp"
    left.write_bytes(b"half")
    with run.locked():
        assert not left.exists()
    assert run.records() == [FIRST, SECOND]


def test_a_folder_that_cannot_be_made_is_a_failure_with_its_name(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    folder = RunFolder(tmp_path / "file" / "run")
    with pytest.raises(RunError, match=f"Cannot make the folder {folder.path}"), folder.locked():
        pass


def test_a_new_run_goes_to_an_empty_folder_or_to_none(tmp_path: Path) -> None:
    assert new_folder(tmp_path / "a" / "b", "name", "seed: 0").path == tmp_path / "a" / "b"
    assert not (tmp_path / "a").exists()
    (tmp_path / ".lock").touch()  # of a process that was killed before it wrote anything
    assert new_folder(tmp_path, "name", "seed: 0").path == tmp_path


def test_a_new_run_takes_no_place_that_is_taken(run: RunFolder, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"is not empty; continue it with --resume {run.path}"):
        new_folder(run.path, "name", "seed: 0")
    with pytest.raises(UserError, match="is not empty; give a folder that does not exist yet"):
        new_folder(tmp_path, "name", "seed: 0")
    with pytest.raises(UserError, match="is a file"):
        new_folder(run.metrics, "name", "seed: 0")
    with pytest.raises(UserError, match=f"{run.metrics} is no folder"):
        new_folder(run.metrics / "deeper" / "still", "name", "seed: 0")


def test_runs_without_a_name_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names = {new_folder(None, "digits", "seed: 0").path for _ in range(5)}
    assert len(names) == 5
    assert all(path.match("runs/????-??-??_digits_????") for path in names)


def test_an_old_run_is_a_folder_with_a_config(run: RunFolder, tmp_path: Path) -> None:
    assert old_folder(run.path) == run
    with pytest.raises(UserError, match="it has no config"):
        old_folder(tmp_path)


def test_a_folder_stands_for_its_best_checkpoint_and_else_for_its_last(run: RunFolder) -> None:
    with pytest.raises(UserError, match="holds no checkpoint"):
        checkpoint_path(str(run.path))
    run.last.touch()
    assert checkpoint_path(str(run.path)) == run.last
    run.best.touch()
    assert checkpoint_path(str(run.path)) == run.best
    assert checkpoint_path(str(run.last)) == run.last


def test_who_mistypes_a_checkpoint_is_told_what_there_is(run: RunFolder) -> None:
    run.best.touch()
    with pytest.raises(UserError, match=f"In {run.path} there are: best.safetensors"):
        checkpoint_path(str(run.path / "beast.safetensors"))
    with pytest.raises(UserError, match=f"In {run.path.parent} there are: run"):
        checkpoint_path(str(run.path.parent / "rum"))


def test_the_files_of_a_run_are_those_that_are_there(run: RunFolder) -> None:
    assert run.files() == [run.config, run.manifest, run.metrics]
