import math

import pytest
import torch
from torch import Tensor

from elbo_cli.data.binarize import BINARIZE, fixed, row_noise
from tests.statistics import outside, within


def rows(*numbers: int) -> Tensor:
    return torch.tensor(numbers, dtype=torch.long)


@pytest.mark.parametrize("width", [1, 3, 8, 9, 784])
def test_the_noise_of_a_row_does_not_depend_on_the_rows_beside_it(width: int) -> None:
    whole = row_noise(7, torch.arange(40), width)
    assert whole.shape == (40, width)
    mixed = rows(39, 0, 7, 7, 8, 9, 3)
    torch.testing.assert_close(row_noise(7, mixed, width), whole[mixed], rtol=0, atol=0)
    for n in (0, 13, 39):
        torch.testing.assert_close(row_noise(7, rows(n), width), whole[n : n + 1], rtol=0, atol=0)


def test_the_noise_is_the_same_for_ever() -> None:
    # literals: Philox's raw words are promised never to change, and a fixed binarisation in a paper rests on them
    u = row_noise(7, rows(0, 1), 2)
    assert (u * 2**24).long().tolist() == LITERALS


LITERALS = [[2746875, 14630964], [8310504, 1389869]]


def test_rows_and_keys_do_not_share_noise() -> None:
    u = row_noise(7, torch.arange(1000), 8)
    assert len(u.flatten().unique()) > 7990  # 24 bits: a few coincide by chance
    assert not torch.isin(row_noise(8, torch.arange(1000), 8), u).float().mean() > 0.01


def test_no_rows_need_no_noise() -> None:
    assert row_noise(7, rows(), 5).shape == (0, 5)
    assert fixed(torch.empty(0, 5), 7, rows()).shape == (0, 5)


def test_the_noise_is_uniform() -> None:
    u = row_noise(7, torch.arange(200_000), 3)
    assert u.min() >= 0
    assert u.max() < 1
    within(u.double(), 0.5, resolve=0.003)
    within(u.double().square(), 1 / 3, resolve=0.003)
    within((u[:, 0] * u[:, 1]).double(), 1 / 4, resolve=0.003)


@pytest.mark.parametrize("how", ["fixed", "dynamic"])
def test_binarised_data_have_the_mean_of_x(how: str) -> None:
    torch.manual_seed(0)
    p = torch.tensor([0.0, 1 / 255, 0.25, 0.5, 254 / 255, 1.0])
    x = BINARIZE[how](p.repeat(200_000, 1), 7, torch.arange(200_000))
    assert set(x.unique().tolist()) == {0.0, 1.0}
    assert (x[:, 0] == 0).all()
    assert (x[:, -1] == 1).all()
    within(x[:, 1:-1].double(), p[1:-1].double(), resolve=0.01)
    outside(x[:, 1:-1].double(), 1 - p[1:-1].double())  # the inequality the wrong way round


def test_the_variance_is_bernoullis_too() -> None:
    x = fixed(torch.full((100_000, 2), 0.3), 7, torch.arange(100_000)).double()
    assert math.isclose(x.var().item(), 0.21, abs_tol=0.002)
    within((x[:, 0] - 0.3) * (x[:, 1] - 0.3), 0.0, resolve=0.003)  # values of a datum are independent


def test_threshold_is_strict_at_a_half() -> None:
    x = torch.tensor([[0.0, 0.5, 0.50001, 1.0]])
    assert BINARIZE["threshold"](x, 0, rows(0)).tolist() == [[0.0, 0.0, 1.0, 1.0]]
    assert BINARIZE["none"](x, 0, rows(0)) is x
