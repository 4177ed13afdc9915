"""The noise of each datum: a stream of its own, by the seed and its place in the split, whoever is beside it."""

import torch
from torch import Tensor

from elbo_cli.gap.proposals.from_noise import FromNoise
from elbo_cli.runtime import derive

ROUND = 16  # torch's normals come sixteen at a time: of so many draws the first are those of fewer


class Streams:
    """The streams of some data.

    Args:
        seed: of the measurement.
        name: of what the noise is for.
        index: which data of the split, [n].
        made: what the noise is to become.
    """

    def __init__(self, seed: int, name: str, index: Tensor, made: FromNoise) -> None:
        # torch keeps 32 bits of a seed: counted, no two data share a stream, as two hashes among a million would
        first = derive(seed, "gap", name)
        self.made = made
        self.generators = [torch.Generator(made.like.device).manual_seed((first + n) % 2**32) for n in index.tolist()]

    def draw(self, k: int) -> Tensor:
        """The next k draws of each datum, [k, n, D]."""
        rows, like = -(-k // ROUND) * ROUND, self.made.like
        noise = [
            torch.randn(rows, self.made.width, dtype=like.dtype, device=like.device, generator=each)[:k]
            for each in self.generators
        ]
        return self.made.draw(torch.stack(noise, 1))
