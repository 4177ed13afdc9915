"""Pareto k-hat: the shape of the tail of each datum's weights, and from which value it is an alarm."""

import math

import torch
from torch import Tensor

FEWEST = 5  # tail weights for which a fit is tried
FLAT = 1e-3  # nats


def tail_size(K: int) -> int:
    """How many of the largest of K weights make the tail: ceil(min(K / 5, 3 sqrt K)). Vehtari et al. (2024)."""
    return math.ceil(min(K / 5, 3 * math.sqrt(K)))


def threshold(K: int) -> float:
    """The k-hat above which K draws are not shown to be enough: min(1 - 1 / log10 K, 0.7). Vehtari et al. (2024)."""
    return min(1 - 1 / math.log10(K), 0.7) if K > 1 else -math.inf


def khat(log_w: Tensor, K: int) -> Tensor:
    r"""Shape k of the generalised Pareto distribution fitted to the largest of K weights.

    The weights have 1/k finite moments: above 1/2 their variance is infinite, above 1 their mean. Before the draws are
    enough to see the true tail it works as an alarm: a large value says "not shown to be reliable", not "wrong".

    Three cases need no fit. Fewer than 5 tail weights: inf, because nothing is shown. A tail whose weights agree to a
    thousandth: 0, because none of them can matter (constant weights, or a float32 network's noise on constant
    weights). A tail a quarter of which is equal to the cutoff, or lies beyond the range of float64 below the largest:
    inf, because no Pareto tail looks so.

    Args:
        log_w: the M + 1 largest log-weights, M = `tail_size(K)`, in any order, [M + 1, N]; the least is the cutoff.
        K: how many weights they are the largest of.

    Returns:
        k-hat, [N].

    Reference: Zhang and Stephens (2009), https://doi.org/10.1198/tech.2009.08017, with the prior of Vehtari et al.
    (2024), https://arxiv.org/abs/1507.02646
    """
    M = tail_size(K)
    if M < FEWEST:
        return torch.full(log_w.shape[1:], torch.inf, dtype=torch.float64)
    assert len(log_w) == M + 1, f"k-hat of {K} weights takes the {M + 1} largest, not {len(log_w)}"
    log_w = log_w.double().sort(0).values
    w = (log_w - log_w[-1]).exp()
    k = _fit(w[1:] - w[0])
    k = torch.where(k.isfinite(), k, torch.inf)
    return torch.where(log_w[-1] - log_w[0] < FLAT, 0.0, k)


def _fit(excess: Tensor) -> Tensor:
    """Shape of excesses over the cutoff, [M, N] ascending: the posterior mean of b = -k / sigma on a grid, and its k.

    The profile log-likelihood of b is M (log(-b / k) - k - 1) with k = mean log(1 - b x).
    """
    M = len(excess)
    grid = 30 + math.isqrt(M)
    step = torch.arange(1, grid + 1, dtype=torch.float64) - 0.5
    quartile = excess[int(M / 4 + 0.5) - 1]
    b = 1 / excess[-1] + (1 - (grid / step).sqrt()).unsqueeze(1) / (3 * quartile)  # [grid, N]
    k = torch.stack([torch.log1p(-point * excess).mean(0) for point in b])  # a loop: [grid, M, N] may be too large
    weight = (M * ((-b / k).log() - k - 1)).softmax(0)
    k = torch.log1p(-(weight * b).sum(0) * excess).mean(0)
    return (M * k + 10 * 0.5) / (M + 10)  # the prior: ten weights' worth of k = 1/2
