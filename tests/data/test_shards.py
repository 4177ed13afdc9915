"""Many .npy files are the one array of all their rows."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from elbo_cli.data import checks, shards
from elbo_cli.data.arrays import arrays, whole
from elbo_cli.data.shards import Shards, open_shards
from elbo_cli.data.split import Split
from elbo_cli.errors import UserError
from elbo_cli.runtime import noise

RNG = np.random.default_rng(0)
FLOATS = RNG.random((40, 6)).astype(np.float32)
BYTES = RNG.integers(0, 256, (40, 5, 4), dtype=np.uint8)
CUTS = {"even": (10, 20, 30), "uneven": (1, 2, 25, 39), "one row each": tuple(range(1, 40))}


def cut(folder: Path, values: NDArray[Any], cuts: tuple[int, ...]) -> list[Path]:
    """The rows in files part-0.npy, part-1.npy, ..."""
    folder.mkdir(exist_ok=True)
    paths = [folder / f"part-{number}.npy" for number in range(len(cuts) + 1)]
    for path, piece in zip(paths, np.split(values, cuts), strict=True):
        np.save(path, piece)
    return paths


@pytest.mark.parametrize("cuts", CUTS)
@pytest.mark.parametrize("binarize", ["none", "threshold", "fixed", "dynamic"])
@pytest.mark.parametrize(
    "values",
    [FLOATS, BYTES, BYTES[..., None], (BYTES / 255).astype(">f8"), np.asfortranarray(BYTES > 99)],
    ids=["vectors", "images", "channel last", "other byte order", "truth values by columns"],
)
def test_many_files_are_one(tmp_path: Path, values: NDArray[Any], binarize: str, cuts: str) -> None:
    """In memory and not, whatever is cut from them: the same data, drawn with the same noise, under one digest."""
    np.save(tmp_path / "one.npy", values)
    cut(tmp_path / "many", values, CUTS[cuts])
    one = arrays(tmp_path / "one.npy", binarize=binarize)
    held, mapped = (arrays(tmp_path / "many", binarize=binarize, memory_limit=limit) for limit in (10**6, 10))
    assert isinstance(mapped.train.values, Shards)
    assert not isinstance(held.train.values, Shards)
    for name in ("train", "valid", "test"):
        mine, *others = (data.split(name) for data in (one, held, mapped))
        for other in others:
            assert torch.equal(drawn(mine), drawn(other))
            assert torch.equal(drawn(mine.first(3).frozen()), drawn(other.first(3).frozen()))
            assert mine.digest() == other.digest()


def drawn(split: Split) -> torch.Tensor:
    with noise(0, "test"):
        return torch.cat(list(split.blocks(7)))


def test_splits_in_many_files_of_their_own(tmp_path: Path) -> None:
    train, valid, _ = (cut(tmp_path / name, FLOATS[rows], (1, 3)) for name, rows in ROWS.items())
    data = arrays(train, valid_path=tmp_path / "valid", test_path=f"{tmp_path}/test/*", memory_limit=10)
    for name, rows in ROWS.items():
        np.testing.assert_array_equal(drawn(data.split(name)).numpy(), FLOATS[rows])
        np.testing.assert_array_equal(drawn(data.split(name).first(2)).numpy(), FLOATS[rows][:2])
    assert data.train.source == f"{train[0]} and 2 more"
    with pytest.raises(UserError, match=r"part-1.npy, which is in data.path too: the model would be judged"):
        arrays(train, valid_path=[valid[0], train[1]])
    np.testing.assert_array_equal(drawn(whole(tmp_path / "test", memory_limit=10)).numpy(), FLOATS[ROWS["test"]])


ROWS = {"train": slice(0, 30), "valid": slice(30, 34), "test": slice(34, 40)}


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    cuts=st.lists(st.integers(1, 39), unique=True, min_size=1).map(sorted),
    rows=st.lists(st.integers(0, 39), max_size=60),
    ends=st.tuples(st.integers(-50, 50), st.integers(-50, 50)),
)
def test_any_rows_in_any_order(tmp_path: Path, cuts: list[int], rows: list[int], ends: tuple[int, int]) -> None:
    found = open_shards(cut(tmp_path, FLOATS, tuple(cuts)))
    at = np.array(rows, dtype=np.int64)
    np.testing.assert_array_equal(found[at], FLOATS[at])
    np.testing.assert_array_equal(found[slice(*ends)], FLOATS[slice(*ends)])
    assert (len(found), found.shape, found.dtype, found.nbytes) == (40, (40, 6), np.float32, FLOATS.nbytes)
    where = found.place(rows[0]) if rows else ""
    assert not rows or FLOATS[rows[0]].tolist() == row_at(where, tmp_path).tolist()


def row_at(place: str, folder: Path) -> NDArray[Any]:
    """The row that a message names."""
    row, path = place.removeprefix(", row ").split(" of ")
    assert Path(path).parent == folder
    return np.asarray(np.load(path)[int(row)])


def open_files(folder: Path) -> int:
    """How many files of a folder this process has open."""
    links = [Path("/proc/self/fd") / name for name in os.listdir("/proc/self/fd")]  # noqa: PTH208
    return sum(str(folder) in str(link.readlink()) for link in links if link.is_symlink())


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts open files in /proc")
def test_few_files_are_open_however_many_there_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "OPEN", 5)
    found = open_shards(cut(tmp_path, FLOATS, CUTS["one row each"]))
    assert open_files(tmp_path) == 0
    np.testing.assert_array_equal(found[:], FLOATS)
    assert open_files(tmp_path) == 5
    del found
    assert open_files(tmp_path) == 0


def test_a_rank_reads_its_own_rows_and_no_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With noise drawn for the whole batch."""
    cut(tmp_path / "many", FLOATS, CUTS["uneven"])
    split = whole(tmp_path / "many", memory_limit=10)
    read = reads(monkeypatch)
    index, own = torch.tensor([31, 2, 17, 39, 0, 24]), torch.tensor([1, 2, 5])
    x = split.rows_of_batch(index, own)
    assert torch.equal(x, torch.from_numpy(FLOATS)[index[own]])
    assert sorted(read) == sorted(FLOATS[row].tobytes() for row in (2, 17, 24))


