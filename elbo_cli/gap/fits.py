"""What a pilot fitted to each datum, kept for the rounds that follow it: a fit is no draw, and none is used again."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution

from elbo_cli.gap.proposals.normal import PrecisionNormal
from elbo_cli.gap.settings import DATA_TILE
from elbo_cli.models.normals import FullNormal

ROOM = 2**25  # numbers that are kept, 128 MB in float32: of 50 latents 13,000 data; the others are fitted again


class Fits:
    """Normals by datum, from whole blocks of data. Safe beside other threads, each with blocks of its own."""

    def __init__(self, D: int) -> None:
        self.room = ROOM // (D * D + D) // DATA_TILE * DATA_TILE  # data, the first of the split
        self._blocks: dict[int, Distribution] = {}

    def keep(self, index: Tensor, near: Distribution) -> None:
        """Keep what was fitted to the data `index` [n], if they are a block, and there is room and a way."""
        first, last = int(index[0]), int(index[-1])
        block = first % DATA_TILE == 0 and last - first + 1 == len(index)
        if block and last < self.room and type(near) in ROWS:
            self._blocks[first // DATA_TILE] = near

    def near(self, index: Tensor) -> Distribution | None:
        """What was fitted to the data `index` [n], ascending, of any blocks; None where it was not kept."""
        numbers, places = index // DATA_TILE, index % DATA_TILE
        wanted = numbers.unique().tolist()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        if not all(number in self._blocks for number in wanted):
            return None
        parts = [(self._blocks[number], places[numbers == number]) for number in wanted]
        return ROWS[type(parts[0][0])](parts)


def _rows(parts: list[tuple[Any, Tensor]], name: str) -> Tensor:
    return torch.cat([getattr(q, name)[rows.to(getattr(q, name).device)] for q, rows in parts])


ROWS: dict[type[Distribution], Callable[[list[tuple[Any, Tensor]]], Distribution]] = {
    PrecisionNormal: lambda parts: PrecisionNormal(_rows(parts, "mu"), _rows(parts, "root")),
    FullNormal: lambda parts: FullNormal(_rows(parts, "loc"), _rows(parts, "scale_tril")),
}
