import gzip
import hashlib
import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from elbo_cli.data import idx
from elbo_cli.data.idx import fashion_mnist, mnist, read_idx
from elbo_cli.errors import UserError

SHARED = Path(__file__).parents[3] / "shared" / "data"
IMAGES = np.random.default_rng(0).integers(0, 256, (30, 4, 5), dtype=np.uint8)


def idx_bytes(images: np.ndarray, magic: int = 0x803) -> bytes:
    return struct.pack(">IIII", magic, *images.shape) + images.tobytes()


def write_root(root: Path, folder: str = "MNIST/raw", packed: bool = True, test: np.ndarray = IMAGES[:6]) -> Path:
    (root / folder).mkdir(parents=True)
    for stem, images in ((idx.TRAIN, IMAGES), (idx.TEST, test)):
        content = idx_bytes(images)
        path = root / folder / (f"{stem}.gz" if packed else stem)
        path.write_bytes(gzip.compress(content) if packed else content)
    return root


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize(("load", "folder"), [(mnist, "MNIST/raw"), (fashion_mnist, "FashionMNIST/raw")])
def test_images_are_read_from_the_shared_layout(tmp_path: Path, packed: bool, load, folder: str) -> None:
    data = load(root=write_root(tmp_path, folder, packed), valid=7)
    assert (len(data.train), len(data.valid), len(data.test), data.shape) == (23, 7, 6, (1, 4, 5))
    x = torch.from_numpy(IMAGES).unsqueeze(1).float() / 255
    assert torch.equal(data.train.batch(torch.arange(23)), x[:23])
    assert torch.equal(data.valid.batch(torch.arange(7)), x[23:])  # the last images
    assert torch.equal(data.test.batch(torch.arange(6)), x[:6])


def test_the_published_mnist() -> None:
    if not SHARED.is_dir():
        pytest.skip(f"MNIST is not at {SHARED}")
    data = mnist(root=SHARED, binarize="dynamic")
    assert (len(data.train), len(data.valid), len(data.test)) == (55_000, 5_000, 10_000)
    assert data.train.mean().mean().item() == pytest.approx(0.1307, abs=2e-4)  # the mean that everybody normalises by
    assert data.test.batch(torch.arange(100)).unique().tolist() == [0.0, 1.0]
    content = idx_bytes(read_idx(SHARED / "MNIST" / "raw" / f"{idx.TRAIN}.gz").squeeze(1))
    assert hashlib.md5(content).hexdigest() == "6bbc9ace898e44ae57da46a324031adb"  # of the published file, unpacked


def test_files_that_are_not_there_are_asked_for(tmp_path: Path) -> None:
    with pytest.raises(UserError) as told:
        mnist(root=tmp_path)
    for part in (str(tmp_path / "MNIST" / "raw"), "data.root=FOLDER", "data.download=true", idx.TRAIN):
        assert part in str(told.value)


def test_a_root_that_is_not_there_names_its_neighbour(tmp_path: Path) -> None:
    (tmp_path / "datasets").mkdir()
    with pytest.raises(UserError, match="Did you mean 'datasets'"):
        mnist(root=tmp_path / "dataset")


def test_without_a_root_it_looks_in_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(UserError, match=r"data\.download=true"):
        mnist()


def test_no_more_is_unpacked_than_the_header_promises(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    read = gzip.GzipFile.read
    monkeypatch.setattr(gzip.GzipFile, "read", lambda file, size: asked.append(size) or read(file, size))
    path = tmp_path / "bomb.gz"
    path.write_bytes(gzip.compress(struct.pack(">IIII", 0x803, 2, 3, 4) + bytes(50_000_000)))
    with pytest.raises(UserError, match="2 images of 3 x 4, 24 bytes, but holds more"):
        read_idx(path)
    assert sum(asked) < 100


GOOD = idx_bytes(IMAGES)
BAD = {
    "nothing in it": (b"", "ends within its header"),
    "a short header": (GOOD[:15], "ends within its header, after 15 bytes"),
    "labels": (idx_bytes(IMAGES, 0x801), "holds labels, not images"),
    "floats": (idx_bytes(IMAGES, 0xD03), "magic number is 0x00000d03"),
    "little-endian": (struct.pack("<IIII", 0x803, 30, 4, 5), "holds no images"),
    "one byte short": (GOOD[:-1], "600 bytes, but holds 599"),
    "one byte more": (GOOD + b"\0", "but holds more"),
    "a promise beyond bounds": (struct.pack(">IIII", 0x803, 2**32 - 1, 2**32 - 1, 28), "over the limit"),
    "no images": (struct.pack(">IIII", 0x803, 0, 28, 28), "is empty"),
    "no pixels": (struct.pack(">IIII", 0x803, 10, 0, 28), "is empty"),
}


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("name", BAD)
def test_a_broken_file_is_refused_by_name(tmp_path: Path, name: str, packed: bool) -> None:
    content, sentence = BAD[name]
    path = tmp_path / ("x.gz" if packed else "x")
    path.write_bytes(gzip.compress(content) if packed else content)
    with pytest.raises(UserError) as told:
        read_idx(path)
    assert sentence in str(told.value)
    assert str(path) in str(told.value)


@pytest.mark.parametrize("content", [gzip.compress(GOOD)[:-20], gzip.compress(GOOD)[:200], GOOD, b"\x1f\x8b\x08\0junk"])
def test_a_broken_gzip_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.gz").write_bytes(content)
    with pytest.raises(UserError, match=r"x.gz cannot be read: .*truncated"):
        read_idx(tmp_path / "x.gz")


def test_splits_must_agree_and_leave_something_to_train_on(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"data\.valid=30 would leave none"):
        mnist(root=write_root(tmp_path / "a"), valid=30)
    with pytest.raises(UserError, match=r"shape \(1, 4, 5\), but one of .*t10k.* \(test\) has shape \(1, 4, 4\)"):
        mnist(root=write_root(tmp_path / "b", test=IMAGES[:, :, :4]), valid=3)
    with pytest.raises(UserError, match="every value of the 6 data is 0"):
        mnist(root=write_root(tmp_path / "c", test=np.zeros((6, 4, 5), np.uint8)), valid=3)
