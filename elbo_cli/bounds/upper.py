"""Upper bounds on log p(x). They start from an exact draw of p(z | x), so they need simulated data."""

import math

import torch
from torch import Tensor

from elbo_cli.bounds.curve import log_mean_exp


def upper(log_w_exact: Tensor, log_w: Tensor) -> Tensor:
    r"""Importance-weighted upper bound from one exact posterior draw and K - 1 draws of the proposal.

        U_K = log 1/K (w_0 + sum_{k=1}^{K-1} w_k),    z_0 ~ p(z | x),    z_k ~ q(z | x)

    E[exp -U_K] = 1 / p(x), because the K draws, shuffled, have the density prod_k q(z_k) exp(U_K) / p(x). So
    E[U_K] >= log p(x), by Jensen's inequality. The exact draw carries the whole guarantee: without it this is another
    lower bound. For simulated data it is the z that x was drawn from.

    Args:
        log_w_exact: log p(x, z_0) - log q(z_0 | x), [N].
        log_w: that of K - 1 independent draws from q, [K - 1, N]; may be empty.

    Returns:
        U_K in nats, [N].

    Reference: Brekelmans et al. (2022). https://arxiv.org/abs/2303.06992
    """
    return log_mean_exp(torch.cat((log_w_exact.unsqueeze(0), log_w)).double())


def with_exact(lower: Tensor, log_w_exact: Tensor, K: int) -> Tensor:
    """U_K from L_{K-1} of K - 1 draws, [N], and the exact draw's log-weight, [N]: `upper` of a stream of weights."""
    assert K >= 2, f"U_K of {K} has no draws of q"
    return torch.logaddexp(lower.double() + math.log(K - 1), log_w_exact.double()) - math.log(K)


def certified_lower(mean: float, N: int, delta: float) -> float:
    r"""A value that the mean of log p(x) over these N data exceeds with probability at least 1 - delta.

        mean_n L_n - ln(1 / delta) / N

    exp sum_n L_n has expectation prod_n p(x_n) when the L_n are independent and each exp L_n is unbiased, and Markov's
    inequality does the rest. It holds for a K fixed beforehand, draws that nothing was chosen by, and one estimator:
    the better of two costs a union bound, delta / 2 for each.

    Args:
        mean: mean over data of lower bounds, in nats.
        N: how many data.
        delta: allowed probability of error, in (0, 1).
    """
    return mean - slack(N, delta)


def certified_upper(mean: float, N: int, delta: float) -> float:
    """A value that the mean of log p(x) over these N data is below with probability at least 1 - delta.

    mean_n U_n + ln(1 / delta) / N, by Markov's inequality on exp(-sum_n U_n); conditions as for `certified_lower`. Both
    sides together hold with probability 1 - 2 delta.
    """
    return mean + slack(N, delta)


def slack(N: int, delta: float) -> float:
    """What certainty 1 - delta costs, ln(1 / delta) / N nats per datum."""
    assert N >= 1, N
    assert 0 < delta < 1, delta
    return math.log(1 / delta) / N
