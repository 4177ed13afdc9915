"""The data that speed is measured on: real MNIST where `--root` says so, else pictures of the same shape."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.compare import Setting

PIXELS = 784


def grey(setting: Setting, count: int) -> NDArray[np.float32]:
    """`count` pictures [count, 784] in [0, 1], an eighth of them ink: MNIST's first, or synthetic ones."""
    if setting.root is not None:
        from elbo_cli.data.sources import SOURCES

        split = SOURCES["mnist"](root=setting.root, seed=0, download=False, binarize="none", valid=5000).train
        return np.asarray(split.values[:count].reshape(-1, PIXELS), dtype=np.float32) / np.float32(split.scale)
    rng = np.random.default_rng(0)
    strokes = rng.normal(size=(10, PIXELS)).astype(np.float32)
    logits = rng.normal(size=(count, 10)).astype(np.float32) @ strokes - np.float32(4)
    return np.round(255 / (1 + np.exp(-logits))).astype(np.float32) / np.float32(255)


@contextmanager
def as_files(setting: Setting, count: int) -> Iterator[dict[str, str]]:
    """The pictures as files: `grey` in bytes, for those who binarise at every visit, and `binary`, drawn once."""
    pictures = grey(setting, count)
    with tempfile.TemporaryDirectory() as folder:
        paths = {name: str(Path(folder) / f"{name}.npy") for name in ("grey", "binary")}
        np.save(paths["grey"], np.round(pictures * 255).astype(np.uint8).reshape(-1, 1, 28, 28))
        drawn = np.random.default_rng(1).random(pictures.shape, dtype=np.float32) < pictures
        np.save(paths["binary"], drawn.astype(np.float32))
        yield paths
