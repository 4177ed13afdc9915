"""k-hat, held to arviz-stats and to weights whose tail index is known."""

import math

import numpy as np
import pytest
import torch
from arviz_stats.base import array_stats
from torch import Tensor

from elbo_cli.bounds.pareto import khat, tail_size, threshold


def khat_of(log_w: Tensor) -> Tensor:
    """Of all the log-weights [K, N]."""
    K = len(log_w)
    return khat(log_w.topk(min(K, tail_size(K) + 1), dim=0).values, K)


WEIGHTS = {
    "pareto 0.2": lambda noise, shape: 0.2 * noise.exponential(size=shape),
    "pareto 0.7": lambda noise, shape: 0.7 * noise.exponential(size=shape),
    "pareto 1.5": lambda noise, shape: 1.5 * noise.exponential(size=shape),
    "log-normal 0.1": lambda noise, shape: 0.1 * noise.normal(size=shape),
    "log-normal 5": lambda noise, shape: 5 * noise.normal(size=shape) - 90,
    "log-normal 30": lambda noise, shape: 30 * noise.normal(size=shape) + 900,
    "exponential": lambda noise, shape: np.log(noise.exponential(size=shape)),
    "uniform": lambda noise, shape: np.log(noise.uniform(size=shape)),
    "bounded": lambda noise, shape: np.log(noise.beta(2, 2, size=shape)),
    "ties": lambda noise, shape: np.round(noise.normal(size=shape), 2),
}


@pytest.mark.parametrize("name", WEIGHTS)
@pytest.mark.parametrize("K", [25, 100, 225, 400, 1024, 4096])  # where its tail, rounded down, is ours, rounded up
def test_khat_is_that_of_arviz(name: str, K: int) -> None:
    log_w = WEIGHTS[name](np.random.default_rng(K), (K, 4))
    expected = [float(array_stats.psislw(-log_w[:, n])[1]) for n in range(4)]  # psislw takes minus log w
    np.testing.assert_allclose(khat_of(torch.from_numpy(log_w)), expected, rtol=0, atol=1e-6)
    wrong_tail = [float(array_stats.psislw(log_w[:, n])[1]) for n in range(4)]
    assert np.abs(np.subtract(wrong_tail, expected)).max() > 0.01


@pytest.mark.parametrize("variance", [0.8, 0.5, 0.3])
def test_khat_is_near_the_tail_index(variance: float) -> None:
    """Target N(0, 1), q = N(0, s^2): log w = z^2 (1 / s^2 - 1) / 2 + ..., and P(w > t) falls as t^(-1 / (1 - s^2))."""
    z = torch.randn(5000, 200, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * math.sqrt(variance)
    log_w = z.square() * (1 / variance - 1) / 2
    assert khat_of(log_w).mean() == pytest.approx(1 - variance, abs=0.1)
    assert khat_of(-log_w).max() < 0.1  # the other tail is bounded


def test_khat_grows_with_the_tail_and_not_with_the_scale() -> None:
    e = torch.from_numpy(np.random.default_rng(0).exponential(size=(1000, 50)))
    light, heavy = khat_of(0.2 * e), khat_of(0.9 * e)
    assert (heavy > light).all()
    torch.testing.assert_close(khat_of(0.2 * e - 1234.5), light, rtol=0, atol=1e-9)


def test_the_order_of_the_weights_does_not_matter() -> None:
    top = torch.from_numpy(np.random.default_rng(0).normal(size=(tail_size(400) + 1, 3)))
    assert torch.equal(khat(top, 400), khat(top.flip(0), 400))


def test_constant_weights_are_reliable_and_so_is_a_float32_networks_noise_on_them() -> None:
    assert (khat_of(torch.full((400, 3), -91.4)) == 0).all()
    noise = torch.randn(400, 3, generator=torch.Generator().manual_seed(0)) * 2e-5
    assert (khat_of((-91.4 + noise).float()) == 0).all()  # with ties at the cutoff


def test_a_tail_that_no_pareto_fits_is_an_alarm() -> None:
    mostly_zero = torch.full((400, 1), -torch.inf)
    mostly_zero[:7] = torch.arange(7.0).unsqueeze(1)
    assert khat_of(mostly_zero).item() == math.inf
    assert khat_of(torch.full((400, 1), -torch.inf)).item() == math.inf
    assert khat_of(torch.linspace(-1e6, 0, 400).unsqueeze(1)).item() == math.inf  # all but the last are 0 beside it


@pytest.mark.parametrize("K", [1, 2, 10, 20])
def test_too_few_weights_show_nothing(K: int) -> None:
    assert (khat_of(torch.zeros(K, 2)) == torch.inf).all()
    assert khat_of(torch.randn(21, 2, generator=torch.Generator().manual_seed(0))).isfinite().all()


def test_the_tail_and_the_threshold_are_those_of_the_paper() -> None:
    assert [tail_size(K) for K in (25, 26, 100, 225, 1000, 5000, 10_000)] == [5, 6, 20, 45, 95, 213, 300]
    assert threshold(100) == pytest.approx(0.5)
    assert threshold(1000) == pytest.approx(2 / 3)
    assert threshold(10_000) == 0.7
    assert threshold(10) == 0.0
    assert threshold(1) == -math.inf


def test_a_tail_of_the_wrong_length_is_refused() -> None:
    with pytest.raises(AssertionError, match="takes the 61 largest, not 60"):
        khat(torch.zeros(60, 1), 400)
