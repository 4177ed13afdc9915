"""The trapezoid rule over one or two dimensions, for many data at once, refined where each of them needs it."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Protocol

import torch
from torch import Tensor
from torch.nn.functional import pad

from elbo_cli.gap.exact.lattice import Lattice, keys

GOAL = 1e-6  # nats: below it a datum is done
KINKED = 1e-4  # nats: the same where the integrand has kinks
SHRINKING = 0.3  # the share of itself that an error shrinks to, at most, when the step is halved; at a kink it is 1/4
MOST = 2**18  # points of a datum at one depth
DEEPEST = 20  # halvings of the step
FARTHEST = 100  # tiles that an integrand is followed for beyond where the search began
STEEP = 8.0  # nats in a step: a tile with such slopes may hold more than it shows. A resolved normal's rim has 6
TOGETHER = 8  # data on a tile from which on its points are decoded once for all of them
PATCH = 128  # tiles to a call of the integrand


class Integrand(Protocol):
    """exp(f) g over u for each of N data; the value is the integral, or its logarithm."""

    cut: float  # nats below the highest point: what is lower adds nothing
    rounding: float  # of a value, relative
    logarithmic: bool

    def __call__(self, u: Tensor, data: Tensor) -> tuple[Tensor, Tensor]:
        """f and g, [G, n] each, for the data of these numbers [n] at u [G, n, D], or at u [G, 1, D] for all of them.

        In float64 and on the CPU.
        """
        ...


@dataclass(frozen=True, slots=True)
class Integral:
    """What was found for each datum."""

    value: Tensor  # [N], nats
    error: Tensor  # [N], nats; inf where the integrand does not end, or may hide anything
    step: Tensor  # [N], of the last grid, in units of u


def integrate(integrand: Integrand, lattice: Lattice, seeds: Tensor, N: int) -> Integral:
    """The integral of each of N data by the trapezoid rule, the step halved until its error is below `GOAL`.

    For a smooth integrand that vanishes at the ends the rule's error falls faster than any power of the step: for an
    analytic one it is squared, or better, when the step is halved. At a kink, such as a ReLU makes, it falls to a
    quarter, and `KINKED` has to do. See `doubt` for the error. To it is added what may lie where nothing is seen: in
    tiles left out, where the integrand with its slopes stays `cut` nats below its peak, and in those that are steep.

    Args:
        integrand: exp(f) g.
        lattice: the grids.
        seeds: pairs to begin with, at depth 0, [M, 1 + D]; every datum has some. From there the tiles spread as far as
            they hold anything.
        N: how many data. One that would need more than `MOST` points keeps the error that it has come to.
    """
    descent = _Descent(integrand, lattice, N)
    pairs, depth = seeds, 0
    while len(pairs):
        level = descent.take_in(descent.spread_out(pairs, depth), depth)
        going = descent.unfinished(level) & (depth < DEEPEST)
        pairs = lattice.children(level.pairs[going[level.pairs[:, 0]]])
        depth += 1
    return Integral(descent.value, torch.where(descent.endless, math.inf, descent.error), descent.step)


def doubt(double: Tensor, fourfold: Tensor, lost: Tensor, rounding: Tensor, *, first: bool) -> tuple[Tensor, Tensor]:
    """The error of the rule of step h, [N], and whether it is as small as is asked, [N].

    The grid of step h is 2^D grids of step 2h and 4^D of step 4h, each with a rule of its own. The spread of the rules
    of step 2h is their error, and more than that of the whole. Alone it can be fooled: by symmetry, where a peak lies
    midway between the points of two grids. That of step 4h cannot, and where it is small enough to be read as the
    square root or less of the other, the integrand is smooth and its fourth power bounds what may be hidden; else,
    as at a kink, its 8th part. What has not come so far may be anything if it does not even shrink as at a kink.

    Args:
        double: spread of the values by the rules of step 2h about the whole's, [N].
        fourfold: that of the rules of step 4h, [N].
        lost: what may lie where nothing is seen, [N].
        rounding: of the values, below which no spread can be asked to fall, [N].
        first: whether the grid is the first: it must not be content with a kink, which may be the foot of a spike.
    """
    smooth = double < fourfold.square()
    error = torch.maximum(double, torch.where(smooth, fourfold.pow(4), fourfold / 8)) + lost
    enough = error < torch.where(smooth | first, GOAL, KINKED) + rounding
    open_ended = torch.where(double < SHRINKING * fourfold, torch.maximum(double, fourfold) + lost, math.inf)
    return torch.where(enough, error, open_ended) + rounding, enough


@dataclass(frozen=True, slots=True)
class _Level:
    """An integrand on tiles of one depth. Its size is f + log(1 + |g|)."""

    pairs: Tensor  # [M, 1 + D]
    peak: Tensor  # [M], the largest size
    faces: Tensor  # [M, 2 D], the largest size at the tile's lower and at its upper end of each axis
    reach: Tensor  # [M], what the size may rise to anywhere in the tile
    sums: Tensor  # [M, 4^D], of exp(f - peak) g over every fourth point of each axis

    def highest(self, N: int) -> Tensor:
        """The highest peak of each datum, [N]; -inf where it has no tile."""
        return torch.full((N,), -math.inf).double().scatter_reduce(0, self.pairs[:, 0], self.peak, "amax")

    def total(self, highest: Tensor) -> Tensor:
        """Sums of exp(f - highest) g for each datum, [N, 4^D]."""
        n = self.pairs[:, 0]
        scaled = self.sums * (self.peak - highest[n]).exp().unsqueeze(-1)
        return self.sums.new_zeros(len(highest), self.sums.shape[1]).index_add(0, n, scaled)

    def ceiling(self, highest: Tensor) -> Tensor:
        """Log of the sum of exp(reach) over the tiles of each datum, [N]."""
        n = self.pairs[:, 0]
        return highest + torch.zeros_like(highest).index_add(0, n, (self.reach - highest[n]).exp()).log()

    def count(self, N: int) -> Tensor:
        """The tiles of each datum, [N]."""
        return self.pairs[:, 0].bincount(minlength=N)

    def where(self, these: Tensor) -> "_Level":
        """Some of the tiles."""
        return _Level(*(getattr(self, f.name)[these] for f in fields(self)))

    def joined(self, other: "_Level") -> "_Level":
        """These tiles and others."""
        return _Level(*(torch.cat([getattr(self, f.name), getattr(other, f.name)]) for f in fields(self)))


class _Descent:
    """What the data have come to, on the way down from depth to depth."""

    def __init__(self, integrand: Integrand, lattice: Lattice, N: int) -> None:
        self.integrand, self.lattice, self.N = integrand, lattice, N
        self.value = torch.full((N,), math.nan, dtype=torch.float64)
        self.error, self.step = self.value.clone(), self.value.clone()
        self.neglected = torch.full_like(self.value, -math.inf)  # log of what the tiles left out may hold
        self.endless, self.enough = self.value == 0, self.value == 0  # all False
        self.most = MOST // lattice.volume  # tiles

    def spread_out(self, pairs: Tensor, depth: int) -> _Level:
        """The integrand on these tiles, and on those beyond them as far as it holds anything."""
        level = _survey(self.integrand, self.lattice, pairs, depth)
        for rim in range(FARTHEST + 1):
            n = level.pairs[:, 0]
            floor = level.highest(self.N) - self.integrand.cut
            self.endless |= level.where(level.reach > floor[n]).count(self.N) > 2 * self.most
            fresh = self.lattice.across(level.pairs, (level.faces > floor[n, None]) & ~self.endless[n, None])
            if rim == FARTHEST:
                self.endless[fresh[:, 0]] = True
            if not len(fresh) or rim == FARTHEST:
                break
            level = level.joined(_survey(self.integrand, self.lattice, fresh, depth))
        return level

    def take_in(self, level: _Level, depth: int) -> _Level:
        """Read the integrals off a level; returns its tiles that hold anything, or may."""
        highest = level.highest(self.N)
        floor = (highest - self.integrand.cut)[level.pairs[:, 0]]
        holding = level.reach > floor
        log_cell = self.lattice.D * math.log(self.lattice.step_at(depth))
        log_tile = log_cell + self.lattice.D * math.log(self.lattice.side)
        left_out = level.where(~holding).ceiling(highest).nan_to_num(-math.inf) + log_tile
        self.neglected = torch.logaddexp(self.neglected, left_out)
        steep = level.where(holding & (level.reach > level.peak + STEEP))
        hidden = steep.ceiling(highest).nan_to_num(-math.inf) + log_tile
        level = level.where(holding)
        value, double, fourfold = self._read(highest + log_cell, level.total(highest))
        lost = torch.logaddexp(self.neglected, hidden)
        lost = (lost - value if self.integrand.logarithmic else lost).exp()
        rounding = self.integrand.rounding * value.abs()
        error, enough = doubt(double, fourfold, lost, rounding, first=depth == 0)
        here = level.count(self.N) > 0
        self.value, self.error = torch.where(here, value, self.value), torch.where(here, error, self.error)
        self.enough |= here & enough
        self.step[here] = self.lattice.step_at(depth)
        return level

    def _read(self, log_scale: Tensor, sums: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Value, and spread of the rules of twice and of four times the step, [N] each.

        Args:
            log_scale: log of what the sums are to be multiplied by, [N].
            sums: over every fourth point of each axis, [N, 4^D].
        """
        grid = sums.view(-1, *[2, 2] * self.lattice.D)  # for each axis: the point's number over 2, and if it is odd
        halves = grid.sum(tuple(range(1, 2 * self.lattice.D, 2))).flatten(1)
        fine, coarse, coarser = (
            self._values(log_scale, rules * rules.shape[1]) for rules in (sums.sum(1, keepdim=True), halves, sums)
        )
        return fine.squeeze(1), (coarse - fine).abs().amax(1), (coarser - fine).abs().amax(1)

    def _values(self, log_scale: Tensor, rules: Tensor) -> Tensor:
        """The values, [N, S], that the rules [N, S] stand for."""
        scale = log_scale.unsqueeze(-1)
        values: Tensor = scale + rules.log() if self.integrand.logarithmic else rules * scale.exp()
        return values

    def unfinished(self, level: _Level) -> Tensor:
        """Which data are not yet as exact as is asked, and may have more points, [N]."""
        tiles = level.count(self.N)
        room = (tiles > 0) & (tiles * self.lattice.corners <= self.most) & ~self.endless
        return room & ~self.enough


