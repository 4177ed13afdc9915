"""Upper bounds and certificates, where log p(x) = 0: p(z | x) = N(0, I) and q = N(0, lam I) in d dimensions."""

import math

import pytest
import torch
from torch import Tensor

from elbo_cli.bounds.upper import certified_lower, certified_upper, upper, with_exact
from tests.statistics import outside, within


def log_w_at(z: Tensor, lam: float) -> Tensor:
    """log N(z; 0, I) - log N(z; 0, lam I), [K, N]."""
    return z.square().sum(-1) * (1 / lam - 1) / 2 + z.shape[-1] / 2 * math.log(lam)


def draws(K: int, N: int, lam: float, d: int = 1, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Log-weights of one exact draw [N] and of K - 1 of q [K - 1, N]."""
    noise = torch.Generator().manual_seed(seed)
    exact = torch.randn(1, N, d, dtype=torch.float64, generator=noise)
    others = torch.randn(K - 1, N, d, dtype=torch.float64, generator=noise) * math.sqrt(lam)
    return log_w_at(exact, lam)[0], log_w_at(others, lam)


@pytest.mark.parametrize("K", [1, 2, 4, 16])
def test_exp_minus_u_is_unbiased_for_one_over_p(K: int) -> None:
    exact, others = draws(K, 100_000, 0.6)
    within(torch.exp(-upper(exact, others)), 1.0, resolve=0.01)


@pytest.mark.parametrize("K", [2, 4, 16])
def test_without_its_exact_draw_it_is_no_such_thing(K: int) -> None:
    _, others = draws(K + 1, 100_000, 0.6)
    outside(torch.exp(-upper(others[0], others[1:])), 1.0)


def test_u_is_above_the_truth_and_comes_down_with_k() -> None:
    means = [upper(*draws(K, 10_000, 0.4, d=8)).mean().item() for K in (1, 4, 16, 64)]
    assert means == sorted(means, reverse=True)
    assert means[-1] > 0
    outside(upper(*draws(64, 10_000, 0.4, d=8)), 0.0)


def test_where_q_only_bounds_fall_below_the_truth_u_does_not() -> None:
    """d = 50, q = N(0, I / 4): CUBO_2 = 1/2 log mean w^2, an upper bound at its exact expectation, from 500 draws."""
    exact, others = draws(500, 400, 0.25, d=50)
    cubo = (torch.logsumexp(2 * others, 0) - math.log(499)) / 2
    assert cubo.mean() < -1
    assert upper(exact, others).mean() > 1


def test_at_the_posterior_u_is_exact() -> None:
    log_px = torch.tensor([-91.0, -3.5], dtype=torch.float64)
    torch.testing.assert_close(upper(log_px, log_px.expand(7, 2)), log_px, rtol=0, atol=1e-12)


def test_u_from_a_stream_is_the_same() -> None:
    exact, others = draws(9, 50, 0.5)
    lower = others.logsumexp(0) - math.log(8)
    torch.testing.assert_close(with_exact(lower, exact, 9), upper(exact, others), rtol=0, atol=1e-12)


@pytest.mark.parametrize("N", [1, 3])
@pytest.mark.parametrize("delta", [0.01, 0.1])
def test_the_certificate_holds_and_is_no_wider_than_it_must_be(N: int, delta: float) -> None:
    """Worst weights: w = c with probability 1 / c, else 0, so that E[w] = 1 and log p = 0; all N must hit."""
    broken = []
    for c in torch.linspace(1.001, 300, 20_000, dtype=torch.float64).tolist():
        chance = c**-N
        broken.append(chance if certified_lower(math.log(c), N, delta) > 0 else 0.0)
        assert (certified_upper(-math.log(c), N, delta) < 0) == (broken[-1] > 0)  # 1 / w = c likewise
    assert max(broken) <= delta
    assert max(broken) > 0.8 * delta


def test_certified_bounds_cover_the_truth() -> None:
    """50 data, K = 16, 400 repetitions, on the N axis."""
    R, N, delta = 400, 50, 0.05
    exact, others = draws(16, R * N, 0.4, d=8)
    lower = (torch.logsumexp(others, 0) - math.log(15)).view(R, N).mean(1)
    above = upper(exact, others).view(R, N).mean(1)
    low = torch.tensor([certified_lower(mean, N, delta) for mean in lower.tolist()])
    high = torch.tensor([certified_upper(mean, N, delta) for mean in above.tolist()])
    assert (low > 0).double().mean() <= delta
    assert (high < 0).double().mean() <= delta
    without_exact = (torch.logsumexp(others, 0) - math.log(15)).view(R, N).mean(1) + math.log(1 / delta) / N
    assert (without_exact < 0).double().mean() > 0.9


@pytest.mark.parametrize(("N", "delta"), [(0, 0.1), (10, 0.0), (10, 1.0)])
def test_a_certificate_of_nothing_is_refused(N: int, delta: float) -> None:
    with pytest.raises(AssertionError):
        certified_lower(0.0, N, delta)
