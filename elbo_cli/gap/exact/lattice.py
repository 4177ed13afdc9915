"""Grids over the line and the plane that are fine only where they must be: tiles of points, halved again and again."""

import math
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor

# A pair is a datum and a tile, a row of longs (n, i) or (n, i, j): where one datum still has something to integrate.


@dataclass(frozen=True, slots=True)
class Lattice:
    """The points u = step k / 2^depth, k whole numbers, in square tiles of `side` points along each of D axes.

    At depth + 1 a tile is 2^D tiles of half the width. The tiles of one depth share no point and leave none out.
    """

    D: int
    side: int  # a multiple of 4, so that every tile holds the same share of each coarser grid
    step: float  # between the points at depth 0

    @property
    def volume(self) -> int:
        """The points of a tile."""
        return self.side * self.side if self.D == 2 else self.side

    @property
    def corners(self) -> int:
        """The tiles that a tile is made of, one depth down."""
        return 4 if self.D == 2 else 2

    def step_at(self, depth: int) -> float:
        """Between the points of a depth."""
        return self.step / float(2**depth)

    def points(self, pairs: Tensor, depth: int) -> Tensor:
        """The points of tiles, [side^D, M, D], the last axis of a tile fastest."""
        within = torch.cartesian_prod(*[torch.arange(self.side)] * self.D).view(-1, 1, self.D)
        return (pairs[:, 1:] * self.side + within).double() * self.step_at(depth)

    def covering(self, low: Tensor, high: Tensor) -> Tensor:
        """The pairs of data with tiles of depth 0 that cover the box from low to high, [N, D] each, of every datum.

        All data have as many tiles as the largest box needs.
        """
        width = self.side * self.step
        first, last = (low / width).floor().long(), (high / width).floor().long()
        spans = [torch.arange(int(span) + 1) for span in (last - first).amax(0)]
        within = torch.cartesian_prod(*spans).view(-1, self.D)
        tiles = (first.unsqueeze(1) + within).flatten(0, 1)
        return torch.cat([torch.arange(len(low)).repeat_interleave(len(within)).unsqueeze(1), tiles], 1)

    def children(self, pairs: Tensor) -> Tensor:
        """The tiles that these are made of, one depth down."""
        corners = torch.tensor([(0, *corner) for corner in product((0, 1), repeat=self.D)])
        return (pairs.unsqueeze(1) * torch.tensor([1] + [2] * self.D) + corners).flatten(0, 1)

    def across(self, pairs: Tensor, open_faces: Tensor) -> Tensor:
        """The tiles beyond open faces that are not among `pairs` [M, 1 + D] themselves.

        Args:
            pairs: tiles.
            open_faces: for each axis, whether a tile's face at the lower and that at the upper end is open, [M, 2 D].
        """
        which, face = open_faces.nonzero(as_tuple=True)
        if not len(which):
            return pairs[:0]
        moves = torch.eye(self.D + 1, dtype=torch.long)[1:].repeat_interleave(2, 0)
        moves[::2] *= -1
        near = pairs[which] + moves[face]
        key = keys(torch.cat([pairs, near]))
        known, key = key[: len(pairs)], key[len(pairs) :]
        order = key.argsort()
        key = key[order]
        new = key.diff(prepend=key[:1] - 1).bool() & ~torch.isin(key, known)
        return near[order[new]]


def keys(rows: Tensor) -> Tensor:
    """One number for each row of whole numbers [M, C], the same for the same row only, and in the order of the rows."""
    low = rows.amin(0)
    spans = (rows.amax(0) - low + 1).tolist()
    if math.prod(spans) >= 2**63:  # no room in one number: slowly, then
        order: Tensor = torch.unique(rows, dim=0, return_inverse=True)[1]
        return order
    key = torch.zeros(len(rows), dtype=torch.long)
    for column, span in zip((rows - low).unbind(1), spans, strict=True):
        key = key.mul(span).add(column)
    return key
