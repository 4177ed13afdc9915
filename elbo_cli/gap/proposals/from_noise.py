"""How noise e ~ N(0, I) becomes a draw: for every family of elbo's, and for torch's own normals."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, MultivariateNormal, Normal

from elbo_cli.gap.proposals.flow import CouplingFlow
from elbo_cli.gap.proposals.normal import PrecisionNormal
from elbo_cli.models.chain import Chain
from elbo_cli.models.flows import FlowNormal
from elbo_cli.models.mixtures import MixturePrior
from elbo_cli.models.normals import Diagonal, FullNormal, LowRankNormal, Standard, apply


@dataclass(frozen=True, slots=True)
class FromNoise:
    """A distribution as a function of noise, batch [N] or []."""

    width: int  # numbers e_j ~ N(0, 1) that a draw is made of
    like: Tensor  # of the type and on the device that the noise must be of
    draw: Callable[[Tensor], Tensor]  # e [..., N, width] -> z [..., N, D]


def from_noise(q: Distribution) -> FromNoise | None:
    """The distribution as a function of noise; None for a family that is not known here."""
    known = KNOWN.get(type(q))
    return None if known is None else known(q)


def _diagonal(q: Any) -> FromNoise | None:
    """z = mu + sigma e."""
    if type(q.base_dist) is not Normal or len(q.event_shape) != 1:
        return None
    mu, sigma = q.base_dist.loc, q.base_dist.scale
    return FromNoise(q.event_shape[0], mu, lambda e: mu + sigma * e)


def _full(q: MultivariateNormal) -> FromNoise:
    """z = mu + L e."""
    return FromNoise(q.event_shape[0], q.loc, lambda e: q.loc + apply(q.scale_tril, e))


def _low_rank(q: LowRankNormal) -> FromNoise:
    """z = mu + W a + s e."""
    W, s, D = q.cov_factor, q.cov_diag.sqrt(), q.event_shape[0]
    return FromNoise(D + W.shape[-1], q.loc, lambda e: q.loc + apply(W, e[..., D:]) + s * e[..., :D])


def _precision(q: PrecisionNormal) -> FromNoise:
    """z = mu + R'^-1 e."""
    one = torch.eye(q.event_shape[0], dtype=q.mu.dtype, device=q.mu.device)
    inverse = torch.linalg.solve_triangular(q.root, one, upper=False)

    def draw(e: Tensor) -> Tensor:
        shifts: Tensor = (e.transpose(0, 1) @ inverse).transpose(0, 1)
        return q.mu + shifts

    return FromNoise(q.event_shape[0], q.mu, draw)


def _flow(q: FlowNormal) -> FromNoise:
    """z = mu + sigma f(e)."""
    return FromNoise(q.event_shape[0], q.mu, lambda e: q.mu + q.sigma * q.f(e))


def _coupling(q: CouplingFlow) -> FromNoise:
    """z = mu + L f(e)."""
    return FromNoise(q.event_shape[0], q.base.loc, q.push)


def _chain(q: Chain) -> FromNoise | None:
    """Each layer from its own part of the noise, given the layer before it."""
    first = from_noise(q.first)
    if first is None:
        return None
    widths, at = [first.width], first.draw(first.like.new_zeros(1, *q.first.batch_shape, first.width))
    for link in q.links:  # how wide a link is does not depend on where its parent is
        layer = from_noise(link(at))
        if layer is None:
            return None
        widths.append(layer.width)
        at = layer.draw(layer.like.new_zeros(*layer.like.shape[:-1], layer.width))

    def draw(e: Tensor) -> Tensor:
        own, *rest = torch.split(e, widths, -1)
        parts = [first.draw(own)]
        for link, part in zip(q.links, rest, strict=True):
            layer = from_noise(link(parts[-1]))
            assert layer is not None
            parts.append(layer.draw(part))
        return q.joined(parts)

    return FromNoise(sum(widths), first.like, draw)


def _mixture(p: MixturePrior) -> FromNoise | None:
    """The last number picks the component, the others make its draw."""
    components, ends = from_noise(p.components), p.log_pi.exp().cumsum(0)[:-1]
    if components is None:
        return None

    def draw(e: Tensor) -> Tensor:
        picked = from_noise(p.pick(labels(e[..., -1], ends).flatten()))
        assert picked is not None
        return picked.draw(e[..., :-1].flatten(0, -2)).view(*e.shape[:-1], -1)

    return FromNoise(components.width + 1, components.like, draw)


def labels(e: Tensor, ends: Tensor) -> Tensor:
    """Which of some shares each e ~ N(0, 1) falls into, [...], by its distribution function; `ends` are their sums."""
    return torch.bucketize(torch.special.ndtr(e), ends.to(e))


KNOWN: dict[type[Distribution], Callable[[Any], FromNoise | None]] = {
    Diagonal: _diagonal,
    Standard: _diagonal,
    Independent: _diagonal,
    FullNormal: _full,
    MultivariateNormal: _full,
    LowRankNormal: _low_rank,
    PrecisionNormal: _precision,
    FlowNormal: _flow,
    CouplingFlow: _coupling,
    Chain: _chain,
    MixturePrior: _mixture,
}
