"""The user's own data: .npz, .npy, .csv, .parquet, a folder of images, or many .npy files."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from elbo_cli.data.checks import as_data, check_values, exceeds
from elbo_cli.data.csv_table import read_csv
from elbo_cli.data.images import read_images
from elbo_cli.data.npy import npz_names, read_npz
from elbo_cli.data.parquet_table import read_parquet
from elbo_cli.data.partition import partition
from elbo_cli.data.series import NPY, Paths, files
from elbo_cli.data.shards import Shards, open_shards
from elbo_cli.data.split import Dataset, Split, assemble, binarised
from elbo_cli.errors import UserError, called
from elbo_cli.runtime import derive

MEMORY_LIMIT = 2 * 2**30
EIGHT_BIT = 255.0
NAMES = ("train", "valid", "test")


@dataclass(frozen=True, slots=True)
class Part:
    """An array that is a split, or that splits are cut from: [N, ...], and what messages call it."""

    values: NDArray[Any] | Shards
    source: str
    shards: Shards | None = None  # the files that it was read from, where they are several

    def place(self, row: int) -> str:
        """Which row of which file that is, where there are several."""
        return self.shards.place(row) if self.shards else ""


def arrays(
    path: Paths,
    key: str | None = None,
    valid_path: Paths | None = None,
    test_path: Paths | None = None,
    valid: int | float = 0.1,
    test: int | float = 0.1,
    scale: str | float = "auto",
    binarize: str = "none",
    memory_limit: int = MEMORY_LIMIT,
    seed: int = 0,
) -> Dataset:
    """A data set of the user's own.

    An array [N, D] is N data of shape (D,); [N, H, W] are images (1, H, W); [N, C, H, W] stays, and [N, H, W, C] with
    C in {1, 3, 4} becomes it. Numbers are held as uint8 where they are, else as float32.

    Validation and test data are the first of these that there is: the file in `valid_path` or `test_path`; the array
    `valid` or `test` beside an array `train` in the same .npz; or a share cut from `path`, always the same data for
    the same file, whatever the seed.

    Args:
        path: a .npz, .npy, .csv or .parquet file, or a folder of images; or many .npy files, by a folder, a pattern or
            a list, which are the same data as one file of all their rows (see `series.files` for their order).
        key: name of the array in a .npz; not needed where it holds one array, or one called as the split is.
        valid_path: validation data of their own, as `path`.
        test_path: test data of their own, as `path`.
        valid: share for validation where it has to be cut from `path`: a fraction of the data, or how many.
        test: likewise for test.
        scale: what the values are divided by. `auto` is 255 for 8-bit images (uint8 with any value above 1), and 1 for
            all else.
        binarize: a name in `binarize.BINARIZE`; needs x in [0, 1].
        memory_limit: bytes; of larger .npy files rows are read when they are needed, a larger file of another kind is
            refused.
        seed: seed of a fixed binarisation.

    Raises:
        UserError: no such file or array; a broken file; data that are empty, not finite, constant or of shapes that
            disagree; or an option that makes no sense. The message names the file.
    """
    parts = _read(path, key, {"valid": valid_path, "test": test_path}, memory_limit)
    divisor = _divisor(scale, parts)
    for name, part in parts.items():
        check_values(part.values, divisor, part.source, varied=name == "train", place=part.place)
    whole = parts["train"]
    shares = {name: share for name, share in (("test", test), ("valid", valid)) if name not in parts}
    rows = partition(len(whole.values), whole.source, **shares) if shares else {}
    train, held_out, last = (_split(name, parts.get(name, whole), rows.get(name), divisor) for name in NAMES)
    return assemble("arrays", train, held_out, last, binarize, seed)


def whole(
    path: Paths,
    key: str | None = None,
    scale: str | float = "auto",
    binarize: str = "none",
    memory_limit: int = MEMORY_LIMIT,
    name: str = "test",
    seed: int = 0,
) -> Split:
    """All data of a file, a folder or many files, for measuring: of a .npz with an array called `name`, that array.

    Args and errors are those of `arrays`; a binarisation at every visit becomes one drawn once.
    """
    part = _part(files(path, "--data"), called(path), key, name, memory_limit)
    divisor = _divisor(scale, {name: part})
    check_values(part.values, divisor, part.source, varied=False, place=part.place)
    once = "fixed" if binarize == "dynamic" else binarize
    return binarised(_split(name, part, None, divisor), once, derive(seed, "binarize", name))


def _read(path: Paths, key: str | None, others: dict[str, Paths | None], limit: int) -> dict[str, Part]:
    found = files(path, "data.path")
    npz = len(found) == 1 and found[0].suffix.lower() == ".npz"
    if key is not None and not npz:
        raise UserError(
            f"data.key={key} names an array in a .npz file, and {called(path)} is none. Leave data.key out."
        )
    parts = {"train": _part(found, called(path), key, "train", limit)}
    beside = npz_names(found[0]) if npz and key is None else []
    for name, other in others.items():
        if other is not None:
            parts[name] = _part(_another(other, found, name), called(other), key, name, limit)
        elif {"train", name} <= set(beside):
            parts[name] = _part(found, called(path), name, name, limit)
    return parts


def _another(paths: Paths, train: list[Path], name: str) -> list[Path]:
    found = files(paths, f"data.{name}_path")
    learnt = {(status.st_dev, status.st_ino) for status in (path.stat() for path in train)}
    for path in found:
        if (path.stat().st_dev, path.stat().st_ino) in learnt:
            itself = "data.path itself" if len(train) == len(found) == 1 else f"{path}, which is in data.path too"
            raise UserError(
                f"data.{name}_path={called(paths)} is {itself}: the model would be judged on what it learnt from. "
                f"Leave it out, and data.{name} says how much to hold out."
            )
    return found


def _part(paths: list[Path], source: str, key: str | None, name: str, limit: int) -> Part:
    several = len(paths) > 1 or (paths[0].suffix.lower() == NPY and paths[0].is_file())
    return _of_npy(paths, source, limit) if several else _of_one(paths[0], key, name, limit)


def _of_npy(paths: list[Path], source: str, limit: int) -> Part:
    shards = open_shards(paths)
    return Part(shards[:] if shards.nbytes <= limit else shards, source, shards if len(paths) > 1 else None)


def _of_one(path: Path, key: str | None, name: str, limit: int) -> Part:
    suffix = path.suffix.lower()
    if suffix == ".npz":
        key = key or _the_array(path, name)
        source = f"{path}[{key}]"
        return Part(as_data(read_npz(path, key, limit), source), source)
    if path.is_dir():
        return Part(read_images(path, limit), str(path))
    if not path.is_file():
        raise UserError(f"{path} is no file: a pipe or a device cannot be read twice. Save the data to a file first.")
    if suffix not in READERS:
        raise UserError(
            f"{path}: data are read from .npy, .npz, {', '.join(READERS)} or a folder of images, not '{suffix}'."
        )
    return Part(as_data(READERS[suffix](path, limit), str(path)), str(path))


def _the_array(path: Path, name: str) -> str:
    names = npz_names(path)
    if name not in names and len(names) > 1:
        raise UserError(f"{path} holds the arrays {', '.join(names)}, and none is called '{name}'. Type data.key=NAME.")
    return name if name in names else names[0]


def _divisor(scale: str | float, parts: dict[str, Part]) -> float:
    if scale == "auto":
        return _auto(parts)
    if isinstance(scale, str | bool) or not math.isfinite(scale) or scale <= 0:
        raise UserError(f"data.scale={scale} is neither 'auto' nor a positive number, by which the values are divided.")
    return float(scale)


def _auto(parts: dict[str, Part]) -> float:
    images = {n: part.values.dtype == np.uint8 and exceeds(part.values, 1) for n, part in parts.items()}
    if len(set(images.values())) > 1:
        kinds = ", ".join(f"{name} {'is' if image else 'is not'}" for name, image in images.items())
        raise UserError(
            f"{parts['train'].source}: data.scale=auto divides 8-bit images by 255, but of these {kinds} 8-bit. "
            "Store all in one format, or type data.scale=NUMBER (1 leaves the values as they are)."
        )
    return EIGHT_BIT if any(images.values()) else 1.0


def _split(name: str, part: Part, rows: NDArray[np.int64] | None, scale: float) -> Split:
    if isinstance(part.values, Shards):
        return Split(name, part.values, part.source, scale=scale, rows=rows)
    values = part.values if rows is None else part.values[rows]
    dtype = np.uint8 if values.dtype == np.uint8 else np.float32
    return Split(name, torch.from_numpy(np.ascontiguousarray(values, dtype=dtype)), part.source, scale=scale)


READERS: dict[str, Callable[[Path, int], NDArray[Any]]] = {
    ".csv": read_csv,
    ".parquet": read_parquet,
}
