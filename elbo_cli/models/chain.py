"""Several stochastic layers as one distribution: q(z1|x) q(z2|z1) ... and p(zL) ... p(z1|z2), event [z1, ..., zL]."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Size, Tensor, nn
from torch.distributions import Distribution, constraints

from elbo_cli.bounds.draws import mean_of
from elbo_cli.models.posteriors import Posterior
from elbo_cli.models.priors import Encode


class Link(nn.Module):
    """p(child | parent): a network from the parent's latents to the parameters of a family over the child's."""

    def __init__(self, net: nn.Module, family: Posterior) -> None:
        super().__init__()
        self.net, self.family = net, family

    def forward(self, parent: Tensor) -> Distribution:
        """The child's distribution, batch [...], for a parent [..., D]."""
        return self.family.distribution(self.net(parent))


@dataclass(frozen=True, slots=True)
class Kept:
    """A draw that was made, with what it was made of."""

    z: Tensor
    layers: list[Distribution]
    parts: list[Tensor]
    gradient: bool  # whether its making was recorded for one

    def serves(self, z: Tensor) -> bool:
        """Whether `z` is that very draw, and no gradient is wanted that was not recorded."""
        return z is self.z and (self.gradient or not torch.is_grad_enabled())


class Chain(Distribution):
    """One distribution after another, each given the draw before it: batch of the first, event all of them.

    Args:
        first: the only one that is given nothing.
        links: those that follow.
        downwards: whether the event has them in the opposite order; p(z) begins at the last layer, q(z | x) at z1.
    """

    arg_constraints: dict[str, constraints.Constraint] = {}  # noqa: RUF012  # torch's own class attribute

    def __init__(self, first: Distribution, links: Sequence[Link], *, downwards: bool = False) -> None:
        self.first, self.links, self.downwards = first, tuple(links), downwards
        self.drawn = (first.event_shape[0], *(link.family.D for link in links))  # sizes, in the order of drawing
        super().__init__(first.batch_shape, torch.Size([sum(self.drawn)]), validate_args=False)
        self._kept: Kept | None = None

    @property
    def has_rsample(self) -> bool:  # type: ignore[override]  # an instance knows; torch's is the class's
        """Whether draws have a gradient."""
        return self.first.has_rsample

    @property
    def sizes(self) -> tuple[int, ...]:
        """Latents of each layer, z1 first."""
        return self.drawn[::-1] if self.downwards else self.drawn

    @property
    def places(self) -> list[slice]:
        """Where the event has the latents of each layer, in the order of drawing."""
        ends = list(accumulate(self.sizes))
        places = [slice(end - size, end) for end, size in zip(ends, self.sizes, strict=True)]
        return places[::-1] if self.downwards else places

    def rsample(self, sample_shape: Size | list[int] | tuple[int, ...] = ()) -> Tensor:
        """Draws [*sample_shape, ..., D]. They are remembered: `log_prob` of the same tensor runs no network again."""
        layers, parts = [self.first], [_drawn(self.first, torch.Size(sample_shape))]
        for link in self.links:
            layers.append(link(parts[-1]))
            parts.append(_drawn(layers[-1], torch.Size()))
        z = self.joined(parts)
        self._kept = Kept(z, layers, parts, torch.is_grad_enabled())
        return z

    def log_prob(self, value: Tensor) -> Tensor:
        """log q(z1, ..., zL) for z [*, ..., D], in nats: the sum over layers."""
        if self._kept is not None and self._kept.serves(value):
            layers, parts = self._kept.layers, self._kept.parts
        else:
            parts = self.parts(value)
            layers = [self.first, *(link(parent) for link, parent in zip(self.links, parts, strict=False))]
        return torch.stack([q.log_prob(part) for q, part in zip(layers, parts, strict=True)]).sum(0)

    def parts(self, z: Tensor) -> list[Tensor]:
        """The layers' latents, in the order of drawing."""
        return [z[..., place] for place in self.places]

    def average_mean(self, S: int) -> Tensor:
        """E[z], [..., D], from S draws: of each layer the mean of its means given the drawn layer before it."""
        means, parent = [mean_of(self.first, S)], self.first.sample(torch.Size([S]))
        for link in self.links:
            q = link(parent)
            means.append(mean_of(q, 1).mean(0))
            parent = q.sample()
        return self.joined(means)

    def joined(self, parts: list[Tensor]) -> Tensor:
        """The event, from the layers' latents in the order of drawing."""
        return torch.cat(parts[::-1] if self.downwards else parts, dim=-1)


def _drawn(q: Distribution, shape: Size) -> Tensor:
    return q.rsample(shape) if q.has_rsample else q.sample(shape)


class ChainPosterior(Posterior):
    """q(z1, ..., zL | x) = q(z1 | x) q(z2 | z1) ... q(zL | zL-1), all of one family."""

    def __init__(self, first: Posterior, links: Iterable[Link]) -> None:
        links = list(links)
        super().__init__(first.D + sum(link.family.D for link in links))
        self.first, self.links, self.size = first, nn.ModuleList(links), first.size

    def distribution(self, parameters: Tensor) -> Distribution:
        """The encoder gives the parameters of q(z1 | x); the links do the rest."""
        return Chain(self.first.distribution(parameters), [*self.links])


class ChainPrior(nn.Module):
    """p(z1, ..., zL) = p(zL) p(zL-1 | zL) ... p(z1 | z2), the last layer with a prior of any family."""

    def __init__(self, last: nn.Module, links: Iterable[Link]) -> None:
        super().__init__()
        self.last, self.links = last, nn.ModuleList(links)

    def forward(self, posterior: Encode) -> Distribution:
        """p(z), event [D]."""
        return Chain(self.last(posterior), [*self.links], downwards=True)
