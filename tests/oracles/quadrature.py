"""The trapezoid rule: for a smooth integrand that vanishes at both ends its error falls faster than any power."""

import math

import torch
from torch import Tensor

from tests.oracles.oracle import DTYPE

EDGE = 30.0  # nats below the integral: what lies beyond the ends is then under 1e-13 of it


def line(reach: float, points: int) -> tuple[Tensor, float]:
    """Nodes from -reach to reach, [G], and the step between them."""
    return torch.linspace(-reach, reach, points, dtype=DTYPE), 2 * reach / (points - 1)


def log_integral(log_f: Tensor, step: float) -> Tensor:
    """log of the integral of exp(log_f) over axis 0; refuses an integrand that has not vanished at both ends."""
    total = log_f.logsumexp(0) + math.log(step)
    peak = log_f.amax(0)
    assert (log_f[0] < peak - EDGE).all(), f"{(peak - log_f[0]).min()} nats below the peak at the left end"
    assert (log_f[-1] < peak - EDGE).all(), f"{(peak - log_f[-1]).min()} nats below the peak at the right end"
    return total


def log_normal(z: Tensor, loc: Tensor | float = 0.0, var: Tensor | float = 1.0) -> Tensor:
    """log N(z; loc, var), elementwise."""
    return -0.5 * (torch.as_tensor(var, dtype=DTYPE).log() + math.log(2 * math.pi) + (z - loc) ** 2 / var)


def moments(z: Tensor, log_f: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance over axis 0 of the density proportional to exp(log_f) at equidistant z."""
    weights = log_f.softmax(0)
    mean = (weights * z).sum(0)
    return mean, (weights * (z - mean) ** 2).sum(0)
