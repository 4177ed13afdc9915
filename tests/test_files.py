"""A file is written whole or not at all, and whoever cannot be written to is told of by name."""

import errno
import os
from pathlib import Path

import pytest

from elbo_cli.errors import RunError, UserError
from elbo_cli.files import append, make_folder, refuse_file, refuse_place, sweep, write_whole
from elbo_cli.foreign import is_factory
from elbo_cli.parts import read_part
from elbo_cli.runs import checkpoint_path, new_folder, old_folder


def test_what_is_written_is_there_and_nothing_else(tmp_path: Path) -> None:
    write_whole(tmp_path / "a", "Größe\n")
    write_whole(tmp_path / "b", b"\x00\xff")
    assert (tmp_path / "a").read_text(encoding="utf-8") == "Größe\n"
    assert (tmp_path / "b").read_bytes() == b"\x00\xff"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_a_disk_that_fails_leaves_the_old_file_and_no_other(
    failing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a"
    path.write_text("old")

    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(*((os, "fsync") if failing == "fsync" else (Path, "replace")), fail)
    with pytest.raises(RunError, match=f"Cannot write {path}: No space left on device"):
        write_whole(path, "new")
    assert path.read_text() == "old"
    assert [*tmp_path.iterdir()] == [path]


def test_a_reader_sees_the_old_file_until_the_new_one_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, seen = tmp_path / "a", []
    path.write_text("old")
    rename = Path.replace
    monkeypatch.setattr(Path, "replace", lambda self, to: (seen.append(path.read_text()), rename(self, to))[1])
    write_whole(path, "new" * 10_000)
    assert seen == ["old"]
    assert path.read_text() == "new" * 10_000


def test_the_bytes_are_on_the_disk_before_the_name_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    flush, rename = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda fd: (order.append("flush"), flush(fd))[1])
    monkeypatch.setattr(Path, "replace", lambda self, to: (order.append("rename"), rename(self, to))[1])
    write_whole(tmp_path / "a", "new")
    assert order == ["flush", "rename", "flush"]  # the file, its name, and the folder that holds the name


def test_lines_are_added_at_the_end(tmp_path: Path) -> None:
    for text in ("a\n", "b\n"):
        append(tmp_path / "a", text)
    assert (tmp_path / "a").read_bytes() == b"a\nb\n"


def test_what_the_system_refuses_is_told_with_its_name(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for refused in (
        lambda: write_whole(tmp_path / "none" / "a", ""),
        lambda: write_whole(tmp_path, ""),
        lambda: append(tmp_path, ""),
        lambda: make_folder(tmp_path / "file" / "a"),
    ):
        with pytest.raises(RunError, match=f"Cannot .* {tmp_path}"):
            refused()


def test_a_sweep_takes_what_was_left_half_written_and_nothing_more(tmp_path: Path) -> None:
    for name in (".a.csv.12.tmp", ".lock", "a.tmp", "a.csv"):
        (tmp_path / name).touch()
    sweep(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".lock", "a.csv", "a.tmp"]


def test_a_place_is_one_where_something_can_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    refuse_place(tmp_path / "a" / "b", "--out")
    refuse_file(tmp_path / "a", "--out")
    refuse_file(tmp_path / "file", "--out")
    with pytest.raises(UserError, match="is no folder"):
        refuse_place(tmp_path / "file" / "a" / "b", "--out")
    with pytest.raises(UserError, match=f"there is no folder {tmp_path / 'a'}"):
        refuse_file(tmp_path / "a" / "b", "--out")
    with pytest.raises(UserError, match="is a folder: give a file's name"):
        refuse_file(tmp_path, "--out")


def test_the_root_is_a_place_and_no_file() -> None:
    refuse_place(Path("/"), "--out")
    with pytest.raises(UserError, match="is a folder: give a file's name"):
        refuse_file(Path("/"), "--out")


@pytest.mark.parametrize("name", ["a" * 300, "a" * 250, "a" * 300 + "/b", "ä" * 124, "/".join(["a" * 200] * 21)])
def test_a_name_is_no_longer_than_what_can_be_written(name: str, tmp_path: Path) -> None:
    for refuse in (refuse_place, refuse_file):
        with pytest.raises(UserError, match=r"bytes, [\d,]+ at most. Give a shorter name"):
            refuse(tmp_path / name, "--out")


@pytest.mark.parametrize("name", ["a" * 240, "ä" * 120])
def test_the_longest_name_that_is_allowed_can_be_written(name: str, tmp_path: Path) -> None:
    path = tmp_path / ("b" * 255) / name
    refuse_place(path, "--out")
    path.parent.mkdir()
    refuse_file(path, "--out")
    write_whole(path, "whole")
    assert path.read_text() == "whole"


def test_what_the_system_will_not_show_is_the_users_to_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path, **_: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))  # root may look anywhere

    monkeypatch.setattr(Path, "stat", refuse)
    path = tmp_path / "run"
    for look in (
        old_folder,
        lambda p: new_folder(p, "run", ""),
        lambda p: checkpoint_path(str(p)),
        lambda p: is_factory(f"{p}:make"),
        read_part,
    ):
        with pytest.raises(UserError, match=f"Cannot look at {path}.*: Permission denied. Give another place"):
            look(path)


def test_a_folder_that_may_not_be_written_to_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write anywhere
    with pytest.raises(UserError, match=f"the folder {tmp_path} may not be written to"):
        refuse_place(tmp_path / "a", "--out")
