"""Write digits or MNIST as binary arrays, for programs other than elbo: python write_arrays.py digits."""

import argparse
from pathlib import Path

import numpy as np
import torch

from elbo_cli.data.digits import digits
from elbo_cli.data.idx import mnist
from elbo_cli.data.split import Dataset


def opened(name: str, root: str | None) -> Dataset:
    return digits(binarize="fixed") if name == "digits" else mnist(root=root, binarize="fixed")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("name", choices=["digits", "mnist"])
    parser.add_argument("--root", help="the folder that holds MNIST/raw")
    given = parser.parse_args()
    data = opened(given.name, given.root)
    for split in (data.train, data.test):
        x = split.batch(torch.arange(len(split))).numpy()  # [N, 1, height, width], zeros and ones
        path = Path(f"{given.name}_{split.name}.npy")
        np.save(path, x.astype("uint8"))
        print(path, x.shape)


if __name__ == "__main__":
    main()
