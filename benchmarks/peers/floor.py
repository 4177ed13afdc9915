"""The matrix products of an epoch and nothing else: what no training of this VAE can be faster than on this machine."""

from itertools import pairwise

import torch
from torch import Tensor

from benchmarks.peers.networks import HIDDEN, PIXELS, D, settle
from benchmarks.worker import serve, wanted

wants = wanted()
settle(wants)
torch.set_flush_denormal(True)
N, B, K = wants["examples"], wants["batch"], wants.get("K", 1)


def network(rows: int, *widths: int) -> list[tuple[Tensor, ...]]:
    """For each layer: inputs, weights, gradient of the outputs, and the three places where products go."""
    return [
        tuple(torch.randn(*shape) for shape in ((rows, a), (b, a), (rows, b), (rows, b), (b, a), (rows, a)))
        for a, b in pairwise(widths)
    ]


encoder, decoder = network(B, PIXELS, *HIDDEN, 2 * D), network(K * B, D, *HIDDEN, PIXELS)


def epoch() -> None:
    for _ in range(N // B):
        for layer in (*encoder, *decoder):
            x, weight, delta, out, gradient, inward = layer
            torch.mm(x, weight.t(), out=out)
            torch.mm(delta.t(), x, out=gradient)
            if layer is not encoder[0]:  # nobody asks for the gradient of the data
                torch.mm(delta, weight, out=inward)


serve(epoch)
