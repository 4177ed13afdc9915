"""Quantiles of Student's t, for any number of degrees of freedom."""

import math

STEPS = 100  # of Newton's, at most; some eight are enough


def quantile(p: float, nu: float) -> float:
    """The t that Student's distribution of nu degrees of freedom exceeds with probability 1 - p, for 1/2 <= p < 1.

    With t = sqrt(nu) tan(a), the density of the angle a goes as cos(a)^(nu - 1): bounded, falling, on a bounded range.
    It is integrated by Simpson's rule. The distribution function is concave, so Newton's steps from 0 never go too far.
    """
    assert 0.5 <= p < 1 <= nu, (p, nu)
    log_c = math.lgamma((nu + 1) / 2) - math.lgamma(nu / 2) - 0.5 * math.log(math.pi)
    angle = 0.0
    for _ in range(STEPS):
        step = (p - 0.5 - _below(angle, nu, log_c)) / _density(angle, nu, log_c)
        angle += step
        if step < 1e-9 * angle:
            break
    return math.sqrt(nu) * math.tan(angle)


def _density(angle: float, nu: float, log_c: float) -> float:
    return math.exp(log_c + (nu - 1) * math.log(math.cos(angle)))


def _below(angle: float, nu: float, log_c: float, pieces: int = 100) -> float:
    """The probability between 0 and t."""
    width = angle / pieces
    terms = ((1 if i in (0, pieces) else 4 if i % 2 else 2) * _density(i * width, nu, log_c) for i in range(pieces + 1))
    return math.fsum(terms) * width / 3
