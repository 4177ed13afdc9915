"""The one way that tests compare a random estimate with the truth: it refuses to run blind."""

import math

from torch import Tensor


def within(estimates: Tensor, truth: Tensor | float, *, resolve: float, sigmas: float = 4.0) -> None:
    """The mean of `estimates` over axis 0 is `truth`, judged by its own standard error.

    `resolve` is the smallest error that must not pass: where `sigmas` standard errors are wider, the test is blind
    and fails for that.
    """
    mean, se = estimates.mean(0), estimates.std(0) / math.sqrt(len(estimates))
    assert (sigmas * se < resolve).all(), f"blind: {sigmas} s.e. = {sigmas * se} >= {resolve}"
    assert ((mean - truth).abs() < sigmas * se).all(), f"{mean} is not {truth} (s.e. {se})"


def outside(estimates: Tensor, truth: Tensor | float, *, sigmas: float = 8.0) -> None:
    """A negative control: somewhere the mean of `estimates` lies far from `truth`, so that `within` could not pass."""
    mean, se = estimates.mean(0), estimates.std(0) / math.sqrt(len(estimates))
    assert ((mean - truth).abs() > sigmas * se).any(), f"{mean} is within {sigmas} s.e. ({se}) of {truth}"
