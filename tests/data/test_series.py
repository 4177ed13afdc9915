"""Which files a path of the config names, and in which order."""

from pathlib import Path

import pytest

from elbo_cli.data.series import Paths, files
from elbo_cli.errors import UserError, called


def made(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")
    return folder


def names(folder: Path, paths: Paths) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in files(paths, "data.path")]


def test_numbers_in_names_count_by_their_value(tmp_path: Path) -> None:
    made(tmp_path, *(f"part-{n}.npy" for n in (10, 9, 1, 11, *range(2, 9))))
    assert names(tmp_path, tmp_path) == [f"part-{n}.npy" for n in range(1, 12)]
    assert names(tmp_path, f"{tmp_path}/part-*.npy") == names(tmp_path, tmp_path)


def test_text_and_numbers_are_ordered_in_turn(tmp_path: Path) -> None:
    order = ["1.npy", "01.npy", "2b.npy", "10a.npy", "B.npy", "a2c1.npy", "a2c2.npy", "a10.npy", "b.npy"]
    made(tmp_path, *order)
    assert names(tmp_path, tmp_path) == ["01.npy", "1.npy", *order[2:]]


def test_folders_within_a_pattern_are_ordered_too(tmp_path: Path) -> None:
    made(tmp_path, "day10/a.npy", "day9/b.npy", "day9/a.npy", "day9/.hidden.npy", "notes.txt")
    assert names(tmp_path, f"{tmp_path}/**/*.npy") == ["day9/a.npy", "day9/b.npy", "day10/a.npy"]


def test_a_list_keeps_its_order_and_may_hold_patterns(tmp_path: Path) -> None:
    made(tmp_path, "b.npy", "a.npy", "c/2.npy", "c/1.npy")
    assert names(tmp_path, [tmp_path / "b.npy", f"{tmp_path}/c/*", tmp_path / "a.npy"]) == [
        "b.npy",
        "c/1.npy",
        "c/2.npy",
        "a.npy",
    ]


def test_a_folder_that_holds_an_image_is_one_of_images(tmp_path: Path) -> None:
    made(tmp_path, "labels.npy", "1.PNG")
    assert files(tmp_path, "data.path") == [tmp_path]
    made(tmp_path / "none", "notes.txt", ".hidden.npy", "folder.npy/inside.npy")
    assert files(tmp_path / "none", "data.path") == [tmp_path / "none"]


def test_a_file_of_that_very_name_is_no_pattern(tmp_path: Path) -> None:
    made(tmp_path, "x[1].npy", "x1.npy", "*.npy")
    assert names(tmp_path, str(tmp_path / "x[1].npy")) == ["x[1].npy"]
    assert names(tmp_path, str(tmp_path / "*.npy")) == ["*.npy"]


def test_the_home_folder_may_be_in_a_pattern(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(made(tmp_path, "a.npy")))
    assert names(tmp_path, "~/?.npy") == ["a.npy"]


@pytest.mark.parametrize(
    ("there", "said"),
    [
        (["p-0", "p-1", "p-3"], "p-2.npy is missing"),
        (["p-007", "p-008", "p-010"], "p-009.npy is missing"),
        (["p-08", "p-09", "p-11", "p-13"], "p-10.npy is missing, and 1 more"),
        (["p-8", "p-9", "p-12", "p-13"], "p-10.npy is missing, and 1 more"),
        (["p-0-of-4", "p-1-of-4", "p-3-of-4"], "p-2-of-4.npy is missing"),
        (["p-00000-of-00004", "p-00001-of-00004", "p-00002-of-00004"], "their names promise 4"),
        (["p_0_of_4", "p_1_of_4"], "their names promise 4"),
        (["p-0", "p-100", "p-200", "p-400"], "p-300.npy is missing"),  # by their first rows
    ],
)
def test_a_file_that_a_series_lacks_is_named(tmp_path: Path, there: list[str], said: str) -> None:
    made(tmp_path, *(f"{name}.npy" for name in there))
    for paths in (tmp_path, f"{tmp_path}/*.npy"):
        with pytest.raises(UserError, match="list the files") as told:
            files(paths, "data.path")
        assert said in str(told.value)
    assert len(files([tmp_path / f"{name}.npy" for name in there], "data.path")) == len(there), "where that is meant"


@pytest.mark.parametrize(
    "there",
    [
        ["p-0", "p-1", "p-2"],
        ["p-1"],
        ["p-1", "p-9"],
        ["p-0", "p-100", "p-200"],
        ["1999", "2007", "2024"],
        ["a-1", "a-2", "b-1", "b-3"],
        ["a-1", "a-01", "a-3"],
        ["p-0-of-2", "p-1-of-2"],
        ["one", "two", "three"],
    ],
)
def test_what_is_no_series_lacks_nothing(tmp_path: Path, there: list[str]) -> None:
    made(tmp_path, *(f"{name}.npy" for name in there))
    assert len(files(tmp_path, "data.path")) == len(there)


def test_a_file_named_twice_is_told(tmp_path: Path) -> None:
    made(tmp_path, "a.npy", "b.npy")
    (tmp_path / "link.npy").symlink_to(tmp_path / "a.npy")
    with pytest.raises(UserError, match=r"names .*a.npy twice. Name each file once"):
        files([f"{tmp_path}/[ab].npy", tmp_path / "a.npy"], "data.path")
    with pytest.raises(UserError, match=r"names .*link.npy twice, the first time as .*a.npy"):
        files([tmp_path / "a.npy", tmp_path / "link.npy"], "data.path")


@pytest.mark.parametrize(
    ("paths", "said"),
    [
        ("parts/*.npz", "parts/*.npz matches no file"),
        (["a.npy", "godo.npy"], "Did you mean 'good.npy'"),
        (["a.npy", ""], "data.path is empty"),
        ("*\0", "matches no file"),
        ("~nobody-of-that-name/*.npy", "cannot be opened"),
    ],
)
def test_nothing_there_is_a_sentence(
    tmp_path: Path, paths: str | list[str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(made(tmp_path, "a.npy", "good.npy", "parts/a.npy"))
    with pytest.raises(UserError) as told:
        files(paths, "data.path")
    assert said in str(told.value)


def test_what_many_files_are_called() -> None:
    assert called("a/*.npy") == "a/*.npy"
    assert called([Path("a.npy")]) == "a.npy"
    assert called(["a.npy", "b.npy", "c.npy"]) == "a.npy and 2 more"
