"""Arrays of numpy's: headers of .npy, and .npz. A pickle in either is refused, and a promise is checked."""

import math
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy_format
from numpy.typing import NDArray

from elbo_cli.data.files import bounded, reading
from elbo_cli.errors import UserError, choose

HEADERS = {(1, 0): npy_format.read_array_header_1_0, (2, 0): npy_format.read_array_header_2_0}
BIGGER = "Save it with numpy.save: a .npy file may be larger than memory."


@dataclass(frozen=True, slots=True)
class Header:
    """What the head of a .npy file promises."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    offset: int  # bytes of header
    fortran: bool = False  # columns are stored one after the other, and not rows

    @property
    def bytes(self) -> int:
        """The size of the array, without its header."""
        return math.prod(self.shape) * self.dtype.itemsize

    @property
    def stride(self) -> int:
        """The size of a row."""
        return math.prod(self.shape[1:]) * self.dtype.itemsize


def read_header(path: Path) -> Header:
    """What a .npy file promises, and holds.

    Raises:
        UserError: it is no such file, is shorter or longer than its header promises, or holds Python objects.
    """
    with reading(path), path.open("rb") as file:
        return _header(file, str(path), path.stat().st_size)


def map_npy(path: Path, header: Header) -> NDArray[Any]:
    """The array of a .npy file, mapped from it: rows are read when they are looked at.

    Raises:
        UserError: it is not there any more, or shorter than its header promised.
    """
    with reading(path):
        return np.memmap(path, header.dtype, "r", header.offset, header.shape, order="F" if header.fortran else "C")


def npz_names(path: Path) -> list[str]:
    """Names of the arrays in a .npz file.

    Raises:
        UserError: it is no zip file, or holds no arrays.
    """
    with reading(path), zipfile.ZipFile(path) as archive:
        names = [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]
    if not names:
        raise UserError(f"{path} holds no arrays. Write it with numpy.savez_compressed(path, train=..., test=...).")
    return names


def read_npz(path: Path, name: str, limit: int) -> NDArray[Any]:
    """One array of a .npz file.

    The size is bounded by what the array's header promises, before anything is unpacked.

    Raises:
        UserError: no such array; more than `limit` bytes; truncated, damaged or encrypted; or Python objects.
    """
    names = npz_names(path)
    choose(dict.fromkeys(names), name, f"array in {path}")
    source = f"{path}[{name}]"
    with reading(source), zipfile.ZipFile(path) as archive:
        member = archive.getinfo(f"{name}.npy")
        with archive.open(member) as file:
            header = _header(file, source, member.file_size)
        bounded(header.bytes, limit, source, BIGGER)
        with archive.open(member) as file:
            return npy_format.read_array(file, allow_pickle=False)


def _header(file: IO[bytes], source: str, size: int) -> Header:
    version = npy_format.read_magic(file)
    if version not in HEADERS:
        raise UserError(f"{source} is a .npy of version {version}; plain arrays are of version (1, 0) or (2, 0).")
    shape, fortran, dtype = HEADERS[version](file)
    header = Header(shape, dtype, file.tell(), fortran)
    if header.dtype.hasobject:
        raise UserError(f"{source} holds Python objects (a pickle), which can run code. Save numbers: x.astype('f4').")
    if header.bytes + header.offset != size or any(n < 0 for n in header.shape):
        raise UserError(
            f"{source} promises an array of shape {header.shape}, {header.bytes:,} bytes, but holds "
            f"{size - header.offset:,}. It is truncated or damaged."
        )
    return header
