"""A folder of images of one size, one datum each."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elbo_cli.data.files import bounded, reading
from elbo_cli.errors import UserError, need_extra

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".pgm", ".ppm"})
MODES = {"1": "L", "L": "L", "P": "RGB", "RGB": "RGB", "RGBA": "RGBA"}  # as stored -> as read
CHANNELS = {"L": 1, "RGB": 3, "RGBA": 4}


def read_images(folder: Path, limit: int) -> NDArray[np.uint8]:
    """The images of a folder, sorted by name, uint8 [N, C, H, W] with C = 1 (grey), 3 (colour) or 4 (with alpha).

    Files that are no images by their suffix, hidden files and folders inside it are passed over.

    Raises:
        UserError: pillow is not installed; no images; images of different size or mode, or of a mode with more than
            8 bits; a damaged image; or more than `limit` bytes of them.
    """
    try:
        from PIL import Image
    except ImportError as error:
        raise need_extra("pillow", "images", f"Reading the images in {folder}") from error
    paths = _paths(folder)
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        width, height, mode = _format(Image, paths[0])
        values = _allocate(folder, (len(paths), CHANNELS[mode], height, width), limit)
        for i, path in enumerate(paths):
            if (found := _format(Image, path)) != (width, height, mode):
                raise UserError(
                    f"{path} is {found[0]} x {found[1]} {found[2]}, but {paths[0].name} is {width} x {height} {mode}. "
                    "All images of a data set must be of one size and kind: convert them first."
                )
            with reading(path), Image.open(path) as image:
                values[i] = np.asarray(image.convert(mode)).reshape(height, width, -1).transpose(2, 0, 1)
    return values


def _paths(folder: Path) -> list[Path]:
    with reading(folder):
        entries = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    paths = [path for path in entries if path.suffix.lower() in SUFFIXES and path.is_file()]
    if not paths:
        inside = [entry.name + "/" if entry.is_dir() else entry.name for entry in entries[:5]]
        held = f"It holds {', '.join(inside)}{', ...' if len(entries) > 5 else ''}." if inside else "It is empty."
        raise UserError(f"{folder} holds no images ({', '.join(sorted(SUFFIXES))}) and no .npy files. {held}")
    return paths


def _format(image_module: Any, path: Path) -> tuple[int, int, str]:
    with reading(path), image_module.open(path) as image:
        if image.mode not in MODES:
            raise UserError(f"{path} has mode '{image.mode}'. There are: {', '.join(MODES)}. Convert it first.")
        see_through = image.mode == "P" and image.has_transparency_data  # colours of a palette may have alpha
        return *image.size, "RGBA" if see_through else MODES[image.mode]


def _allocate(folder: Path, shape: tuple[int, int, int, int], limit: int) -> NDArray[np.uint8]:
    size = int(np.prod([int(n) for n in shape], dtype=object))
    bounded(size, limit, f"{folder}, {shape[0]} images", "Use smaller images, or save them as one .npy array.")
    return np.empty(shape, dtype=np.uint8)
