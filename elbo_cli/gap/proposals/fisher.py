"""The Fisher information of p(x | z): coordinates eta of each family in which it is diagonal, and that diagonal."""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.distributions import (
    Bernoulli,
    Categorical,
    ContinuousBernoulli,
    Distribution,
    Exponential,
    Independent,
    Laplace,
    Normal,
    Poisson,
)

from elbo_cli.models.pixels import (
    BernoulliLogits,
    ContinuousBernoulliLogits,
    DiscretizedLogistic,
    GaussianPixels,
    Levels,
    PoissonLogRate,
)

# A metric is (eta, f): the information of the whole datum is sum f d eta^2. Both [..., pixels or parameters].
Metric = tuple[Tensor, Tensor]


def _bernoulli(px_z: Bernoulli | BernoulliLogits) -> Metric:
    p = px_z.logits.sigmoid()
    return px_z.logits, p * (1 - p)


def _continuous_bernoulli(px_z: ContinuousBernoulli | ContinuousBernoulliLogits) -> Metric:
    """Var(x) = 1/l^2 - 1/(4 sinh^2(l/2)), the second derivative of the log-normaliser; 1/12 at l = 0."""
    logits = px_z.logits
    near = logits.abs() < 0.1
    safe = torch.where(near, torch.ones_like(logits), logits)
    sinh = (safe / 2).clamp(-30, 30).sinh()  # its square overflows float32 past 44
    variance = torch.where(near, 1 / 12 - logits.square() / 240, safe.square().reciprocal() - (2 * sinh) ** -2)
    return logits, variance


def _gaussian(px_z: GaussianPixels) -> Metric:
    return px_z.mean, px_z.sigma.square().reciprocal().expand_as(px_z.mean)


def _normal(px_z: Normal) -> Metric:
    """Location with 1/sigma^2, and log sigma with 2: a foreign decoder may give both."""
    return _both((px_z.loc, px_z.scale.square().reciprocal()), (px_z.scale.log(), 0 * px_z.scale + 2))


def _laplace(px_z: Laplace) -> Metric:
    """Location with 1/b^2, and log b with 1."""
    return _both((px_z.loc, px_z.scale.square().reciprocal()), (px_z.scale.log(), 0 * px_z.scale + 1))


def _poisson(px_z: Poisson) -> Metric:
    return px_z.rate.log(), px_z.rate


def _poisson_log_rate(px_z: PoissonLogRate) -> Metric:
    return px_z.log_rate, px_z.mean


def _exponential(px_z: Exponential) -> Metric:
    return px_z.rate.log(), 0 * px_z.rate + 1


def _categorical(px_z: Categorical | Levels) -> Metric:
    """Sum p (d log p)^2 = sum dp^2 / p, the multinomial's information."""
    log_p = px_z.logits.log_softmax(-1)
    return log_p, log_p.exp()


def _discretized_logistic(px_z: DiscretizedLogistic) -> Metric:
    """The logistic density's own: 1/(3 s^2) for the location, (3 + pi^2)/9 for log s; a bin's width is added to s^2."""
    bin_variance = 1 / (12 * (px_z.levels - 1) ** 2)
    location = (3 * (px_z.scale.square() + bin_variance)).reciprocal()
    return _both((px_z.loc, location), (px_z.scale.log(), 0 * px_z.scale + (3 + math.pi**2) / 9))


def _both(first: Metric, second: Metric) -> Metric:
    (eta, f), (eta2, f2) = first, second
    return torch.stack([eta, eta2], -1), torch.stack([f.expand_as(eta), f2.expand_as(eta2)], -1)


FISHER: dict[type[Distribution], Callable[..., Metric]] = {
    BernoulliLogits: _bernoulli,
    Bernoulli: _bernoulli,
    ContinuousBernoulliLogits: _continuous_bernoulli,
    ContinuousBernoulli: _continuous_bernoulli,
    GaussianPixels: _gaussian,
    Normal: _normal,
    Laplace: _laplace,
    Poisson: _poisson,
    PoissonLogRate: _poisson_log_rate,
    Exponential: _exponential,
    Categorical: _categorical,
    Levels: _categorical,
    DiscretizedLogistic: _discretized_logistic,
}


def knows(px_z: Distribution) -> bool:
    """Whether the Fisher information of this distribution has a formula here."""
    return type(_base(px_z)) in FISHER


def metric(px_z: Distribution) -> Metric:
    """Coordinates eta and diagonal information f of a likelihood, each [..., pixels] flattened behind its batch."""
    base = _base(px_z)
    eta, f = FISHER[type(base)](base)
    batch = len(px_z.batch_shape)
    return eta.flatten(batch), f.flatten(batch)


def score(px_z: Distribution, x: Tensor) -> Tensor | None:
    """The score d log p(x | z) / d eta in the coordinates of `metric`, [..., pixels]; None where none is known here.

    x - E[x] in the canonical coordinates of an exponential family, and that over sigma^2 for a normal's mean.
    """
    base = _base(px_z)
    if not isinstance(base, BernoulliLogits | PoissonLogRate | GaussianPixels):
        return None
    off = (x - base.mean).flatten(len(px_z.batch_shape))
    return off * metric(base)[1] if isinstance(base, GaussianPixels) else off


def _base(px_z: Distribution) -> Distribution:
    while isinstance(px_z, Independent):
        px_z = px_z.base_dist
    return px_z
