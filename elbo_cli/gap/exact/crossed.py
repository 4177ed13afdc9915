"""Log p(x | z) of every z of a grid for every one of many data, with no number held for each pixel of each pair."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.distributions import Distribution

from elbo_cli.models.pixels import BernoulliLogits, GaussianPixels, softplus


def _bernoulli(px_z: BernoulliLogits, x: Tensor) -> Tensor:
    """sum x l - softplus(l)."""
    logits = px_z.logits.flatten(1)
    return logits @ x.mT - softplus(logits).sum(1, keepdim=True)


def _gaussian(px_z: GaussianPixels, x: Tensor) -> Tensor:
    """sum -1/2 ((x - m) / s)^2, and the log-density of x = m. |a - b|^2 is |a|^2 - 2 a'b + |b|^2 for all pairs."""
    scale, mean = px_z.sigma.expand(px_z.event_shape).flatten(), px_z.loc.flatten(1)
    middle = mean.mean(0)  # taken off both, so that little cancels where x is near the means: there it matters
    a, b = (mean - middle) / scale, (x - middle) / scale
    square = a.square().sum(1, keepdim=True) - 2 * a @ b.mT + b.square().sum(1)
    return px_z.log_prob(px_z.loc).view(-1, 1) - 0.5 * square


CROSSED: dict[type[Distribution], Callable[..., Tensor]] = {BernoulliLogits: _bernoulli, GaussianPixels: _gaussian}


def crossed(px_z: Distribution, x: Tensor) -> Tensor:
    """Log p(x | z), [G, n], of p(x | z) with batch [G, 1] for x [n, ...].

    A product of matrices for the families that are linear in x, in float64; else by the broadcasting of their own
    `log_prob`.
    """
    fast = CROSSED.get(type(px_z))
    if fast is None or px_z.mean.dtype != torch.float64:
        log_px_z: Tensor = px_z.log_prob(x)
        return log_px_z
    return fast(px_z, x.flatten(1))