def _survey(integrand: Integrand, lattice: Lattice, pairs: Tensor, depth: int) -> _Level:
    """The integrand on these tiles."""
    columns = []
    for tiles, together in _calls(pairs):
        u = lattice.points(tiles[:1] if together else tiles, depth)
        columns.append((tiles, *_patch(*integrand(u, tiles[:, 0]), lattice)))
    return _Level(*(torch.cat(column) for column in zip(*columns, strict=True)))


def _calls(pairs: Tensor) -> Iterator[tuple[Tensor, bool]]:
    """The pairs in parts, and whether a part is one tile for many data, whose points are then decoded but once."""
    _, which, count = torch.unique(keys(pairs[:, 1:]), return_inverse=True, return_counts=True)
    order = which.argsort(stable=True)
    pairs, many = pairs[order], (count >= TOGETHER)[which[order]]
    for tile in torch.split(pairs[many], count[count >= TOGETHER].tolist()):
        yield from ((part, True) for part in torch.split(tile, PATCH))
    if not many.all():
        yield from ((part, False) for part in torch.split(pairs[~many], PATCH))


def _patch(f: Tensor, g: Tensor, lattice: Lattice) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Peak [n], faces [n, 2 D], reach [n] and sums [n, 4^D] of tiles, from f and g at their points, [G, n] each."""
    size = f + g.abs().log1p()
    peak = size.amax(0)
    grid = size.view(*[lattice.side] * lattice.D, -1)
    faces = [grid.select(axis, end).reshape(-1, len(peak)).amax(0) for axis in range(lattice.D) for end in (0, -1)]
    terms = (f - peak.clamp(min=-1e300)).exp() * g
    every_fourth = terms.view(*[lattice.side // 4, 4] * lattice.D, -1).sum(tuple(range(0, 2 * lattice.D, 2)))
    return peak, torch.stack(faces, -1), _reach(grid).flatten(0, -2).amax(0), every_fourth.flatten(0, -2).mT


def _reach(size: Tensor) -> Tensor:
    """What a function on a grid [side, ..., n] may rise to within a step of each point, going by its slopes.

    For a function that is concave along each axis, however far from its top: a bound, and not only a guess.
    """
    reach = size
    for axis in range(size.dim() - 1):
        slope = size.diff(dim=axis).abs().nan_to_num(nan=0.0, posinf=0.0).movedim(axis, -1)
        reach = reach + torch.maximum(pad(slope, (0, 1)), pad(slope, (1, 0))).movedim(-1, axis)
    return reach
