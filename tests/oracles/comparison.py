"""The yardsticks of the oracles: absolute error in nats, and integrals that share nothing with the trapezoid rule."""

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from scipy import integrate
from torch import Tensor


def close(found: Tensor, truth: object, atol: float = 1e-10) -> None:
    """Both in float64 and of one shape, with no error above `atol`."""
    torch.testing.assert_close(found, torch.as_tensor(truth, dtype=torch.float64), rtol=0, atol=atol)


def quad(
    f: Callable[[float], float], lo: float = -12.0, hi: float = 12.0, points: Sequence[float] | None = None
) -> float:
    """scipy's adaptive integral; `points` are where f is sharp."""
    return float(integrate.quad(f, lo, hi, points=points, epsabs=0, epsrel=1e-12, limit=400)[0])


def legendre(reach: float, panels: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights of Gauss-Legendre, 12 to a panel: a rule that shares nothing with the trapezoid."""
    t, w = np.polynomial.legendre.leggauss(12)
    half = reach / panels
    centres = np.linspace(-reach + half, reach - half, panels)
    return (centres[:, None] + half * t).ravel(), np.tile(half * w, panels)


def mean_and_variance(t: np.ndarray, density: np.ndarray) -> tuple[float, float]:
    """Of one coordinate, from the unnormalised weights of its nodes."""
    mean = t @ density / density.sum()
    return mean, (t - mean) ** 2 @ density / density.sum()


def log_normal(error: float, sd: float) -> float:
    """log N(error; 0, sd^2), without torch."""
    return -0.5 * (error / sd) ** 2 - math.log(sd * math.sqrt(2 * math.pi))
