"""Quantiles of Student's t against scipy's."""

import pytest
from scipy.stats import t

from elbo_cli.comparison.student import quantile


@pytest.mark.parametrize("nu", [1, 1.3, 2, 4.5, 10, 179, 1e4, 1e6])
@pytest.mark.parametrize("p", [0.9, 0.975, 0.9975])
def test_the_quantile_is_students(p: float, nu: float) -> None:
    steep = 1 < nu < 2 and p > 0.99  # where the integrand ends with an infinite slope
    assert quantile(p, nu) == pytest.approx(t.ppf(p, nu), rel=1e-3 if steep else 1e-5)


def test_the_median_is_zero() -> None:
    assert quantile(0.5, 3) == pytest.approx(0, abs=1e-12)
