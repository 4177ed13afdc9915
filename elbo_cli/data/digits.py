"""1,797 handwritten digits, 8 x 8 pixels, shipped with the package: the first command needs no network."""

from pathlib import Path

import torch

from elbo_cli.data.npy import read_npz
from elbo_cli.data.partition import partition
from elbo_cli.data.split import Dataset, Split, assemble

FILE = Path(__file__).with_name("digits.npz")
LEVELS = 16  # values run from 0 to 16


def digits(binarize: str = "none", valid: int | float = 180, test: int | float = 180, seed: int = 0) -> Dataset:
    """UCI "Optical Recognition of Handwritten Digits" (its test part), x = value / 16, shape (1, 8, 8).

    Which digits are validation and test data does not depend on the seed.

    Args:
        binarize: a name in `binarize.BINARIZE`.
        valid: number of validation data, or their fraction.
        test: number of test data, or their fraction.
        seed: seed of a fixed binarisation.

    Raises:
        UserError: no such binarisation, or parts that leave nothing to train on.

    Reference: Alpaydin and Kaynak (1998), https://doi.org/10.24432/C50P49, CC BY 4.0. See DIGITS.md.
    """
    images = read_npz(FILE, "images", limit=2**20)
    rows = partition(len(images), "digits", test=test, valid=valid)
    train, held_out, last = (
        Split(name, torch.from_numpy(images[rows[name]]).unsqueeze(1), "digits", scale=LEVELS)
        for name in ("train", "valid", "test")
    )
    return assemble("digits", train, held_out, last, binarize, seed)
