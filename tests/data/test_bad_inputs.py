"""What a user may get wrong in the data section of a config: each is one sentence, and never a traceback."""

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from elbo_cli.data.sources import SOURCES
from elbo_cli.errors import UserError, choose

GOOD = np.random.default_rng(0).random((40, 6)).astype(np.float32)
BYTES = np.random.default_rng(0).integers(0, 256, (40, 5, 4), dtype=np.uint8)
Options = dict[str, Any]


def changed(values: np.ndarray, row: int, value: float) -> np.ndarray:
    values = values.copy()
    values[row, 2] = value
    return values


def make(folder: Path) -> None:
    """A folder of files, good and bad."""
    arrays = {
        "good": GOOD,
        "bytes": BYTES,
        "nan": changed(GOOD, 17, np.nan),
        "inf": changed(GOOD, 39, np.inf),
        "large": changed(GOOD.astype(float), 3, 1e300),
        "equal": np.full((40, 6), 0.25),
        "same": np.tile(GOOD[0], (40, 1)),
        "empty": np.zeros((0, 6)),
        "scalar": np.array(3.0),
        "vector": np.arange(40.0),
        "five": np.zeros((2, 2, 2, 2, 2)),
        "words": np.array([["a", "b"]]),
        "complex": GOOD.astype(complex),
        "narrow": GOOD[:, :5],
        "two": GOOD[:2],
        "signed": GOOD - 0.5,
    }
    for name, values in arrays.items():
        np.save(folder / f"{name}.npy", values)
    np.save(folder / "pickle.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    np.savez(folder / "pickle.npz", np.array([{"a": 1}], dtype=object))
    np.savez(folder / "keys.npz", pictures=BYTES, labels=np.arange(40))
    np.savez(folder / "ragged.npz", train=GOOD, valid=GOOD[:, :5], test=GOOD)
    np.savez(folder / "hollow.npz", train=GOOD, valid=GOOD[:0], test=GOOD)
    np.savez(folder / "mixed.npz", train=BYTES, test=BYTES / 255)
    np.savez_compressed(folder / "bomb.npz", np.zeros((3000, 1000)))
    with zipfile.ZipFile(folder / "none.npz", "w"):
        pass
    content = (folder / "good.npy").read_bytes()
    (folder / "short.npy").write_bytes(content[:-10])
    (folder / "short.npz").write_bytes((folder / "keys.npz").read_bytes()[:-50])
    (folder / "word.csv").write_text("a,b\n1,2\n3,x\n")
    (folder / "hole.csv").write_text("a,b\n1,2\n3,\n")
    (folder / "broken.parquet").write_bytes(b"PAR1 and no more")
    (folder / "notes.txt").write_text("notes")
    (folder / "pictures").mkdir()
    for i in range(5):
        Image.fromarray(BYTES[i][: 4 + i // 4]).save(folder / "pictures" / f"{i}.png")
    (folder / "nothing").mkdir()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    make(folder)
    return folder


PATHS = ("path", "valid_path", "test_path", "root")
BAD: dict[str, tuple[str, Options, list[str]]] = {
    "no path": ("arrays", {"path": ""}, ["data.path", "FILE"]),
    "a typo in a name": ("arrays", {"path": "godo.npy"}, ["godo.npy does not exist", "Did you mean 'good.npy'"]),
    "a typo in a folder": ("arrays", {"path": "picture/0.png"}, ["no folder", "Did you mean 'pictures'"]),
    "no validation file": ("arrays", {"path": "good.npy", "valid_path": "twoo.npy"}, ["data.valid_path", "'two.npy'"]),
    "no test file": ("arrays", {"path": "good.npy", "test_path": "nix"}, ["data.test_path", "does not exist"]),
    "another kind of file": ("arrays", {"path": "notes.txt"}, ["notes.txt", ".npy, .npz, .csv, .parquet", "'.txt'"]),
    "not a number": ("arrays", {"path": "nan.npy"}, ["nan.npy", "(40, 6)", "datum 17", "nan", "[2]"]),
    "infinite": ("arrays", {"path": "inf.npy"}, ["inf.npy", "datum 39", "inf"]),
    "infinite in a map": ("arrays", {"path": "inf.npy", "memory_limit": 9}, ["inf.npy", "datum 39", "inf"]),
    "beyond float32": ("arrays", {"path": "large.npy"}, ["datum 3 ", "1e+300", "beyond float32"]),
    "nan for validation": ("arrays", {"path": "good.npy", "valid_path": "nan.npy"}, ["nan.npy", "datum 17"]),
    "all equal": ("arrays", {"path": "equal.npy"}, ["equal.npy", "every value of the 40 data is 0.25"]),
    "all the same": ("arrays", {"path": "same.npy"}, ["same.npy", "all 40 data are the same"]),
    "equal for test": ("arrays", {"path": "good.npy", "test_path": "equal.npy"}, ["equal.npy", "0.25"]),
    "empty": ("arrays", {"path": "empty.npy"}, ["empty.npy is empty", "(0, 6)"]),
    "a scalar": ("arrays", {"path": "scalar.npy"}, ["scalar.npy has shape ()", "[N, D]"]),
    "a vector": ("arrays", {"path": "vector.npy"}, ["shape (40,)", "[N, D]"]),
    "five dimensions": ("arrays", {"path": "five.npy"}, ["(2, 2, 2, 2, 2)", "[N, C, H, W]"]),
    "words": ("arrays", {"path": "words.npy"}, ["words.npy holds <U1", "whole or real numbers"]),
    "complex numbers": ("arrays", {"path": "complex.npy"}, ["complex128"]),
    "shapes that disagree": ("arrays", {"path": "good.npy", "test_path": "narrow.npy"}, ["(6,)", "narrow.npy", "(5,)"]),
    "shapes in one npz": ("arrays", {"path": "ragged.npz"}, ["[train]", "(6,)", "[valid]", "(5,)"]),
    "an empty split": ("arrays", {"path": "hollow.npz"}, ["hollow.npz[valid] is empty"]),
    "formats that differ": ("arrays", {"path": "mixed.npz"}, ["scale=auto", "train is, test is not 8-bit"]),
    "a pickle": ("arrays", {"path": "pickle.npy"}, ["pickle.npy holds Python objects", "run code"]),
    "a pickle in npz": ("arrays", {"path": "pickle.npz"}, ["pickle.npz[arr_0] holds Python objects"]),
    "a zip bomb": ("arrays", {"path": "bomb.npz", "memory_limit": 10**6}, ["24,000,000 bytes", "numpy.save"]),
    "an empty zip": ("arrays", {"path": "none.npz"}, ["none.npz holds no arrays"]),
    "a truncated npy": ("arrays", {"path": "short.npy"}, ["short.npy promises", "960 bytes, but holds 950"]),
    "a truncated npz": ("arrays", {"path": "short.npz"}, ["short.npz cannot be read"]),
    "several arrays": ("arrays", {"path": "keys.npz"}, ["pictures, labels", "data.key=NAME"]),
    "a wrong key": ("arrays", {"path": "keys.npz", "key": "picture"}, ["'picture'", "Did you mean 'pictures'"]),
    "a key of labels": ("arrays", {"path": "keys.npz", "key": "labels"}, ["keys.npz[labels] has shape (40,)"]),
    "a key for a npy": ("arrays", {"path": "good.npy", "key": "x"}, ["data.key=x", "Leave data.key out"]),
    "a word in a csv": ("arrays", {"path": "word.csv"}, ["word.csv, line 3, column 2 ('b'): 'x'"]),
    "a hole in a csv": ("arrays", {"path": "hole.csv"}, ["hole.csv, line 3, column 2 ('b'): ''"]),
    "a broken parquet": ("arrays", {"path": "broken.parquet"}, ["broken.parquet cannot be read"]),
    "images of two sizes": ("arrays", {"path": "pictures"}, ["4.png is 4 x 5 L, but 0.png is 4 x 4 L"]),
    "no images": ("arrays", {"path": "nothing"}, ["nothing holds no images", "It is empty"]),
    "the same file twice": ("arrays", {"path": "good.npy", "test_path": "good.npy"}, ["data.path itself"]),
    "no share": ("arrays", {"path": "good.npy", "valid": 0}, ["data.valid=0", "fraction"]),
    "a share above all": ("arrays", {"path": "good.npy", "test": 1.5}, ["data.test=1.5"]),
    "nothing left": ("arrays", {"path": "good.npy", "valid": 0.5, "test": 20}, ["40 data", "none to train on"]),
    "too few data": ("arrays", {"path": "two.npy"}, ["two.npy holds 2 data", "none to train on"]),
    "a word as a scale": ("arrays", {"path": "good.npy", "scale": "256th"}, ["data.scale=256th", "'auto'"]),
    "no scale": ("arrays", {"path": "good.npy", "scale": 0}, ["data.scale=0", "positive"]),
    "a negative scale": ("arrays", {"path": "good.npy", "scale": -255.0}, ["data.scale=-255.0"]),
    "a scale of nan": ("arrays", {"path": "good.npy", "scale": float("nan")}, ["data.scale=nan"]),
    "a scale of true": ("arrays", {"path": "good.npy", "scale": True}, ["data.scale=True"]),
    "a binarisation": ("arrays", {"path": "good.npy", "binarize": "dinamic"}, ["'dinamic'", "Did you mean 'dynamic'"]),
    "x below 0": ("arrays", {"path": "signed.npy", "binarize": "dynamic"}, ["signed.npy", "needs x in [0, 1]"]),
    "x above 1": ("arrays", {"path": "bytes.npy", "binarize": "fixed", "scale": 1}, ["0 to 255", "data.scale=NUMBER"]),
    "digits: nothing left": ("digits", {"valid": 900, "test": 900}, ["digits holds 1797 data", "data.valid=900"]),
    "digits: binarisation": ("digits", {"binarize": "stochastic"}, ["'stochastic'", "none, threshold, fixed, dynamic"]),
    "digits: share": ("digits", {"test": -5}, ["data.test=-5"]),
    "mnist: no root": ("mnist", {"root": "picturs"}, ["data.root", "Did you mean 'pictures'"]),
    "mnist: empty root": ("mnist", {"root": "nothing"}, ["MNIST/raw", "data.download=true"]),
    "fashion: empty root": ("fashion_mnist", {"root": "nothing"}, ["FashionMNIST/raw", "data.root=FOLDER"]),
    "linear_gaussian: sigma": ("linear_gaussian", {"sigma": 0.0}, ["data.sigma=0.0"]),
    "linear_gaussian: size": ("linear_gaussian", {"train": 0}, ["data.train=0"]),
}


@pytest.mark.parametrize("name", BAD)
def test_a_mistake_is_a_sentence(name: str, folder: Path) -> None:
    source, options, parts = BAD[name]
    options = {key: folder / value if key in PATHS and value else value for key, value in options.items()}
    load: Callable[..., Any] = SOURCES[source]
    with pytest.raises(UserError) as told:
        load(**options, seed=0)
    for part in parts:
        assert part in str(told.value)
    assert "\n" not in str(told.value)
    assert str(told.value).endswith((".", "?"))


def test_a_source_of_another_name_is_told() -> None:
    with pytest.raises(UserError, match="Did you mean 'mnist'"):
        choose(SOURCES, "mnits", "data set")
