"""Many .npy files are the one array of all their rows."""

import os
from dataclasses import replace
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
    """How many files of a folder this process has mapped."""
    return sum(str(folder) in line for line in Path("/proc/self/maps").read_text().splitlines())


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="counts maps in /proc")
def test_few_files_are_open_however_many_there_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "OPEN", 5)
    found = open_shards(cut(tmp_path, FLOATS, CUTS["one row each"]))
    assert open_files(tmp_path) == 0
    before = open_descriptors()
    np.testing.assert_array_equal(found[:], FLOATS)
    assert open_files(tmp_path) == 5
    assert open_descriptors() == before + 5


def test_a_rank_reads_its_own_rows_and_no_others(tmp_path: Path) -> None:
    """With noise drawn for the whole batch."""
    cut(tmp_path / "many", FLOATS, CUTS["uneven"])
    split = whole(tmp_path / "many", memory_limit=10)
    spy = Spy(split)
    index, own = torch.tensor([31, 2, 17, 39, 0, 24]), torch.tensor([1, 2, 5])
    x = spy.split.rows_of_batch(index, own)
    assert torch.equal(x, torch.from_numpy(FLOATS)[index[own]])
    assert sorted(spy.read) == [2, 17, 24]


class Spy:
    """A split of many files that writes down which rows are read."""

    def __init__(self, split: Split) -> None:
        values = split.values
        assert isinstance(values, Shards)
        self.read: list[int] = []

        def mapped(number: int) -> Any:
            return Noted(values.mapped(number), int(values.starts[number]), self.read)

        self.split = replace(split, values=replace(values, mapped=mapped))


class Noted:
    """A file whose rows are written down when they are read."""

    def __init__(self, values: NDArray[Any], first: int, read: list[int]) -> None:
        self.values, self.first, self.read = values, first, read

    def __getitem__(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        self.read += (rows + self.first).tolist()
        return np.asarray(self.values[rows])


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
    "images": (lambda path: saved(path, BYTES), "part-1.npy holds data of shape (1, 5, 4), uint8", ""),
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
    for rows in (slice(10, 11), slice(39, 40)):
        with pytest.raises(UserError, match=r"part-[12].npy cannot be read"):
            found[rows]
