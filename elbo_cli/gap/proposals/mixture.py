"""A mixture of distributions to draw from, every draw weighed by the density of the whole."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import Distribution

from elbo_cli.gap.proposals.from_noise import FromNoise, from_noise, labels


@dataclass(frozen=True, slots=True)
class Component:
    """One distribution of a mixture, with its share of the draws."""

    distribution: Distribution  # batch [N], or [] where it is one for all data; event [D]
    share: float


class Mixture:
    """A mixture over components, each draw weighed by the density of the whole: q(z) = sum_c s_c q_c(z).

    The draws are independent, and each weight is p(x, z) / q(z), so E[exp L_K] = p(x) whatever the components are.
    With a share s of the amortised q, no weight exceeds 1/s times the weight that q alone would have given it.

    Reference: Hesterberg (1995); Owen and Zhou (2000), safe and effective importance sampling.
    """

    def __init__(self, components: tuple[Component, ...]) -> None:
        total = sum(c.share for c in components)
        self.components = tuple(Component(c.distribution, c.share / total) for c in components)

    def sample(self, k: int, N: int) -> Tensor:
        """K draws for each of N data, [k, N, D]."""
        if len(self.components) == 1:
            return _sample(self.components[0].distribution, k, N)
        shares = torch.tensor([c.share for c in self.components])
        drawn = torch.multinomial(shares, k * N, replacement=True).view(k, N)
        parts = [_picked(c.distribution, drawn == i) for i, c in enumerate(self.components)]
        places, rows = (torch.cat(each) for each in zip(*(part for part in parts if part is not None), strict=True))
        return torch.empty_like(rows).index_copy_(0, places, rows).view(k, N, -1)

    def from_noise(self) -> FromNoise | None:
        """The mixture as a function of noise, whose last number picks the component; None where one is not."""
        parts = [from_noise(c.distribution) for c in self.components]
        known = [part for part in parts if part is not None]
        if len(known) < len(parts) or len(known) == 1:
            return parts[0] if len(parts) == 1 else None
        width, ends = max(part.width for part in known), torch.tensor([c.share for c in self.components]).cumsum(0)[:-1]

        def draw(e: Tensor) -> Tensor:
            label = labels(e[..., width], ends)
            z = known[0].draw(e[..., : known[0].width])
            for i, part in enumerate(known[1:], start=1):
                z = torch.where((label == i).unsqueeze(-1), part.draw(e[..., : part.width]), z)
            return z

        return FromNoise(width + 1, known[0].like, draw)

    def log_prob(self, z: Tensor) -> Tensor:
        """log q(z) at z [k, N, D], [k, N], in nats, float64."""
        parts = [c.distribution.log_prob(z).double() + math.log(c.share) for c in self.components]
        return torch.stack(parts).logsumexp(0) if len(parts) > 1 else parts[0]


def _sample(q: Distribution, k: int, N: int) -> Tensor:
    return q.sample(torch.Size((k,) if q.batch_shape else (k, N)))


def _picked(q: Distribution, here: Tensor) -> tuple[Tensor, Tensor] | None:
    """Draws of q for where `here` [k, N] is true: their places among k N, [M], and themselves, [M, D].

    As many are drawn as the fullest datum needs; the m-th true place of a datum takes its m-th draw.
    """
    most = int(here.sum(0).max())
    if most == 0:
        return None
    z = _sample(q, most, here.shape[1])
    rank = (here.cumsum(0) - 1) * here.shape[1] + torch.arange(here.shape[1])
    places, which = here.flatten().nonzero().squeeze(-1), rank[here]
    return places.to(z.device), z.reshape(-1, z.shape[-1]).index_select(0, which.to(z.device))