def reads(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """What is read of files from here on."""
    read: list[bytes] = []
    pread = os.pread

    def noted(file: int, size: int, begin: int) -> bytes:
        read.append(pread(file, size, begin))
        return read[-1]

    monkeypatch.setattr(os, "pread", noted)
    return read


def test_bytes_are_looked_through_no_longer_than_it_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of data that do not fit in memory a pass is dear; their digest, which needs all of them, is taken once."""
    cut(tmp_path / "many", BYTES, CUTS["uneven"])
    read: list[int] = []
    fetch = Shards.__getitem__

    def noted(values: Shards, rows: Any) -> NDArray[Any]:
        found = fetch(values, rows)
        read.append(len(found))
        return found

    monkeypatch.setattr(Shards, "__getitem__", noted)
    monkeypatch.setattr(checks, "CELLS", 20)  # a row at a time
    data = arrays(tmp_path / "many", binarize="dynamic", memory_limit=10)
    assert sum(read) < 6
    read.clear()
    assert len({data.train.digest() for _ in range(3)}) == 1
    assert sum(read) == len(data.train)
    assert data.train.digest() != data.train.first(3).digest()


def saved(path: Path, values: NDArray[Any]) -> None:
    np.save(path, values, allow_pickle=True)


ODD = {
    "another width": (lambda path: saved(path, FLOATS[:, :5]), "part-1.npy holds data of shape (5,)", "(6,), float32"),
    "another type": (lambda path: saved(path, FLOATS.astype("f8")), "part-1.npy holds data of shape (6,), float64", ""),
    "another byte order": (lambda path: saved(path, FLOATS.astype(">f4")), "part-1.npy holds", ">f4"),
    "images": (lambda path: saved(path, BYTES), "part-1.npy holds data of shape (5, 4), uint8", ""),
    "a vector": (lambda path: saved(path, FLOATS[0]), "part-1.npy has shape (6,)", ""),
    "no rows": (lambda path: saved(path, FLOATS[:0]), "part-1.npy is empty", "(0, 6)"),
    "nothing": (lambda path: path.write_bytes(b""), "part-1.npy cannot be read", ""),
    "half a header": (lambda path: path.write_bytes(path.read_bytes()[:40]), "part-1.npy cannot be read", ""),
    "cut off": (lambda path: path.write_bytes(path.read_bytes()[:-9]), "part-1.npy promises", "truncated"),
    "a pickle": (lambda path: saved(path, np.array([{"run": "code"}])), "part-1.npy holds Python objects", "run code"),
    "words": (lambda path: saved(path, np.array([["a"]])), "part-1.npy holds <U1", "numbers"),
    "a hole": (lambda path: saved(path, np.where(FLOATS.max() == FLOATS, np.nan, FLOATS)), "nan", "row "),
    "a folder": (lambda path: (path.unlink(), path.mkdir()), "part-1.npy", ""),
}


@pytest.mark.parametrize("limit", [10, 10**6])
@pytest.mark.parametrize("name", ODD)
def test_the_odd_file_is_named(tmp_path: Path, name: str, limit: int) -> None:
    paths = cut(tmp_path, FLOATS, (10, 20))
    spoil, *parts = ODD[name]
    spoil(paths[1])  # type: ignore[operator]
    with pytest.raises(UserError) as told:
        arrays(paths, memory_limit=limit)
    for part in parts:
        assert str(part) in str(told.value)
    assert str(paths[1]) in str(told.value)
    assert "\n" not in str(told.value)


def test_what_most_files_are_is_right(tmp_path: Path) -> None:
    paths = cut(tmp_path, FLOATS, (10, 20))
    np.save(paths[0], FLOATS[:, :5])
    with pytest.raises(UserError, match=r"part-0.npy holds data of shape \(5,\).*but .*part-1.npy holds \(6,\)"):
        open_shards(paths)


def test_only_npy_files_can_be_several(tmp_path: Path) -> None:
    paths = cut(tmp_path, FLOATS, (10,))
    (tmp_path / "x.csv").write_text("1,2\n")
    with pytest.raises(UserError, match=r"x.csv is one of several files, and only .npy files can be several"):
        arrays([*paths, tmp_path / "x.csv"])
    assert arrays([paths[0]]).train.source == str(paths[0]), "one is no several"


def test_a_file_that_goes_away_meanwhile_is_a_sentence(tmp_path: Path) -> None:
    paths = cut(tmp_path, FLOATS, (10, 20))
    found = open_shards(paths)
    paths[1].unlink()
    paths[2].write_bytes(paths[2].read_bytes()[:200])
    assert len(found[:10]) == 10
    with pytest.raises(UserError, match=r"part-1.npy cannot be read: .*No such file"):
        found[10:11]
    with pytest.raises(UserError, match=r"part-2.npy has been cut off"):
        found[39:40]


def test_rows_that_follow_each_other_are_read_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pass in order has one read for each file, and not one for each row."""
    found = open_shards(cut(tmp_path, FLOATS, CUTS["uneven"]))
    read = reads(monkeypatch)
    np.testing.assert_array_equal(found[:], FLOATS)
    assert read == [piece.tobytes() for piece in np.split(FLOATS, CUTS["uneven"])]
    read.clear()
    at = np.array([5, 6, 7, 30, 29, 0, 1])
    np.testing.assert_array_equal(found[at], FLOATS[at])
    assert read == [FLOATS[rows].tobytes() for rows in ([0], [1], [5, 6, 7], [29], [30])]


def test_a_read_may_come_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "ONCE", 7)
    found = open_shards(cut(tmp_path, FLOATS, (10,)))
    read = reads(monkeypatch)
    np.testing.assert_array_equal(found[:], FLOATS)
    assert b"".join(read) == FLOATS.tobytes()


@pytest.mark.skipif(shards.ADVISE is None, reason="no advice on this system")
def test_the_disk_is_told_of_all_rows_before_the_first_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = open_shards(cut(tmp_path, FLOATS, CUTS["uneven"]))
    read, told = reads(monkeypatch), list[int]()

    def noted(file: int, begin: int, size: int, what: int) -> None:
        assert not read
        told.append(size)

    monkeypatch.setattr(shards, "ADVISE", noted)
    at = np.array([5, 6, 7, 30, 29, 0, 1])
    np.testing.assert_array_equal(found[at], FLOATS[at])
    assert told == list(map(len, read))


def test_without_advice_the_rows_are_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "ADVISE", None)
    np.testing.assert_array_equal(open_shards(cut(tmp_path, FLOATS, (10,)))[:], FLOATS)
