"""The VAE that all contenders train, 784-200-200-50 tanh, as a user would write it in plain torch."""

from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

PIXELS, HIDDEN, D = 784, (200, 200), 50


def settle(wants: dict[str, Any]) -> None:
    """The same number of threads for everybody."""
    torch.set_num_threads(wants["threads"])
    torch.manual_seed(0)


def images(wants: dict[str, Any]) -> Tensor:
    """Binary images [N, 784], drawn once: peers are spared the drawing at every visit."""
    return torch.from_numpy(np.load(wants["binary"]))


def mlp(*widths: int) -> nn.Sequential:
    """Linear layers with tanh between them."""
    layers = [layer for a, b in pairwise(widths) for layer in (nn.Linear(a, b), nn.Tanh())]
    return nn.Sequential(*layers[:-1])


def encoder() -> nn.Sequential:
    return mlp(PIXELS, *HIDDEN, 2 * D)


def decoder() -> nn.Sequential:
    return mlp(D, *HIDDEN, PIXELS)
