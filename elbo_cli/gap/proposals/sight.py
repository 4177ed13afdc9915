"""log p(x, z) seen from points z: its value, its slope and its Gauss-Newton curvature, by hand where that can be."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from elbo_cli.bounds.draws import LatentVariableModel, log_joint
from elbo_cli.gap.proposals.fisher import metric, score
from elbo_cli.gap.proposals.jacobian import jacobian
from elbo_cli.models.plain import Layer
from elbo_cli.models.vae import VAE

PIXELS = 192  # that curvature looks at, or a quarter where that is more: those that say most of z


class View(Protocol):
    """What is seen from z [S, N, D]."""

    @property
    def value(self) -> Tensor:
        """log p(x, z), [S, N]."""
        ...

    @property
    def slope(self) -> Tensor:
        """d log p(x, z) / dz, [S, N, D]."""
        ...

    def information(self, latents: Tensor, first: int) -> Tensor:
        """The mean of J' F J over the first so many of the S points, for latents a [A] alone, [N, A, A]."""
        ...


class Sight(Protocol):
    """Data x [N, ...] and the model that they are looked at through."""

    def look(self, z: Tensor) -> View:
        """What is seen from z [S, N, D]."""
        ...

    def narrow(self, view: View) -> None:
        """From now on look for curvature only where this view has most of it; a proposal may, a bound may not."""
        ...


def sight(model: LatentVariableModel, x: Tensor) -> Sight:
    """By hand for a plain decoder and a likelihood whose score is known, else by automatic differentiation."""
    if isinstance(model, VAE):
        layers = model.eta_layers()
        if layers is not None and score(model.visible.distribution(_outputs(model, layers)), x[:1]) is not None:
            return PlainSight(model, layers, x)
    return AnySight(model, x)


def _outputs(model: VAE, layers: Sequence[Layer]) -> Tensor:
    """Outputs of the decoder for one datum, all zero: what its likelihood's family can be read off."""
    return layers[-1].bias.new_zeros(1, model.visible.outputs, *model.visible.shape)


class AnySight:
    """Of any model: reverse mode for the slope, forward mode for the Jacobian."""

    def __init__(self, model: LatentVariableModel, x: Tensor) -> None:
        self.model, self.x = model, x

    def look(self, z: Tensor) -> "AnyView":
        """What is seen from z [S, N, D]."""
        return AnyView(self.model, z, *value_and_slope(self.model, self.x, z))

    def narrow(self, view: View) -> None:
        """All pixels are looked at: which they are is not known here."""


@dataclass(frozen=True, slots=True)
class AnyView:
    """What is seen from z; curvature is computed when it is asked for."""

    model: LatentVariableModel
    z: Tensor
    value: Tensor
    slope: Tensor

    def information(self, latents: Tensor, first: int) -> Tensor:
        """The mean of J' F J over the first so many points, [N, A, A]."""
        S, N = min(first, len(self.z)), self.z.shape[1]
        J, f = jacobian(self.model, self.z[:S].reshape(S * N, -1), latents)
        rooted = (J * f.sqrt()).transpose(0, 1)
        return (rooted @ rooted.mT).view(S, N, len(latents), len(latents)).mean(0)


