"""Linear-Gaussian models in which the posterior is as simple as can be, and q is wrong by a known amount."""

import torch
from torch import Tensor
from torch.distributions import Distribution, StudentT

from tests.oracles.linear_gaussian import LinearGaussian
from tests.oracles.oracle import DTYPE, WithPosterior, independent


def orthogonal(D: int, *, shift: float = 0.0, scale: float = 1.0) -> LinearGaussian:
    """D latents, D pixels, W = 2 I, sigma = 1: p(z | x) = N(0.4 x, 0.2 I), so a diagonal q can be exact.

    With q = N(mean + shift sd, scale var), 1 + CV^2 = [ scale / sqrt(u) exp(shift^2 / u) ]^D, u = 2 scale - 1, and
    the tail index is 1 - scale.
    """
    return LinearGaussian(2 * torch.eye(D, dtype=DTYPE), torch.zeros(D, dtype=DTYPE), 1.0, shift=shift, scale=scale)


def slightly_crude() -> LinearGaussian:
    """CV^2 = 1.000, bounded weights (scale 1.2): L_K - log p(x) = -1/2K is to be had."""
    return orthogonal(3, shift=0.55113, scale=1.2)


def infinite_variance() -> LinearGaussian:
    """q has 0.35 of the variance in 3 latents: tail index 0.65, so -CV^2/2K means nothing."""
    return orthogonal(3, scale=0.35)


def hopeless(D: int = 100, variance: float = 0.4) -> LinearGaussian:
    """The decoder ignores z, so p(z | x) = N(0, I), while q = N(0, variance I): 4 nats short at K = 50,000.

    log p(x) = log N(x; mu, I) for 4 pixels; gap = D/2 (variance - 1 - ln variance). The prior, or a Laplace proposal,
    solves it at once.
    """
    mu = torch.tensor([0.3, -1.2, 0.8, 2.0], dtype=DTYPE)
    return LinearGaussian(torch.zeros(4, D, dtype=DTYPE), mu, 1.0, scale=variance)


def student_posterior(df: float = 4.0) -> WithPosterior:
    """q is Student's t around the exact posterior: heavier tails, so bounded weights, and no closed-form KL."""
    model = orthogonal(3)

    def encoder(x: Tensor) -> Distribution:
        t = StudentT(df, model.posterior_mean(x), model.best_variance.sqrt(), validate_args=False)
        return independent(t)

    return WithPosterior(model, encoder)
