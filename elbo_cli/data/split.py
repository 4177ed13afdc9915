"""One part of a data set, in memory or in files; and a data set, which is three of them."""

import hashlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from elbo_cli.data.binarize import BINARIZE, drawn_among
from elbo_cli.data.shards import Shards
from elbo_cli.errors import UserError, choose
from elbo_cli.runtime import derive

CPU = torch.device("cpu")
BYTE = 255
CELLS = 2**22  # values in one block of a streaming pass: 16 MB as float32, whatever the size of a datum


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """One part of a data set: x = values / scale, binarised as `pending` says at each visit.

    A split in memory is binarised once, at load, unless it is to be drawn afresh at every visit; one in files
    never is, so its rows are binarised when they are visited, each with noise of its own (`binarize.row_noise`).
    """

    name: str  # train, valid or test
    values: Tensor | Shards  # [N, ...]; shards are read from their files
    source: str  # where it came from, for messages
    scale: float = 1.0  # 255 for 8-bit images
    pending: str = "none"  # the binarisation that a visit still has to do
    key: int = 0  # seed of the noise of binarisation, if it is fixed
    rows: NDArray[np.int64] | None = None  # rows of the files that are this split's; all, where None
    device: torch.device = CPU
    _digest: list[str] = field(default_factory=list, init=False, repr=False)  # once it has been asked for

    def __len__(self) -> int:
        return len(self.values) if self.rows is None else len(self.rows)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one datum."""
        return tuple(self.values.shape[1:])

    def batch(self, index: Tensor) -> Tensor:
        """The data at `index`, float32 [B, *shape], on the split's device.

        Where `pending` is dynamic, each visit draws afresh from torch's global generator: seed it with
        `runtime.noise`. In every other case the same index gives the same x, in whatever batch it is asked for.
        """
        return BINARIZE[self.pending](self._x(index), self.key, index)

    def rows_of_batch(self, index: Tensor, own: Tensor) -> Tensor:
        """The rows `own` of the batch at `index` alone, with the values that the whole batch would have there."""
        if self.pending == "dynamic":
            return drawn_among(self._x(index[own.to(index.device)]), own, len(index))
        return self.batch(index[own.to(index.device)])

    def blocks(self, size: int) -> Iterator[Tensor]:
        """All data in order, in consecutive batches of `size`; the last may be short."""
        for start in range(0, len(self), size):
            yield self.batch(torch.arange(start, min(start + size, len(self))))

    def first(self, n: int) -> "Split":
        """The first n data (all, where there are fewer), with the same values as here."""
        if isinstance(self.values, Tensor):
            return replace(self, values=self.values[:n])
        return replace(self, rows=np.arange(min(n, len(self))) if self.rows is None else self.rows[:n])

    def frozen(self) -> "Split":
        """The same data, drawn once where they are drawn afresh at each visit: what an evaluation may rest on."""
        return binarised(replace(self, pending="none"), "fixed", self.key) if self.pending == "dynamic" else self

    def to(self, device: torch.device) -> "Split":
        """The split on `device`: a tensor moves there; of one in files, each batch will."""
        values = self.values.to(device) if isinstance(self.values, Tensor) else self.values
        return replace(self, values=values, device=device)

    def mean(self) -> Tensor:
        """E[x], the mean over the data of each value, float64 [*shape]; of Bernoulli(x) it is the expectation."""
        total = torch.zeros(self.shape, dtype=torch.float64, device=self.device)
        for x in self._undrawn():
            total += x.double().sum(0)
        return total / len(self)

    def digest(self) -> str:
        """A short hash of the data (before binarisation that is drawn afresh): equal data, equal digest.

        It is taken over x as float32, so that data in memory and in files have one digest. All data are read, once.
        """
        if not self._digest:
            self._digest.append(self._hashed())
        return self._digest[0]

    def _hashed(self) -> str:
        digest = hashlib.sha256(repr((len(self), *self.shape)).encode())
        for x in self._undrawn():
            digest.update(x.cpu().contiguous().numpy().data)
        return digest.hexdigest()[:16]

    def extent(self) -> tuple[float, float]:
        """The smallest and the largest x before binarisation."""
        if isinstance(self.values, Tensor):  # in its own type: no copy of the data
            low, high = (value.to(torch.float32) / self.scale for value in self.values.aminmax())
            return low.item(), high.item()
        ends = torch.stack([torch.stack(self._x(index).aminmax()) for index in self._pass()])
        return ends[:, 0].min().item(), ends[:, 1].max().item()

    def of_bytes(self) -> bool:
        """Whether x is a byte over 255, in [0, 1] whatever it is."""
        return str(self.values.dtype).endswith("uint8") and self.scale >= BYTE

    def _x(self, index: Tensor) -> Tensor:
        if isinstance(self.values, Tensor):
            return self._scaled(self.values.index_select(0, index.to(self.device)).to(torch.float32))
        at = index.cpu().numpy()
        rows = self.values[at if self.rows is None else self.rows[at]]
        dtype = np.uint8 if rows.dtype == np.uint8 else np.float32
        held = torch.from_numpy(np.ascontiguousarray(rows, dtype=dtype))
        return self._scaled(held.to(self.device).to(torch.float32))

    def _scaled(self, fetched: Tensor) -> Tensor:
        """A copy of data, in its place: every pass over a batch costs as much as a small kernel."""
        return fetched if self.scale == 1 else fetched.div_(self.scale)

    def _pass(self) -> Iterator[Tensor]:
        size = max(1, CELLS // math.prod(self.shape))
        for start in range(0, len(self), size):
            yield torch.arange(start, min(start + size, len(self)))

    def _undrawn(self) -> Iterator[Tensor]:
        for index in self._pass():
            yield self._x(index) if self.pending == "dynamic" else self.batch(index)


def binarised(split: Split, how: str, key: int) -> Split:
    """The split under the binarisation called `how`: one of `binarize.BINARIZE`.

    Args:
        split: x as it was loaded.
        how: none, threshold (x > 0.5), fixed (Bernoulli(x), once) or dynamic (Bernoulli(x) at every visit).
        key: seed of the noise, if it is fixed.

    Raises:
        UserError: there is no such binarisation, or some x lies outside [0, 1].
    """
    choose(BINARIZE, how, "binarisation (data.binarize)")
    if how == "none":
        return replace(split, key=key)
    low, high = (0.0, 1.0) if split.of_bytes() else split.extent()
    if low < 0 or high > 1:
        raise UserError(
            f"{split.source}: x runs from {low:g} to {high:g}, and data.binarize={how} needs x in [0, 1]. "
            "Type data.scale=NUMBER, by which the values are divided, or data.binarize=none."
        )
    lazy = replace(split, pending=how, key=key)
    if how == "dynamic" or not isinstance(split.values, Tensor):
        return lazy
    values = torch.cat([lazy.batch(index).to(torch.uint8) for index in lazy._pass()])
    return replace(lazy, values=values, scale=1.0, pending="none")


@dataclass(frozen=True, slots=True, eq=False)
class Dataset:
    """Three splits of one shape; for synthetic data also the density that they were drawn from."""

    name: str
    train: Split
    valid: Split
    test: Split
    log_px: Callable[[Tensor], Tensor] | None = None  # x [N, ...] -> exact log p(x) in nats, [N] float64
    best_log_px: Callable[[Tensor, Tensor, int], float] | None = None  # see linear_gaussian.best_log_px

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one datum."""
        return self.train.shape

    def split(self, name: str) -> Split:
        """The split called train, valid or test.

        Raises:
            UserError: there is no such split.
        """
        return choose({"train": self.train, "valid": self.valid, "test": self.test}, name, "split")

    def to(self, device: torch.device) -> "Dataset":
        """The data set with its splits on `device`."""
        train, valid, test = (split.to(device) for split in (self.train, self.valid, self.test))
        return replace(self, train=train, valid=valid, test=test)


def assemble(name: str, train: Split, valid: Split, test: Split, binarize: str, seed: int) -> Dataset:
    """Three splits as a data set, binarised: what is drawn afresh in training is drawn once in the other two.

    Raises:
        UserError: the shapes disagree, or the data cannot be binarised so.
    """
    for split in (valid, test):
        if split.shape != train.shape:
            raise UserError(
                f"A datum of {train.source} (train) has shape {train.shape}, but one of {split.source} ({split.name}) "
                f"has shape {split.shape}. All splits need the same shape."
            )
    once = "fixed" if binarize == "dynamic" else binarize
    return Dataset(
        name,
        binarised(train, binarize, derive(seed, "binarize", "train")),
        binarised(valid, once, derive(seed, "binarize", "valid")),
        binarised(test, once, derive(seed, "binarize", "test")),
    )
