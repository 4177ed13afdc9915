"""Means over data in the words of the records."""

from torch import Tensor

from elbo_cli.bounds.average import average
from elbo_cli.records import Estimate


def estimate(values: Tensor, se: Tensor | float | None = None) -> Estimate:
    """The mean over data of values [N] with its errors.

    Args:
        values: one for each datum, [N].
        se: each datum's own Monte Carlo error, [N], or 0 where the values are exact; None where the spread across
            data holds that error too, and the two cannot be told apart.
    """
    mean = average(values, 0.0 if se is None else se)
    return Estimate(mean.mean, mean.se_data, None if se is None else mean.se_mc)
