"""The summary of a block's log-weights, held to brute force, to closed forms and to its own standard errors."""

import math
import pickle
from dataclasses import fields

import numpy as np
import pytest
import torch
from scipy.special import logsumexp
from torch import Tensor

from elbo_cli.bounds.pareto import threshold
from elbo_cli.bounds.weights import WeightStream, WeightSummary
from tests.statistics import outside, within


def summarise(log_w: Tensor, cut: int = 64) -> WeightSummary:
    stream = WeightStream(*log_w.shape)
    for tile in log_w.split(cut):
        stream.add(tile)
    return stream.summary()


def normal_log_weights(K: int, N: int, sd: float, seed: int = 0) -> Tensor:
    """log w ~ N(-sd^2 / 2, sd^2): E[w] = 1, so log p(x) = 0; CV^2 = exp(sd^2) - 1; the ELBO is -sd^2 / 2."""
    noise = torch.Generator().manual_seed(seed)
    return torch.randn(K, N, dtype=torch.float64, generator=noise) * sd - sd**2 / 2


def by_hand(log_w: np.ndarray) -> dict[str, float]:
    """Each quantity of one datum's log-weights [K] from its definition."""
    K, L = len(log_w), logsumexp(log_w) - math.log(len(log_w))
    share = np.exp(log_w - logsumexp(log_w))
    without = logsumexp(np.where(np.eye(K, dtype=bool), -np.inf, log_w), 1) - math.log(K - 1)
    influence = K * share - 1 - (log_w - log_w.mean())
    return {
        "log_px": L,
        "elbo": log_w.mean(),
        "gap": L - log_w.mean(),
        "var_log_w": log_w.var(ddof=1),
        "se_elbo": log_w.std(ddof=1) / math.sqrt(K),
        "se_log_px": math.sqrt((K * share).var() / K),
        "se_gap": math.sqrt(influence.var() / K),
        "ess": 1 / (share**2).sum(),
        "max_weight": share.max(),
        "jackknife": K * L - (K - 1) * np.mean(without),
    }


@pytest.mark.parametrize("K", [2, 3, 128, 129, 1000])
@pytest.mark.parametrize("sd", [0.01, 1.0, 6.0, 40.0])
@pytest.mark.parametrize("shift", [0.0, -90.0, 7e3])
def test_every_quantity_is_its_definition(K: int, sd: float, shift: float) -> None:
    log_w = normal_log_weights(K, 3, sd) + shift
    summary = summarise(log_w)
    for n in range(3):
        for name, value in by_hand(log_w[:, n].numpy()).items():
            dust = 2e-6 if name == "se_gap" else 1e-8  # a difference of terms far larger than it
            assert getattr(summary, name)[n].item() == pytest.approx(value, rel=1e-6, abs=dust), name


@pytest.mark.parametrize("equal", [76, 160])
def test_the_jackknife_of_weights_too_many_to_leave_out_one_by_one_is_off_by_less_than_it_says(equal: int) -> None:
    log_w = torch.full((400, 1), -60.0, dtype=torch.float64)
    log_w[:equal] = 0.0  # of 160, 128 are left out exactly and 32 as large as can be are in the series: about its worst
    error = summarise(log_w).jackknife.item() - by_hand(log_w[:, 0].numpy())["jackknife"]
    assert abs(error) < 1e-10


