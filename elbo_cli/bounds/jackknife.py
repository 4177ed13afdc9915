"""Jackknife variational inference of the first order, from the largest weights and the power sums of the rest."""

import math

from torch import Tensor

from elbo_cli.bounds.moments import ORDERS, PowerSums

EXACT = 128  # so many of the largest weights are left out one by one; below it the jackknife has no error at all


def jackknife(largest: Tensor, rest: PowerSums, K: int) -> Tensor:
    r"""L_K with the first-order term of its bias in 1/K removed. **Not a bound.**

        J = K L_K - (K - 1) mean_k L_{K-1}^(-k)
          = L_K + (K - 1) [ log(1 - 1/K) - mean_k log(1 - p_k) ],    p_k = w_k / sum w

    where L^(-k) leaves out draw k. For the largest weights log(1 - p) is exact (for the very largest as the sum of the
    others, for p may round to 1). For the rest it is the series -p - p^2/2 - p^3/3 - p^4/4: each of them is at most
    1/(1 + number of largest), so with 128 of those the error of J is below 1e-9 nats.

    Args:
        largest: the largest log-weights of each datum in descending order, [m, N].
        rest: power sums of the other K - m.
        K: how many weights there are, zeros included.

    Returns:
        J in nats, [N]; +inf where but one weight is not zero, -inf where all are zero.

    Reference: Nowozin (2018). https://openreview.net/forum?id=HyZoi-WRb
    """
    log_sum = rest.plus(largest).log_sum
    if K == 1:
        return log_sum
    others = rest.plus(largest[1:]).log_sum - log_sum
    p = (largest[1:] - log_sum).exp()
    small = rest.powers * ((rest.peak - log_sum) * ORDERS).exp() / ORDERS
    log_left = others + (-p).log1p().sum(0) - small.sum(0)
    log_px = log_sum - math.log(K)
    return (log_px + (K - 1) * (math.log1p(-1 / K) - log_left / K)).where(log_sum.isfinite(), log_sum)
