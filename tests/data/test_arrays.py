import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from elbo_cli.data.arrays import arrays, whole
from elbo_cli.data.shards import Shards
from elbo_cli.data.split import Dataset, Split
from elbo_cli.errors import UserError
from elbo_cli.runtime import noise

RNG = np.random.default_rng(0)
FLOATS = RNG.normal(size=(40, 6)).astype(np.float32)
BYTES = RNG.integers(0, 256, (40, 5, 4), dtype=np.uint8)


def every(split: Split) -> Tensor:
    return torch.cat(list(split.blocks(7)))


def saved(path: Path, values: NDArray[Any]) -> Path:
    np.save(path, values)
    return path


def together(data: Dataset) -> NDArray[Any]:
    """All rows of the three splits, sorted."""
    rows = torch.cat([every(data.split(name)) for name in ("train", "valid", "test")]).flatten(1).numpy()
    return rows[np.lexsort(rows.T)]


@pytest.mark.parametrize(
    ("shape", "datum"),
    [
        ((40, 6), (6,)),
        ((40, 5, 4), (1, 5, 4)),
        ((40, 3, 5, 4), (3, 5, 4)),
        ((40, 5, 4, 3), (3, 5, 4)),
        ((40, 5, 4, 1), (1, 5, 4)),
        ((40, 1, 5, 3), (1, 5, 3)),  # both may be channels: then it is channel first
        ((40, 2, 5, 4), (4, 2, 5)),
        ((40, 2, 5, 6), (2, 5, 6)),
    ],
)
def test_the_shape_of_a_datum(tmp_path: Path, shape: tuple[int, ...], datum: tuple[int, ...]) -> None:
    values = RNG.normal(size=shape).astype(np.float32)
    data = arrays(saved(tmp_path / "x.npy", values), valid=3, test=4)
    assert (data.shape, len(data.train), len(data.valid), len(data.test)) == (datum, 33, 3, 4)
    moved = np.moveaxis(values, 3, 1) if datum != shape[1:] and len(shape) == 4 else values
    rows = moved.reshape(40, -1)
    np.testing.assert_array_equal(together(data), rows[np.lexsort(rows.T)])


@pytest.mark.parametrize("binarize", ["none", "threshold", "fixed", "dynamic"])
@pytest.mark.parametrize(
    "values", [BYTES, BYTES[..., None], (BYTES / 255).astype(">f8"), np.asfortranarray(BYTES > 99)]
)
def test_a_file_read_by_its_rows_gives_what_a_file_in_memory_gives(
    tmp_path: Path, values: NDArray[Any], binarize: str
) -> None:
    path = saved(tmp_path / "x.npy", values)
    memory, read = (arrays(path, binarize=binarize, memory_limit=limit) for limit in (10**6, 10))
    assert isinstance(memory.train.values, Tensor)
    assert isinstance(read.train.values, Shards)
    for name in ("train", "valid", "test"):
        here, there = memory.split(name), read.split(name)
        with noise(0, "test"):
            mine = every(here)
        with noise(0, "test"):
            assert torch.equal(mine, every(there))
        assert here.digest() == there.digest()
        assert torch.equal(
            here.first(3).frozen().batch(torch.arange(3)), there.first(3).frozen().batch(torch.arange(3))
        )


def test_a_file_of_its_own_for_each_split(tmp_path: Path) -> None:
    paths = [saved(tmp_path / f"{name}.npy", FLOATS[rows]) for name, rows in ROWS.items()]
    data = arrays(paths[0], valid_path=paths[1], test_path=paths[2], memory_limit=10)
    for name, rows in ROWS.items():
        assert data.split(name).rows is None
        np.testing.assert_array_equal(every(data.split(name)).numpy(), FLOATS[rows])


ROWS = {"train": slice(0, 30), "valid": slice(30, 33), "test": slice(33, 40)}


def test_arrays_of_an_npz_by_the_names_of_the_splits(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "x.npz", labels=np.arange(40), **{name: FLOATS[rows] for name, rows in ROWS.items()})
    data = arrays(tmp_path / "x.npz")
    for name, rows in ROWS.items():
        np.testing.assert_array_equal(every(data.split(name)).numpy(), FLOATS[rows])
        assert data.split(name).source.endswith(f"x.npz[{name}]")


