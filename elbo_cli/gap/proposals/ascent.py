"""Climbs of each datum's own ELBO over normals, by natural gradients whose noise vanishes as q nears p(z | x)."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import Distribution

from elbo_cli.bounds.draws import LatentVariableModel, weigh
from elbo_cli.gap.proposals.block import cholesky
from elbo_cli.gap.proposals.sight import value_and_slope
from elbo_cli.models.normals import FullNormal, apply

JUDGES = 128  # draws on which the ends of a climb are compared; no step has seen them
FASTEST = 0.5  # the first step, as a share of Newton's
SLOWING = 0.4  # of the rate, at each step
REACH = 0.5  # the farthest that one step takes a log sigma, or all correlations together


@dataclass(frozen=True, slots=True)
class Ascent:
    """What a climb is told."""

    model: LatentVariableModel
    x: Tensor  # [N, ...]
    steps: int
    draws: int  # to a step; even

    def rounds(self, like: Tensor) -> Iterator[tuple[int, Tensor]]:
        """The number of each step and its noise, [draws, N, D]."""
        for t in range(self.steps):
            yield t, mirrored(self.draws, like)

    def slope(self, z: Tensor) -> Tensor:
        """d log p(x, z) / dz at z [S, N, D]."""
        return value_and_slope(self.model, self.x, z)[1]

    def better(self, start: FullNormal, end: FullNormal) -> FullNormal:
        """For each datum the end of a climb, or its start where the end is `worse`."""
        e = judges(start.loc)
        back = worse(*(self.log_w(q, q.loc + apply(q.scale_tril, e)) for q in (end, start)))
        loc = torch.where(back[:, None], start.loc, end.loc)
        return FullNormal(loc, torch.where(back[:, None, None], start.scale_tril, end.scale_tril))

    def log_w(self, q: Distribution, z: Tensor) -> Tensor:
        """log p(x, z) - log q(z) at draws of q z [K, N, D], [K, N]."""
        return weigh(self.model, self.x, z, q.log_prob(z)).log_w


def worse(end: Tensor, start: Tensor) -> Tensor:
    """Whether an end has the lower ELBO by more than a standard error, or none, [N], from common draws [K, N] of log w.

    So a climb that failed leaves no trace, and no datum ends below its start but for the noise of these draws.
    """
    lost = start - end
    noticed: Tensor = lost.mean(0) > lost.std(0) / len(lost) ** 0.5
    return noticed | ~end.isfinite().all(0)


def judges(like: Tensor) -> Tensor:
    """Noise e ~ N(0, I) for a comparison, [JUDGES, N, D]; unmirrored, for log w is even in e near its best."""
    return torch.randn(JUDGES, *like.shape, dtype=like.dtype, device=like.device)


def full(ascent: Ascent, start: FullNormal) -> FullNormal:
    r"""Climb over N(mu, A A'), in the coordinates e = A^-1 (z - mu) in which q is N(0, I).

        g = A' grad log p(x, z) + e,    mu <- mu + r A E[g],    A <- A exp( r/2 sym E[g e'] ),    r = 1 / (a + b t)

    g is the path gradient, grad log p(x, z) - grad log q(z): zero, draw by draw, where q = p(z | x). By Stein's lemma
    E[g e'] is the mean Hessian of log p(x, z), plus one; so at rest q's precision is minus that Hessian. With a rate
    that falls as 1/t the last iterate is the average of its targets. Where draws are fewer than latents the D^2
    correlations move slower than the D scales: their noise would feed on itself.

    References: Opper and Archambeau (2009), https://doi.org/10.1162/neco.2008.08-07-592 (the fixed point); Roeder et
    al. (2017), https://arxiv.org/abs/1703.09194 (the path gradient).
    """
    mu, A = start.loc, start.scale_tril
    D = mu.shape[-1]
    slower = min(FASTEST, ascent.draws / D)
    for t, e in ascent.rounds(mu):
        g = apply(A.mT, ascent.slope(mu + apply(A, e))) + e
        bend = torch.einsum("snd,sne->nde", g, e) / len(e)
        scales = bend.diagonal(dim1=-2, dim2=-1)
        turns = (bend + bend.mT) / 2 - torch.diag_embed(scales)
        step = _within(rate(t) * g.mean(0), D**0.5)
        growth = torch.diag_embed((rate(t) / 2 * scales).clamp(-REACH, REACH))
        growth = growth + _within((rate(t, slower) / 2 * turns).flatten(1), REACH).view_as(turns)
        sound = _finite(step, growth.flatten(1))
        mu = torch.where(sound, mu + apply(A, step), mu)
        A = torch.where(sound[..., None], A + A @ (growth + growth @ growth / 2), A)
    return FullNormal(mu, cholesky(A @ A.mT))


def diagonal(ascent: Ascent, near: FullNormal) -> FullNormal:
    r"""Climb over N(mu, diag sigma^2), with the precision Lambda of a full normal near p(z | x) for a map.

        g = grad log p(x, z) + Lambda (z - mu),    mu <- mu + r Lambda^-1 E[g],
        log sigma_j <- log sigma_j + r/2 ( 1 - sigma_j^2 Lambda_jj + sigma_j E[e_j g_j] ),    z = mu + sigma e

    Lambda is a control variate, whose share of both gradients is known and put back, and the metric of mu; wrong, it
    slows the climb and does not bend it. It begins at the best diagonal q of the map: its mean, and 1 / Lambda_jj.

    Reference: Miller et al. (2017), https://arxiv.org/abs/1705.07880 (the quadratic control variate).
    """
    L, precision = near.scale_tril, torch.cholesky_inverse(near.scale_tril)
    known = precision.diagonal(dim1=-2, dim2=-1)
    mu, sigma = near.loc, known.rsqrt()
    for t, e in ascent.rounds(mu):
        shift = sigma * e
        g = ascent.slope(mu + shift) + apply(precision, shift)
        step = _within(rate(t) * apply(L.mT, g.mean(0)), mu.shape[-1] ** 0.5)
        growth = rate(t) / 2 * (1 - sigma.square() * known + sigma * (e * g).mean(0))
        sound = _finite(step, growth)
        mu = torch.where(sound, mu + apply(L, step), mu)
        sigma = torch.where(sound, sigma * growth.clamp(-REACH, REACH).exp(), sigma)
    return FullNormal(mu, torch.diag_embed(sigma))


def mirrored(draws: int, like: Tensor) -> Tensor:
    """e ~ N(0, I) in mirrored pairs, [draws, N, D]: what is odd in e has a mean of exactly zero."""
    e = torch.randn(draws // 2, *like.shape, dtype=like.dtype, device=like.device)
    return torch.cat([e, -e])


def rate(t: int, fastest: float = FASTEST) -> float:
    """The share of Newton's step that step t takes."""
    return 1 / (1 / fastest + SLOWING * t)


def _within(step: Tensor, reach: float) -> Tensor:
    """Steps [N, D] no longer than `reach`."""
    short: Tensor = step * (reach / step.norm(dim=-1, keepdim=True)).clamp(max=1)
    return short


def _finite(*steps: Tensor) -> Tensor:
    """The data for which all is finite, [N, 1]: the others wait where they are."""
    return torch.cat(steps, -1).isfinite().all(-1, keepdim=True)
