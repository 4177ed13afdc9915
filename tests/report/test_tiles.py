"""Images as PNG files: what is written is what was given."""

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from elbo_cli.report.figures.tiles import PAPER, Ink, grid, is_images, joined, png


@pytest.mark.parametrize(
    ("shape", "pictures"),
    [
        ((1, 8, 8), True),
        ((3, 32, 32), True),
        ((28, 28), True),
        ((2, 8, 8), False),
        ((64,), False),
        ((1, 1, 9), False),
        ((), False),
    ],
)
def test_pictures_are_known_by_their_shape(shape: tuple[int, ...], pictures: bool) -> None:
    assert is_images(shape) is pictures


def test_a_pixel_keeps_its_value() -> None:
    values = np.array([[[0.0, 0.2], [0.6, 1.0]]], np.float32)
    image = Image.open(BytesIO(png(Ink.of(values).picture(values), 3)))
    assert image.size == (6, 6)
    assert np.asarray(image)[::3, ::3].tolist() == [[0, 51], [153, 255]]


def test_colours_come_last_and_ranges_are_stretched() -> None:
    values = np.stack([np.full((2, 2), v, np.float32) for v in (-4.0, 0.0, 4.0)])
    assert Ink.of(values).picture(values)[0, 0].tolist() == [0, 128, 255]


def test_grids_are_filled_up() -> None:
    image = np.zeros((8, 8), np.uint8)
    assert grid([image] * 3, 2, gap=False).shape == (16, 16)
    assert (grid([image] * 3, 2, gap=False)[8:, 8:] == PAPER).all()
    assert joined([image, image], 0).shape == (17, 8)
