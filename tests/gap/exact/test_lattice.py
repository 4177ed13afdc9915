"""Tiles share no point and leave none out, at every depth."""

import pytest
import torch
from torch import Tensor

from elbo_cli.gap.exact.lattice import Lattice, keys
from tests.oracles.comparison import close


def flat(points: Tensor) -> Tensor:
    """The points of all tiles in order, [G M, D]."""
    rows = points.flatten(0, 1)
    return rows[keys((rows * 1024).long()).argsort()]


def test_a_tile_has_its_points_a_step_apart() -> None:
    lattice = Lattice(2, side=4, step=0.5)
    points = lattice.points(torch.tensor([[7, 0, -1]]), 1)[:, 0]
    assert points.shape == (lattice.volume, 2)
    close(points[0], [0.0, -1.0])
    close(points[1], [0.0, -0.75])  # the last axis is the fastest
    close(points[-1], [0.75, -0.25])


@pytest.mark.parametrize("D", [1, 2])
def test_tiles_that_cover_a_box_hold_every_point_of_it_once(D: int) -> None:
    lattice = Lattice(D, side=4, step=0.25)
    pairs = lattice.covering(torch.full((1, D), -1.6), torch.full((1, D), 0.3))
    axis = torch.arange(-2.0, 1.0, 0.25, dtype=torch.float64)  # tiles are one wide
    close(flat(lattice.points(pairs, 0)), torch.cartesian_prod(*[axis] * D).view(-1, D))


def test_every_datum_has_a_box_of_its_own() -> None:
    lattice = Lattice(2, side=4, step=0.25)
    low = torch.tensor([[-0.5, 3.0], [9.2, -7.0]])
    pairs = lattice.covering(low, low + torch.tensor([[0.2, 0.4], [1.5, 0.4]]))
    for n in (0, 1):
        tiles = pairs[pairs[:, 0] == n, 1:]
        assert (tiles.amin(0) <= low[n]).all()
        assert (tiles.amax(0) + 1 >= low[n] + 0.4).all()
    assert len(pairs) == 2 * 2


@pytest.mark.parametrize("D", [1, 2])
def test_the_children_of_a_tile_hold_what_it_holds_and_the_points_between(D: int) -> None:
    lattice = Lattice(D, side=4, step=0.25)
    pairs = torch.tensor([[3, -2, 5][: D + 1], [3, -1, 5][: D + 1]])
    children = lattice.children(pairs)
    assert len(children) == lattice.corners * 2
    assert (children[:, 0] == 3).all()
    close(flat(lattice.points(children, 1))[:1], flat(lattice.points(pairs, 0))[:1])
    assert len(torch.unique(flat(lattice.points(children, 1)), dim=0)) == 2 * 2**D * 4**D
    coarse, fine = flat(lattice.points(pairs, 0)).tolist(), flat(lattice.points(children, 1)).tolist()
    assert [point for point in coarse if point not in fine] == []


def test_across_an_open_face_lies_one_new_tile() -> None:
    lattice = Lattice(2, side=4, step=0.25)
    pairs = torch.tensor([[0, 0, 0], [0, 1, 0], [4, 0, 0]])
    shut = torch.zeros(3, 4, dtype=torch.bool)
    assert len(lattice.across(pairs, shut)) == 0
    shut[0] = torch.tensor([True, True, False, True])  # left, right (known already), upper
    assert lattice.across(pairs, shut).tolist() == [[0, -1, 0], [0, 0, 1]]
    shut[:2, 3] = True
    assert lattice.across(pairs, shut).tolist() == [[0, -1, 0], [0, 0, 1], [0, 1, 1]]


@pytest.mark.parametrize("far", [10, 2**40])
def test_keys_tell_rows_apart_and_keep_their_order(far: int) -> None:
    rows = torch.tensor([[0, -3, 5], [0, -3, 6], [0, far, -far], [1, -far, 0], [0, -3, 5]])
    key = keys(rows).tolist()
    assert key[0] == key[4]
    assert sorted(set(key)) == key[:4]


def test_rows_too_wide_for_a_key_of_63_bits_are_told_apart_all_the_same() -> None:
    wide = 2**32 - 1
    assert keys(torch.tensor([[0, 0, 0], [1, 0, 0], [0, wide, wide]])).tolist() == [0, 2, 1]
