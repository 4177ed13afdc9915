import numpy as np
import torch

from elbo_cli.data.digits import FILE, digits
from elbo_cli.data.sources import SOURCES


def test_the_shipped_digits_are_the_published_ones() -> None:
    with np.load(FILE) as file:
        images = file["images"]
    assert images.shape == (1797, 8, 8)
    assert images.dtype == np.uint8
    assert (images.min(), images.max(), images.sum(dtype=np.int64)) == (0, 16, 561_718)
    # the first digit, a zero, as in the UCI file
    assert images[0, :2].tolist() == [[0, 0, 5, 13, 9, 1, 0, 0], [0, 0, 13, 15, 10, 15, 5, 0]]
    assert FILE.stat().st_size < 100_000
    assert "CC BY 4.0" in FILE.with_name("DIGITS.md").read_text(encoding="utf-8")


def test_digits_are_images_from_0_to_1_in_three_parts() -> None:
    data = digits()
    assert (len(data.train), len(data.valid), len(data.test)) == (1437, 180, 180)
    assert data.shape == (1, 8, 8)
    assert data.train.extent() == (0.0, 1.0)
    everything = torch.cat([block for name in ("train", "valid", "test") for block in data.split(name).blocks(500)])
    assert (everything.double().sum() * 16).item() == 561_718  # each digit once


def test_the_test_digits_are_the_same_for_every_seed_and_every_size_of_validation() -> None:
    assert digits(seed=0).test.digest() == digits(seed=1).test.digest() == digits(valid=500).test.digest()
    assert digits(seed=0, binarize="fixed").test.digest() != digits(seed=1, binarize="fixed").test.digest()


def test_digits_load_through_the_table_of_sources() -> None:
    assert len(SOURCES["digits"](binarize="dynamic", valid=0.1, test=100, seed=3).valid) == 180
