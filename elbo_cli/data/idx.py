"""MNIST and its like: images in IDX files, in the layout that the ecosystem shares, or fetched once."""

import gzip
import struct
from dataclasses import dataclass
from io import BufferedIOBase
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from elbo_cli.data.checks import as_data, check_values
from elbo_cli.data.fetch import fetch
from elbo_cli.data.files import bounded, existing, opening, reading
from elbo_cli.data.partition import sizes
from elbo_cli.data.split import Dataset, Split, assemble
from elbo_cli.errors import UserError, need_extra

IMAGES = 0x0803  # magic: unsigned bytes in 3 dimensions
LABELS = 0x0801
HEADER = struct.Struct(">IIII")  # magic, images, rows, columns
LARGEST = 2**30  # bytes of pixels; MNIST has 47,040,000
CHUNK = 2**20
WHITE = 255  # values run from 0 to 255
TRAIN, TEST = "train-images-idx3-ubyte", "t10k-images-idx3-ubyte"
# SHA-256 of the .gz as published; docs/reliability.md says what each was held against
MNIST_TRAIN = "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609"
MNIST_TEST = "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6"
FASHION_TRAIN = "08dc20ab1689590a0bcd66e874647b6ee8464e2d501b5a3f1f78831db19a3fdc"
FASHION_TEST = "78dcbbfb5a27efaf1b6c1d616caca68560be8766c5bffcb2791df9273a534229"


@dataclass(frozen=True, slots=True)
class Release:
    """A published data set of IDX files."""

    name: str
    folder: str  # under the root
    mirrors: tuple[str, ...]
    checksums: dict[str, str]  # of the .gz files as published; those that are there already may be compressed otherwise


MNIST = Release(
    "mnist",
    "MNIST/raw",
    ("https://ossci-datasets.s3.amazonaws.com/mnist/", "https://storage.googleapis.com/cvdf-datasets/mnist/"),
    {TRAIN: f"sha256:{MNIST_TRAIN}", TEST: f"sha256:{MNIST_TEST}"},
)
FASHION_MNIST = Release(
    "fashion_mnist",
    "FashionMNIST/raw",
    (
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
    ),
    {TRAIN: f"sha256:{FASHION_TRAIN}", TEST: f"sha256:{FASHION_TEST}"},
)


def mnist(
    root: str | Path | None = None,
    download: bool = False,
    binarize: str = "none",
    valid: int | float = 5000,
    seed: int = 0,
) -> Dataset:
    """MNIST, x = value / 255, shape (1, 28, 28): 60,000 training images, the last `valid` for validation; 10,000 test.

    Args:
        root: the folder that holds MNIST/raw; the cache folder of the user, where None.
        download: whether to fetch files that are not there, and check their published checksums.
        binarize: a name in `binarize.BINARIZE`.
        valid: number of validation data, or their fraction of the training images.
        seed: seed of a fixed binarisation.

    Raises:
        UserError: files that are not there, cannot be fetched, or are broken; the message says where it looked and what
            to type.

    Reference: LeCun, Cortes and Burges, http://yann.lecun.com/exdb/mnist/, CC BY-SA 3.0.
    """
    return _load(MNIST, root, download, binarize, valid, seed)


def fashion_mnist(
    root: str | Path | None = None,
    download: bool = False,
    binarize: str = "none",
    valid: int | float = 5000,
    seed: int = 0,
) -> Dataset:
    """Fashion-MNIST: as `mnist`, with the files in FashionMNIST/raw.

    Reference: Xiao, Rasul and Vollgraf (2017), https://arxiv.org/abs/1708.07747, MIT.
    """
    return _load(FASHION_MNIST, root, download, binarize, valid, seed)


def _load(
    release: Release, root: str | Path | None, download: bool, binarize: str, valid: int | float, seed: int
) -> Dataset:
    folder = _root(release, root, download) / release.folder
    files = [_find(release, folder, stem, download) for stem in (TRAIN, TEST)]
    images, last = (read_idx(path) for path in files)
    for path, values in zip(files, (images, last), strict=True):
        check_values(values, WHITE, str(path), varied=True)
    (count,) = sizes(len(images), str(files[0]), valid=valid)
    parts = {"train": images[:-count], "valid": images[-count:], "test": last}
    train, held_out, test = (
        Split(name, torch.from_numpy(values), str(files[name == "test"]), scale=WHITE) for name, values in parts.items()
    )
    return assemble(release.name, train, held_out, test, binarize, seed)


def read_idx(path: Path) -> NDArray[np.uint8]:
    """The images of an IDX file, plain or .gz, as [N, 1, H, W].

    No more is ever unpacked than the header promises, and that is bounded.

    Raises:
        UserError: another magic number, an absurd or empty size, or fewer or more bytes than promised.
    """
    with reading(path), gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
        head = file.read(HEADER.size)
        if len(head) < HEADER.size:
            raise UserError(f"{path} is no IDX file of images: it ends within its header, after {len(head)} bytes.")
        magic, *shape = HEADER.unpack(head)
        if magic != IMAGES:
            what = "labels, not images" if magic == LABELS else "no images of bytes"
            raise UserError(f"{path} holds {what}: its magic number is {magic:#010x}, and images have {IMAGES:#010x}.")
        size = shape[0] * shape[1] * shape[2]
        bounded(size, LARGEST, path, "Its header is damaged, or it is no IDX file.")
        pixels = _read(file, size + 1)  # one more than promised shows whether there is more
    if len(pixels) != size:
        held = "more" if len(pixels) > size else f"{len(pixels):,}"
        raise UserError(
            f"{path} promises {shape[0]} images of {shape[1]} x {shape[2]}, {size:,} bytes, but holds {held}. "
            "It is truncated or damaged: fetch it again."
        )
    return as_data(np.frombuffer(pixels, np.uint8).reshape(shape), str(path))


def _read(file: BufferedIOBase, size: int) -> bytearray:
    """Up to `size` bytes, a little at a time: memory grows with what is there, not with what is promised."""
    held = bytearray()
    while len(held) < size and (chunk := file.read(min(CHUNK, size - len(held)))):
        held += chunk
    return held


def _root(release: Release, root: str | Path | None, download: bool) -> Path:
    if root is not None:
        with opening(root, "data.root"):
            return Path(root).expanduser() if download else existing(root, "data.root")
    try:
        import pooch
    except ImportError as error:
        what = f"Without data.root=FOLDER (that holds {release.folder}), the data set {release.name}"
        raise need_extra("pooch", "download", what) from error
    return Path(pooch.os_cache("elbo"))


def _find(release: Release, folder: Path, stem: str, download: bool) -> Path:
    packed = folder / f"{stem}.gz"
    with opening(folder, "data.root"):
        for path in (packed, folder / stem):
            if path.is_file():
                return path
    if not download:
        raise UserError(
            f"The data set {release.name} is not in {folder}: there is no {packed.name}, nor {stem}. "
            f"Type data.root=FOLDER, where FOLDER holds {release.folder}, or data.download=true to fetch it."
        )
    fetch([mirror + packed.name for mirror in release.mirrors], release.checksums[stem], packed)
    return packed
