"""Means over data and their two standard errors."""

import math

import pytest
import torch

from elbo_cli.bounds.average import average
from tests.statistics import within


def test_the_two_standard_errors_are_their_definitions() -> None:
    found = average(torch.tensor([1.0, 2.0, 6.0]), torch.tensor([0.3, 0.0, 0.4]))
    assert found.mean == pytest.approx(3.0)
    assert found.se_data == pytest.approx(math.sqrt(7.0 / 3))  # variance (4 + 1 + 9) / 2 = 7
    assert found.se_mc == pytest.approx(0.5 / 3)


def test_one_datum_says_nothing_of_others() -> None:
    found = average(torch.tensor([1.0]), 0.2)
    assert math.isnan(found.se_data)
    assert found.se_mc == pytest.approx(0.2)


def test_se_mc_is_the_spread_over_draws_with_the_data_held() -> None:
    noise = torch.Generator().manual_seed(0)
    data, se = torch.linspace(-9, 9, 20), torch.linspace(0.1, 2.0, 20)
    runs = [average(data + se * torch.randn(20, generator=noise), se) for _ in range(2000)]
    spread = torch.tensor([run.mean for run in runs])
    within(spread.square() - runs[0].se_mc ** 2, 0.0, resolve=0.2 * runs[0].se_mc ** 2)
