"""Arrays of images as small PNG files."""

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO

import numpy as np
from numpy.typing import NDArray

from elbo_cli.portrait.records import Array

Bytes = NDArray[np.uint8]
PAPER = 128  # their grey


@dataclass(frozen=True, slots=True)
class Tile:
    """A PNG file with what is said under it, and what is said in its place."""

    png: bytes
    note: str
    instead: str


@dataclass(frozen=True, slots=True)
class Gallery:
    """Tiles with a title, and a caption that says what to see in them. `name` is that of the file with all of them."""

    name: str
    title: str
    caption: str
    tiles: tuple[Tile, ...]
    sheet: bytes
    kind: str = "tiles"  # how they are laid out: tiles, strips or one


def is_images(shape: tuple[int, ...]) -> bool:
    """Whether data of this shape are pictures: [H, W], or [1 or 3, H, W], of more than one pixel each way."""
    sides = shape[1:] if len(shape) == 3 and shape[0] in (1, 3) else shape
    return len(sides) == 2 and min(sides) > 1


@dataclass(frozen=True, slots=True)
class Ink:
    """The values that are black and white."""

    low: float
    high: float

    @classmethod
    def of(cls, data: Array) -> "Ink":
        """0 and 1 where the data lie between; else their smallest and their largest."""
        low, high = float(data.min()), float(data.max())
        return cls(0.0, 1.0) if low >= 0 and high <= 1 else cls(low, high if high > low else low + 1)

    def picture(self, values: Array) -> Bytes:
        """An image [C, H, W] or [H, W] as bytes, [H, W] or [H, W, 3]."""
        scaled = np.clip((values - self.low) / (self.high - self.low), 0, 1)
        image: Bytes = np.round(np.nan_to_num(scaled) * 255).astype(np.uint8)
        if image.ndim == 2:
            return image
        return image[0] if len(image) == 1 else np.moveaxis(image, 0, -1)


def joined(images: Sequence[Bytes], axis: int, gap: bool = True) -> Bytes:
    """Images below (axis 0) or beside (axis 1) one another, with an edge between where a gap is wanted."""
    shape = list(images[0].shape)
    shape[axis] = max(1, min(shape[:2]) // 16) if gap else 0
    edge = np.full(shape, PAPER, np.uint8)
    parts = [part for image in images for part in (image, edge)]
    return np.concatenate(parts[:-1], axis)


def grid(images: Sequence[Bytes], columns: int, gap: bool = True) -> Bytes:
    """Images in rows of so many; the last row is filled with grey."""
    blank = np.full_like(images[0], PAPER)
    filled = [*images, *[blank] * (-len(images) % columns)]
    rows = [joined(filled[i : i + columns], 1, gap) for i in range(0, len(filled), columns)]
    return joined(rows, 0, gap)


def png(image: Bytes, times: int = 1) -> bytes:
    """A PNG file, each pixel `times` wide and high."""
    from PIL import Image

    file = BytesIO()
    Image.fromarray(image.repeat(times, 0).repeat(times, 1)).save(file, "PNG", optimize=True)
    return file.getvalue()
