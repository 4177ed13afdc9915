"""A mean over data with its two standard errors, which are never mixed."""

import math
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, slots=True)
class Average:
    """A mean over N data, in the unit of what it is a mean of."""

    mean: float
    se_data: float  # across data: how far another sample of data might lie; nan for one datum
    se_mc: float  # Monte Carlo within data: how far the same data might lie with other draws


def average(values: Tensor, se: Tensor | float = 0.0) -> Average:
    """Mean of values [N] with se_data = std / sqrt N and se_mc = sqrt(sum_n se_n^2) / N.

    Args:
        values: one for each datum, [N].
        se: each datum's own Monte Carlo standard error, [N]; 0 where the value is exact. Data must not share draws.
    """
    N = len(values)
    values = values.double()
    se_data = values.std().item() / math.sqrt(N) if N > 1 else math.nan
    se_mc = (values.new_zeros(N) + se).square().sum().sqrt().item() / N
    return Average(values.mean().item(), se_data, se_mc)
