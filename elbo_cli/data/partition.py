"""Which rows are training data, which validation and which test."""

import numpy as np
from numpy.typing import NDArray

from elbo_cli.errors import UserError

KEY = 1797  # a constant and not the run's seed: runs of every seed are tested on the same data


def size(part: int | float, total: int, option: str) -> int:
    """The number of data that `part` asks for: a whole number of data, or a fraction between 0 and 1 of `total`.

    Raises:
        UserError: it is neither.
    """
    fraction = isinstance(part, float) and 0 < part < 1
    count = isinstance(part, int) and not isinstance(part, bool) and part >= 1
    if not fraction and not count:
        raise UserError(
            f"{option}={part!r} is neither a number of data (1, 2, ...) nor a fraction of them between 0 and 1. "
            f"Type {option}=0.1, say."
        )
    return max(1, round(part * total)) if fraction else int(part)


def sizes(total: int, source: str, **parts: int | float) -> list[int]:
    """Sizes of the parts cut from `total` data, in the order given; at least one datum must be left to train on.

    Raises:
        UserError: a size is not one, or nothing is left.
    """
    counts = [size(part, total, f"data.{name}") for name, part in parts.items()]
    if sum(counts) >= total:
        asked = " and ".join(f"data.{name}={part}" for name, part in parts.items())
        raise UserError(
            f"{source} holds {total} data, and {asked} would leave none to train on. Ask for less than {total} in all."
        )
    return counts


def shuffled(total: int) -> NDArray[np.int64]:
    """A permutation of range(total) that depends on nothing but `total`."""
    return np.argsort(np.random.Philox(key=KEY).random_raw(total), kind="stable")


def partition(total: int, source: str, **parts: int | float) -> dict[str, NDArray[np.int64]]:
    """Rows of each part in ascending order, and of `train`, which is the rest.

    The parts are cut from one permutation in the order given: name `test` first, and the test data do not depend
    on how many are taken for validation.

    Raises:
        UserError: as `sizes`.
    """
    counts = sizes(total, source, **parts)
    *cut, rest = np.split(shuffled(total), np.cumsum(counts))
    return {name: np.sort(rows) for name, rows in zip([*parts, "train"], [*cut, rest], strict=True)}
