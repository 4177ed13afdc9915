"""How x in [0, 1] becomes x in {0, 1}, and the noise that belongs to a row and not to a visit."""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

WORDS = 8  # one step of the Philox counter gives four 64-bit words: eight uniforms of 32 bits


def row_noise(key: int, index: Tensor, width: int) -> Tensor:
    """Uniforms in [0, 1) that depend on (key, row) alone, never on the batch in which the row is visited.

    Philox is a counter: row n reads the stream from n * steps on, so any row is reached at once, and a run of
    consecutive rows is one call. Its raw words are the part of numpy's generators that never changes.

    Args:
        key: the seed of the stream.
        index: rows, [B].
        width: uniforms for each row.

    Returns:
        Uniforms, float32 [B, width], multiples of 2^-24.
    """
    steps = -(-width // WORDS)
    rows = index.cpu().numpy()
    words = np.empty((len(rows), steps * WORDS), dtype=np.uint32)
    starts = np.flatnonzero(np.diff(rows, prepend=-2) != 1)  # of runs of consecutive rows
    stops = np.flatnonzero(np.diff(rows, append=-2) != 1) + 1
    for start, stop in zip(starts.tolist(), stops.tolist(), strict=True):
        words[start:stop] = _stream(key, int(rows[start]) * steps, (stop - start) * steps).reshape(stop - start, -1)
    return torch.from_numpy((words[:, :width] >> 8).astype(np.float32) * np.float32(2**-24))


def _stream(key: int, counter: int, steps: int) -> NDArray[np.uint32]:
    raw = np.random.Philox(key=key, counter=counter).random_raw(steps * WORDS // 2)
    return np.asarray(raw, dtype="<u8").view("<u4").astype(np.uint32, copy=False)


def keep(x: Tensor, key: int, index: Tensor) -> Tensor:
    """Leave x as it is."""
    return x


def threshold(x: Tensor, key: int, index: Tensor) -> Tensor:
    """1 where x > 0.5, else 0."""
    return (x > 0.5).to(x.dtype)


def fixed(x: Tensor, key: int, index: Tensor) -> Tensor:
    """Bernoulli(x), the same at every visit: the noise of a row is (key, row)'s."""
    u = row_noise(key, index, x[0].numel() if len(x) else 1).to(x.device)
    return (u.reshape(x.shape) < x).to(x.dtype)


def dynamic(x: Tensor, key: int, index: Tensor) -> Tensor:
    """Bernoulli(x), drawn afresh at every visit from the global generator, which the caller seeds."""
    return drawn_among(x, None, len(x))


def drawn_among(x: Tensor, own: Tensor | None, total: int) -> Tensor:
    """Bernoulli(x) for the rows `own` of a batch of `total`, whose other rows are drawn too, and are not kept.

    Args:
        x: the rows that are kept, [n, ...].
        own: which of the batch they are, [n]; None: all.
        total: rows of the batch.
    """
    everything = x if own is None else x.new_empty(total, *x.shape[1:])
    if x.device.type != "cpu":
        u = torch.rand_like(everything)
        return ((u if own is None else u[own.to(u.device)]) < x).to(x.dtype)
    integers, bar = _integers(everything), x.sub(0.5).mul_(2**24)
    return torch.lt(integers if own is None else integers[own], bar, out=bar)


def _integers(x: Tensor) -> Tensor:
    """Integers from -2^23 to 2^23 - 1, one for each x, all equally likely.

    They come from SFC64, seeded by the global generator: twice as fast as torch's own generator, which a training at
    small batches waits for otherwise.
    """
    seed = int(torch.randint(2**63 - 1, ()))
    words = np.random.SFC64(seed).random_raw(-(-x.numel() // 2)).astype("<u8", copy=False).view("<i4")
    return torch.from_numpy(words[: x.numel()].reshape(x.shape)).bitwise_right_shift_(8)


BINARIZE: dict[str, Callable[[Tensor, int, Tensor], Tensor]] = {
    "none": keep,
    "threshold": threshold,
    "fixed": fixed,
    "dynamic": dynamic,
}