def value_and_slope(model: LatentVariableModel, x: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
    """log p(x, z), [S, N], and its gradient d log p(x, z) / dz, [S, N, D], at z [S, N, D]."""
    with torch.enable_grad():
        z = z.detach().requires_grad_()
        log_px_z, log_pz = log_joint(model, x, z)
        value = log_px_z + log_pz
        (slope,) = torch.autograd.grad(value.sum(), z)
    return value.detach(), slope


def feels(model: LatentVariableModel, x: Tensor, z: Tensor) -> bool:
    """Whether log p(x | z) has a gradient by z [N, D]: a decoder may detach, or pass through numpy."""
    with torch.enable_grad():
        z = z.detach().requires_grad_()
        try:
            value = model.likelihood(z).log_prob(x).sum()
            return value.requires_grad and torch.autograd.grad(value, z, allow_unused=True)[0] is not None
        except (RuntimeError, TypeError):  # what torch raises where it cannot follow
            return False


class PlainSight:
    """Of a VAE with a plain decoder: one pass forth and one back, and curvature from what they left."""

    def __init__(self, model: VAE, layers: Sequence[Layer], x: Tensor) -> None:
        self.model, self.layers, self.x = model, layers, x
        self.last = layers[-1].weight  # [P, H] for all data, or [N, P', H] of each datum's own pixels
        self.pixels: Tensor | None = None  # [N, P']
        self.share: Tensor | None = None  # [N], of the information of all pixels that is in those

    def look(self, z: Tensor) -> "PlainView":
        """What is seen from z [S, N, D]."""
        h, slopes = z, []
        for layer in self.layers:
            h, slope = layer.value_and_slope(h)
            slopes += [] if slope is None else [slope]
        outputs = h.view(*z.shape[:-1], self.model.visible.outputs, *self.x.shape[1:])
        back = score(self.model.visible.distribution(outputs), self.x)
        assert back is not None
        for i in range(len(slopes), 0, -1):
            back = (back @ self.layers[i].weight) * slopes[i - 1]
        log_pz, slope_of_prior = self._prior(z)
        return PlainView(self, back @ self.layers[0].weight + slope_of_prior, log_pz, slopes, outputs)

    def _prior(self, z: Tensor) -> tuple[Tensor, Tensor]:
        with torch.enable_grad():
            z = z.detach().requires_grad_()
            log_pz = self.model.prior().log_prob(z)
            (slope,) = torch.autograd.grad(log_pz.sum(), z)
        return log_pz.detach(), slope

    def narrow(self, view: View) -> None:
        """Keep the pixels that this view has most information from: f times the squared length of their weights."""
        assert isinstance(view, PlainView)
        weight = self.layers[-1].weight
        said = view.fisher(len(view.outputs)).mean(0) * weight.square().sum(1)
        most = max(PIXELS, said.shape[1] // 4)
        if said.shape[1] > most:
            kept, self.pixels = said.topk(most, dim=1)
            rows = weight.index_select(0, self.pixels.flatten())  # whole rows: six times as fast as weight[pixels]
            self.last, self.share = rows.view(*self.pixels.shape, -1), (kept.sum(1) / said.sum(1)).nan_to_num(1.0)


@dataclass(frozen=True, slots=True)
class PlainView:
    """What is seen from z, with what the decoder's layers were there."""

    sight: PlainSight
    slope: Tensor  # [S, N, D]
    log_pz: Tensor  # [S, N]
    slopes: list[Tensor]  # of each hidden layer's function, [S, N, H]
    outputs: Tensor  # [S, N, outputs, ...]

    @property
    def value(self) -> Tensor:
        """log p(x, z), [S, N]."""
        return self.sight.model.visible.distribution(self.outputs).log_prob(self.sight.x) + self.log_pz

    def fisher(self, first: int) -> Tensor:
        """Fisher's information of every pixel at the first points, [S', N, P]."""
        return metric(self.sight.model.visible.distribution(self.outputs[:first]))[1]

    def information(self, latents: Tensor, first: int) -> Tensor:
        """The mean of J' F J over the first so many points, [N, A, A]."""
        sight, N = self.sight, self.slope.shape[1]
        tangent = torch.eye(self.slope.shape[-1], dtype=self.slope.dtype, device=self.slope.device)[latents]
        for slope, layer in zip(self.slopes, sight.layers, strict=False):  # [A, D]: the same for all data, so far
            along = (tangent.flatten(0, -2) @ layer.weight.T).view(*tangent.shape[:-1], len(layer.weight))
            tangent = along * _mine(slope[:first])
        tangent = tangent.expand(N, -1, -1, -1) if self.slopes else tangent.expand(N, 1, -1, -1)  # [N, S', A, H]
        f = self.fisher(first) if sight.pixels is None else self._seen(first)
        eta = (tangent.flatten(1, 2) @ sight.last.mT).view(*tangent.shape[:-1], sight.last.shape[-2])  # [N, S', A, P]
        rooted = eta * _mine(f).sqrt()
        information = (rooted @ rooted.mT).mean(1)
        return information if sight.share is None else information / sight.share[:, None, None]

    def _seen(self, first: int) -> Tensor:
        """Fisher's information of the pixels that are looked at, [S', N, P']."""
        pixels = self.sight.pixels
        assert pixels is not None
        f = self.fisher(first)
        return f.gather(2, pixels.expand(len(f), -1, -1))


def _mine(of_all: Tensor) -> Tensor:
    """[S, N, ...] with the datum as the first axis, and one for the latents: [N, S, 1, ...]."""
    return of_all.transpose(0, 1).contiguous().unsqueeze(2)
