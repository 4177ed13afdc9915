"""The K-curve's sizes and its trend."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from elbo_cli.bounds.curve import curve_sizes, trend
from elbo_cli.bounds.weights import WeightStream
from tests.statistics import within


@pytest.mark.parametrize(
    ("K", "ks"), [(1, (1,)), (3, (1, 3)), (4, (1, 4)), (5, (1, 4, 5)), (64, (1, 4, 16, 64)), (65, (1, 4, 16, 64, 65))]
)
def test_the_sizes_are_the_powers_of_four_and_the_last(K: int, ks: tuple[int, ...]) -> None:
    assert curve_sizes(K) == ks


def curve_of(ks: tuple[int, ...], limit: float, slope: float, power: float = 1.0, N: int = 5) -> Tensor:
    return torch.stack([limit - slope * torch.ones(N, dtype=torch.float64) / k**power for k in ks])


@pytest.mark.parametrize("K", [16, 64, 100, 5000])
def test_in_the_one_over_k_regime_rho_is_a_quarter_and_the_remainder_is_what_remains(K: int) -> None:
    ks = curve_sizes(K)
    power = max(k for k in ks if math.log(k, 4) == round(math.log(k, 4)))
    found = trend(ks, curve_of(ks, -90.0, 3.0))
    assert found.rho == pytest.approx(0.25, abs=1e-9)
    assert found.remainder == pytest.approx(3.0 / power, rel=1e-6)
    assert found.increment == pytest.approx(3.0 * 3 / power, rel=1e-6)
    assert found.increment_se == pytest.approx(0.0, abs=1e-9)


def test_a_slower_regime_shows() -> None:
    ks = curve_sizes(4096)
    found = trend(ks, curve_of(ks, 0.0, 5.0, power=0.2))
    assert found.rho == pytest.approx(4**-0.2)
    assert found.remainder == pytest.approx(5.0 / 4096**0.2)


def test_a_curve_that_rises_ever_faster_has_no_remainder_to_speak_of() -> None:
    assert trend((1, 4, 16), torch.tensor([[0.0, 0.0], [1.0, 1.0], [3.0, 3.0]])).remainder == math.inf
    assert trend((1, 4, 16), torch.tensor([[0.0, 0.0], [0.0, 0.0], [3.0, 3.0]])).rho == math.inf
    assert trend((1, 4, 16), torch.tensor([[-math.inf, 0.0], [0.0, 0.0], [3.0, 3.0]])).rho == math.inf


def test_a_flat_curve_is_done() -> None:
    for curve in (torch.zeros(3, 4), torch.tensor([[0.0, 0.0], [1.0, 1.0], [1.0, 0.9]])):
        found = trend((1, 4, 16), curve)
        assert (found.rho, found.remainder) == (0.0, 0.0)


def test_below_sixteen_draws_there_is_no_rho() -> None:
    ks = curve_sizes(15)
    found = trend(ks, curve_of(ks, 0.0, 1.0))
    assert math.isnan(found.rho)
    assert math.isnan(found.remainder)
    padded = torch.cat([torch.full((1, 5), math.nan).double(), curve_of((1, 4), 0.0, 1.0)])
    found = trend((1, 4, 16), padded)  # as findings read it off: its last three points, of which there are two
    assert math.isnan(found.rho)
    assert math.isnan(found.remainder)


def test_the_standard_error_of_rho_is_its_spread_over_repetitions() -> None:
    noise = np.random.default_rng(0)
    steps = np.array([0.0, 1.0, 0.4])[:, None] + noise.normal(size=(600, 3, 80)) * np.array([0.0, 0.5, 0.3])[:, None]
    found = [trend((1, 4, 16), torch.from_numpy(s.cumsum(0))) for s in steps]
    rho = torch.tensor([f.rho for f in found])
    se = torch.tensor([f.rho_se for f in found])
    within((rho - rho.mean()).square() - se.square(), 0.0, resolve=0.3 * rho.var().item())


def rho_of(d: int, lam: float, K: int, N: int) -> float:
    """Posterior N(0, I) in d dimensions, q = N(0, lam I)."""
    square = torch.from_numpy(lam * np.random.default_rng(7).chisquare(d, size=(K, N)))
    stream = WeightStream(K, N)
    stream.add(-square / 2 + square / (2 * lam) + d / 2 * math.log(lam))
    summary = stream.summary()
    return trend(summary.ks, summary.curve).rho


def test_rho_tells_the_good_proposal_from_the_hopeless() -> None:
    assert rho_of(5, 0.8, 256, 4000) == pytest.approx(0.25, abs=0.05)
    assert 0.7 < rho_of(100, 0.4, 4096, 200) < 1
