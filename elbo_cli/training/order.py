"""The order in which an epoch visits the training data."""

import torch
from torch import Tensor

BLOCKS = 64  # blocks in a window


def visiting(N: int, window: int | None = None) -> Tensor:
    """Every one of N data once, in an order drawn from the global generator, which the caller seeds.

    Without a window it is a permutation of all data, each as likely as any other. With one, blocks of window / 64 data
    that lie next to each other come in a random order, and the data are then shuffled within each window of as many
    data: what is read between two windows lies in 65 places at most, and not all over files that may be larger than
    memory.

    Args:
        N: how many data.
        window: how many are shuffled together; None: all.

    Returns:
        Rows, [N].
    """
    if window is None:
        return torch.randperm(N)
    size = max(1, window // BLOCKS)
    blocks = torch.randperm(-(-N // size))
    near = (blocks.unsqueeze(1) * size + torch.arange(size)).flatten()
    near = near[near < N]  # the last block is short, wherever it comes
    return torch.cat([piece[torch.randperm(len(piece))] for piece in torch.split(near, window)])
