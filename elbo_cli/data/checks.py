"""What every array must be before it is data: of a numeric type, one datum per row, not empty, finite, not constant."""

from collections.abc import Callable, Iterator
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from elbo_cli.errors import UserError

CHANNELS = (1, 3, 4)
CELLS = 2**22  # values looked at together, so that the check of data larger than memory needs none


class Rows(Protocol):
    """What is looked at: an array, or files that are read as one."""

    @property
    def shape(self) -> tuple[int, ...]:
        """[N, ...]."""
        ...

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of every value."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, rows: slice, /) -> NDArray[Any]: ...


def as_data(values: NDArray[Any], source: str) -> NDArray[Any]:
    """The array as [N, ...], one datum per row, images channel first; a view, so a memory map stays one.

    [N, D] stays; [N, H, W] becomes [N, 1, H, W]; [N, C, H, W] stays; [N, H, W, C] with C in {1, 3, 4}, and no such
    number in the place of the channel, becomes [N, C, H, W]. Truth values become 0 and 1.

    Raises:
        UserError: another number of dimensions, another type than whole or real numbers, or an empty array.
    """
    if values.dtype.kind not in "buif":
        raise UserError(f"{source} holds {values.dtype}, and data must be whole or real numbers.")
    if values.ndim not in (2, 3, 4):
        raise UserError(
            f"{source} has shape {values.shape}; data must be [N, D], [N, H, W], [N, C, H, W] or [N, H, W, C]."
        )
    if 0 in values.shape:
        raise UserError(f"{source} is empty: its shape is {values.shape}.")
    if values.dtype == np.bool_:
        values = values.view(np.uint8)
    if values.ndim == 3:
        return values[:, None]
    if values.ndim == 4 and values.shape[3] in CHANNELS and values.shape[1] not in CHANNELS:
        return np.moveaxis(values, 3, 1)
    return values


def exceeds(values: Rows, bar: float) -> bool:
    """Whether any value is above the bar; nothing is read after the first that is."""
    return any(bool(block.max() > bar) for _, block in _blocks(values))


def check_values(
    values: Rows, scale: float, source: str, *, varied: bool, place: Callable[[int], str] = lambda row: ""
) -> None:
    """Every x = value / scale is a finite float32, and the data are not all one and the same.

    Args:
        values: data, [N, ...].
        scale: x = value / scale.
        source: the file, for messages.
        varied: whether the data must differ from each other, as training data must.
        place: what messages say of where a row is, beside its number.

    Raises:
        UserError: with the row and the place in the datum (from 0) of the first value that is not finite; or the
            value or datum that all are equal to.
    """
    same_datum = same_value = len(values) > 1
    first = values[:1]
    bytes_only = values.dtype == np.uint8 and scale >= 1  # finite by their type
    for start, block in _blocks(values):
        if not bytes_only and not np.isfinite(x := _x(block, scale)).all():
            raise UserError(f"{source}, shape {values.shape}: {_not_finite(block, x, start, scale, place)}")
        same_datum = same_datum and bool((block == first).all())
        same_value = same_value and bool((block == first.flat[0]).all())
        if bytes_only and not same_value and not (varied and same_datum):
            return  # nothing that is not read yet can be at fault
    if same_value:
        value = first.flat[0]
        raise UserError(f"{source}: every value of the {len(values)} data is {value:g}. There is nothing to model.")
    if same_datum and varied:
        raise UserError(f"{source}: all {len(values)} data are the same. There is nothing to learn from them.")


def _x(values: NDArray[Any], scale: float) -> NDArray[np.float32]:
    # a number beyond float32 becomes inf, and is reported as such; so does one over a scale that is flushed to 0
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        return np.asarray(values, dtype=np.float32) / np.float32(scale)


def _blocks(values: Rows) -> Iterator[tuple[int, NDArray[Any]]]:
    rows = max(1, CELLS // int(np.prod(values.shape[1:])))
    for start in range(0, len(values), rows):
        yield start, values[start : start + rows]


def _not_finite(
    block: NDArray[Any], x: NDArray[np.float32], start: int, scale: float, place: Callable[[int], str]
) -> str:
    row, *at = (int(i) for i in np.argwhere(~np.isfinite(x))[0])
    value = block[(row, *at)]
    beyond = f" (beyond float32, divided by data.scale={scale:g})" if np.isfinite(value) else ""
    return (
        f"datum {start + row} (counted from 0{place(start + row)}) holds {value}{beyond} at {at}. "
        "Every value must be finite: drop that datum or fill it in."
    )