@pytest.mark.parametrize("K", [1, 3, 4, 63, 64, 100, 1024, 5000])
def test_the_curve_is_the_mean_over_disjoint_blocks(K: int) -> None:
    log_w = normal_log_weights(K, 2, 2.0) - 90
    summary = summarise(log_w, cut=37)
    powers = [4**j for j in range(10) if 4**j <= K]
    assert summary.ks == tuple(powers if powers[-1] == K else [*powers, K])
    for k, row, var in zip(summary.ks, summary.curve, summary.curve_var, strict=True):
        blocks = log_w[: K // k * k].reshape(-1, k, 2).logsumexp(1) - math.log(k)
        torch.testing.assert_close(row, blocks.mean(0), rtol=0, atol=1e-10)
        if len(blocks) > 1:
            torch.testing.assert_close(var, blocks.var(0) / len(blocks), rtol=1e-9, atol=0)
        elif K > 1:
            w = log_w.softmax(0) * K
            torch.testing.assert_close(var, w.var(0, correction=0) / k, rtol=1e-9, atol=0)
    assert torch.equal(summary.curve[-1], summary.log_px)


@pytest.mark.parametrize("K", [1, 5, 256, 777, 1024, 5000])
@pytest.mark.parametrize("cut", [7, 64, 255, 257, 2000, 2048])
def test_the_summary_is_the_same_to_the_last_bit_however_the_tiles_are_cut(K: int, cut: int) -> None:
    log_w = (normal_log_weights(K, 4, 3.0) - 90).float()  # as a network gives them
    log_w[K // 2, 0] = -torch.inf
    whole, parts = summarise(log_w, K), summarise(log_w, cut)
    for field in fields(WeightSummary):
        one, other = getattr(whole, field.name), getattr(parts, field.name)
        if isinstance(one, Tensor):
            assert torch.equal(one.nan_to_num(9.0), other.nan_to_num(9.0)), field.name
        else:
            assert one == other


def test_constant_weights_are_exact_and_without_error() -> None:
    summary = summarise(torch.full((700, 2), -91.4))
    expected = torch.full((2,), -91.4).double()
    for name in ("log_px", "elbo", "jackknife"):
        torch.testing.assert_close(getattr(summary, name), expected, rtol=0, atol=1e-12)
    for name in ("gap", "se_log_px", "se_elbo", "se_gap", "var_log_w", "khat"):
        assert (getattr(summary, name) == 0).all(), name
    assert (summary.ess == 700).all()
    torch.testing.assert_close(summary.curve, expected.expand_as(summary.curve), rtol=0, atol=1e-12)


def test_the_gap_is_never_below_zero() -> None:
    for sd in (0.0, 1e-9, 1e-6, 1e-3, 1.0, 100.0):
        assert (summarise(normal_log_weights(333, 50, sd) - 1e5).gap >= 0).all()


def test_more_data_are_more_columns() -> None:
    log_w = normal_log_weights(300, 6, 1.5)
    whole, parts = summarise(log_w), [summarise(log_w[:, :4]), summarise(log_w[:, 4:])]
    assert all((part.K, part.ks) == (whole.K, whole.ks) for part in parts)
    for name in ("log_px", "jackknife", "khat", "curve", "curve_var"):
        joined = torch.cat([getattr(part, name) for part in parts], -1)
        torch.testing.assert_close(joined, getattr(whole, name), rtol=0, atol=1e-12)


def test_one_draw_says_nothing_of_its_own_spread() -> None:
    summary = summarise(torch.tensor([[-3.0, -4.0]]))
    assert summary.log_px.tolist() == summary.elbo.tolist() == summary.jackknife.tolist() == [-3.0, -4.0]
    assert summary.gap.tolist() == [0.0, 0.0]
    assert summary.khat.isinf().all()
    for name in ("se_log_px", "se_elbo", "se_gap", "var_log_w"):
        assert getattr(summary, name).isnan().all(), name
    assert summary.curve_var.isnan().all()


@pytest.mark.parametrize("K", [40, 400])
def test_weights_of_zero_are_counted(K: int) -> None:
    log_w = normal_log_weights(K, 2, 1.0)
    log_w[::3, 0] = -torch.inf
    log_w[:, 1] = -torch.inf
    log_w[5, 1] = -7.0  # all but one of datum 1's draws are outside the support
    summary = summarise(log_w)
    alive = log_w[:, 0][log_w[:, 0] > -torch.inf].numpy()
    torch.testing.assert_close(summary.log_px[0].item(), logsumexp(alive) - math.log(K))
    torch.testing.assert_close(summary.log_px[1].item(), -7.0 - math.log(K))
    share = np.exp(alive - logsumexp(alive))
    torch.testing.assert_close(summary.ess[0].item(), 1 / (share**2).sum())
    others = [logsumexp(np.delete(alive, k)) for k in range(len(alive))] + [logsumexp(alive)] * (K - len(alive))
    brute = K * summary.log_px[0].item() - (K - 1) * (np.mean(others) - math.log(K - 1))
    torch.testing.assert_close(summary.jackknife[0].item(), brute, rtol=0, atol=1e-8)
    assert (summary.elbo == -torch.inf).all()
    for name in ("gap", "var_log_w", "se_elbo", "se_gap"):
        assert (getattr(summary, name) == torch.inf).all(), name
    assert summary.khat[1] == torch.inf
    assert summary.ess[1] == 1
    assert summary.max_weight[1] == 1
    for field in fields(WeightSummary):
        value = getattr(summary, field.name)
        assert not isinstance(value, Tensor) or not value.isnan().any(), field.name


def test_when_all_weights_are_zero_nothing_is_nan() -> None:
    summary = summarise(torch.full((400, 1), -torch.inf))
    assert (summary.log_px == -torch.inf).all()
    assert (summary.gap == torch.inf).all()
    assert (summary.khat == torch.inf).all()
    for field in fields(WeightSummary):
        value = getattr(summary, field.name)
        assert not isinstance(value, Tensor) or not value.isnan().any(), field.name


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_weight_that_is_no_number_is_named(bad: float) -> None:
    stream = WeightStream(10, 3)
    stream.add(torch.zeros(4, 3))
    tile = torch.zeros(6, 3)
    tile[2, 1] = bad
    with pytest.raises(ArithmeticError, match=f"draw 6 of datum 1 of its block is {bad}"):
        stream.add(tile)


def test_the_bound_is_over_the_draws_that_came_or_there_is_none() -> None:
    stream = WeightStream(10, 2)
    stream.add(torch.zeros(9, 2))
    with pytest.raises(AssertionError, match="9 of K = 10"):
        stream.summary()
    with pytest.raises(AssertionError, match="more than K = 10"):
        stream.add(torch.zeros(2, 2))
    with pytest.raises(AssertionError, match="not \\[k, 2\\]"):
        stream.add(torch.zeros(1, 3))


def test_memory_does_not_grow_with_the_draws() -> None:
    K, N = 2**17, 4
    stream = WeightStream(K, N)
    for seed in range(4):
        stream.add(normal_log_weights(K // 4 - 1, N, 1.0, seed))
    held = len(pickle.dumps(stream))  # a view pickles all that it keeps alive
    assert held < K * N * 8 / 20, f"{held} bytes"


def test_exp_log_px_is_unbiased_and_log_px_is_biased_down_as_the_variance_says() -> None:
    K, sd = 16, 0.5
    summary = summarise(normal_log_weights(K, 60_000, sd))
    within(summary.log_px.exp(), 1.0, resolve=0.01)
    within(summary.elbo, -(sd**2) / 2, resolve=0.01)
    outside(summary.log_px, 0.0)
    within(summary.log_px, -math.expm1(sd**2) / (2 * K), resolve=0.003)  # -CV^2 / 2K


def test_the_jackknife_removes_the_first_order_of_the_bias() -> None:
    summary = summarise(normal_log_weights(16, 60_000, 0.5))
    within(summary.jackknife, 0.0, resolve=0.003)  # the bias that is removed is 0.0089
    wrong_sign = 2 * summary.log_px - summary.jackknife
    outside(wrong_sign, 0.0)


@pytest.mark.parametrize(("estimate", "error"), [("log_px", "se_log_px"), ("elbo", "se_elbo"), ("gap", "se_gap")])
def test_standard_errors_are_the_spread_over_repetitions(estimate: str, error: str) -> None:
    summary = summarise(normal_log_weights(400, 8000, 0.8))
    values, se = getattr(summary, estimate), getattr(summary, error)
    scatter = values.var().item()
    within((values - values.mean()).square() - se.square(), 0.0, resolve=0.2 * scatter)


def test_the_gap_has_less_error_than_independent_draws_would_leave_it() -> None:
    summary = summarise(normal_log_weights(400, 8000, 0.8))
    apart = summary.se_log_px.square() + summary.se_elbo.square()
    outside((summary.gap - summary.gap.mean()).square() - apart, 0.0)


def test_the_variance_of_the_curve_is_its_spread_over_repetitions() -> None:
    summary = summarise(normal_log_weights(300, 8000, 0.8))
    spread = summary.curve.var(1, keepdim=True)
    within(((summary.curve - summary.curve.mean(1, keepdim=True)).square() / spread - summary.curve_var / spread).T,
           0.0, resolve=0.25)  # fmt: skip


def test_a_hopeless_proposal_looks_hopeless() -> None:
    """Posterior N(0, I) in 100 dimensions, q = N(0, 0.4 I), log p(x) = 0: |z|^2 = 0.4 chi^2_100 is all that matters."""
    d, lam, K, N = 100, 0.4, 4096, 100
    square = lam * np.random.default_rng(3).chisquare(d, size=(K, N))
    log_w = torch.from_numpy(-square / 2 + square / (2 * lam) + d / 2 * math.log(lam))
    summary = summarise(log_w)
    within(summary.elbo, d / 2 * (1 + math.log(lam) - lam), resolve=0.5)  # -KL(q || p)
    assert summary.log_px.mean() < -4
    assert summary.se_log_px.mean() < 1  # what the delta method makes of it
    assert summary.jackknife.mean() < -3
    assert summary.khat.median() > 1.2 > threshold(K)
    assert summary.ess.median() < 30