def test_what_an_npz_lacks_is_cut_from_its_training_data(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", train=FLOATS[:30], test=FLOATS[33:])
    data = arrays(tmp_path / "x.npz", valid=5)
    np.testing.assert_array_equal(every(data.test).numpy(), FLOATS[33:])
    assert (len(data.train), len(data.valid)) == (25, 5)
    assert arrays(tmp_path / "x.npz", key="train", valid=5, test=5).train.source == f"{tmp_path}/x.npz[train]"


def test_one_array_of_an_npz_by_its_key_or_because_it_is_alone(tmp_path: Path) -> None:
    np.savez(tmp_path / "two.npz", pictures=BYTES, labels=np.arange(40))
    np.savez(tmp_path / "one.npz", pictures=BYTES)
    chosen, alone = arrays(tmp_path / "two.npz", key="pictures"), arrays(tmp_path / "one.npz")
    assert chosen.test.digest() == alone.test.digest()


def test_the_same_file_is_cut_alike_whatever_the_seed(tmp_path: Path) -> None:
    path = saved(tmp_path / "x.npy", FLOATS)
    a, b = (arrays(path, valid=0.2, test=5, seed=seed) for seed in (0, 1))
    assert a.test.digest() == b.test.digest()
    assert (len(a.train), len(a.valid), len(a.test)) == (27, 8, 5)
    assert arrays(path, valid=20, test=5).test.digest() == a.test.digest()  # nor does it depend on validation's size


@pytest.mark.parametrize(
    ("values", "scale", "largest"),
    [
        (np.array([[0, 255], [51, 3]] * 5, np.uint8), "auto", 1.0),
        (np.array([[0, 1], [1, 1]] * 5, np.uint8), "auto", 1.0),
        (np.array([[0, 1], [1, 1]] * 5, bool), "auto", 1.0),
        (np.array([[0, 255], [51, 3]] * 5, np.int64), "auto", 255.0),
        (np.array([[0, 255], [51, 3]] * 5, np.uint8), 1, 255.0),
        (np.array([[0.0, 255], [51, 3]] * 5, np.float16), 255, 1.0),
        (np.array([[0, 16], [5, 3]] * 5, np.uint8), 16.0, 1.0),
    ],
)
def test_only_8_bit_images_are_scaled_unless_asked(
    tmp_path: Path, values: NDArray[Any], scale: str | float, largest: float
) -> None:
    assert arrays(saved(tmp_path / "x.npy", values), scale=scale, valid=2, test=2).train.extent() == (0.0, largest)


def test_a_table_in_csv_and_in_parquet_is_the_table_in_npy(tmp_path: Path) -> None:
    frame = pd.DataFrame(FLOATS, columns=list("abcdef"))
    frame.to_csv(tmp_path / "x.csv", index=False)
    frame.to_parquet(tmp_path / "x.PARQUET", index=False)
    saved(tmp_path / "x.npy", FLOATS)
    digests = {arrays(tmp_path / name).train.digest() for name in ("x.csv", "x.PARQUET", "x.npy")}
    assert len(digests) == 1


def test_a_folder_of_images_is_the_array_of_them(tmp_path: Path) -> None:
    folder = tmp_path / "faces"
    folder.mkdir()
    for i, values in enumerate(BYTES):
        Image.fromarray(values).save(folder / f"{i:03d}.png")
    (folder / ".hidden.png").write_text("not an image")
    (folder / "notes.txt").write_text("not an image")
    (folder / "more").mkdir()
    there = arrays(saved(tmp_path / "x.npy", BYTES), binarize="fixed")
    assert arrays(folder, binarize="fixed").train.digest() == there.train.digest()


@pytest.mark.parametrize(
    ("made", "mode", "channels"),
    [("L", "1", 1), ("L", "L", 1), ("RGB", "P", 3), ("RGBA", "P", 4), ("RGB", "RGB", 3), ("RGBA", "RGBA", 4)],
)
def test_images_are_grey_or_in_colour_or_have_alpha(tmp_path: Path, made: str, mode: str, channels: int) -> None:
    for i in range(10):
        values = RNG.integers(0, 256, (5, 4, 4), dtype=np.uint8)
        Image.fromarray(values).convert(made).convert(mode).save(tmp_path / f"{i}.png")
    data = arrays(tmp_path)
    assert data.shape == (channels, 5, 4)
    with Image.open(tmp_path / "0.png") as image:
        first = np.asarray(image.convert({1: "L", 3: "RGB", 4: "RGBA"}[channels])).reshape(5, 4, channels)
    rows = [tuple(row) for row in together(data).tolist()]
    expected = torch.from_numpy(first.transpose(2, 0, 1).copy()).float().flatten() / 255
    assert tuple(expected.tolist()) in rows


@pytest.mark.parametrize(
    ("module", "extra", "name"), [("pyarrow", "parquet", "x.parquet"), ("PIL", "images", "folder")]
)
def test_without_its_package_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str, extra: str, name: str
) -> None:
    (tmp_path / "x.parquet").write_bytes(b"")
    (tmp_path / "folder").mkdir()
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UserError, match=rf"elbo-cli\[{extra}\]"):
        arrays(tmp_path / name)


def test_the_data_may_be_in_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    saved(tmp_path / "x.npy", FLOATS)
    assert len(arrays("~/x.npy").train) == 32


def test_all_of_a_file_can_be_measured(tmp_path: Path) -> None:
    split = whole(saved(tmp_path / "x.npy", FLOATS))
    np.testing.assert_array_equal(every(split).numpy(), FLOATS)
    np.savez(tmp_path / "x.npz", train=BYTES[:30], test=BYTES[30:])
    np.testing.assert_array_equal(every(whole(tmp_path / "x.npz", scale=1)).numpy(), BYTES[30:, None])
    assert len(whole(tmp_path / "x.npz", name="train", binarize="threshold")) == 30


@pytest.mark.parametrize("limit", [10, 10**6])
def test_what_is_measured_is_drawn_once(tmp_path: Path, limit: int) -> None:
    path = saved(tmp_path / "x.npy", BYTES)
    split = whole(path, binarize="dynamic", memory_limit=limit)
    assert torch.equal(every(split), every(split))
    # and as it would be drawn as a test split beside other training data
    saved(tmp_path / "train.npy", BYTES[:9])
    assert split.digest() == arrays(tmp_path / "train.npy", test_path=path, valid=2, binarize="dynamic").test.digest()


def test_one_datum_again_and_again_may_be_measured(tmp_path: Path) -> None:
    assert len(whole(saved(tmp_path / "x.npy", np.tile(FLOATS[:1], (9, 1))))) == 9
    with pytest.raises(UserError, match="--data"):
        whole(tmp_path / "y.npy")


def test_only_training_data_must_differ_from_each_other(tmp_path: Path) -> None:
    train, again = saved(tmp_path / "x.npy", FLOATS), saved(tmp_path / "again.npy", np.tile(FLOATS[:1], (9, 1)))
    assert len(arrays(train, test_path=again).test) == 9
    with pytest.raises(UserError, match="all 9 data are the same"):
        arrays(again, test_path=train)
