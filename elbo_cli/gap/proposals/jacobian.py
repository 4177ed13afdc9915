"""How a likelihood moves with z: J = d eta / d z, by hand through an MLP, by forward mode through all else."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.func import jvp, vmap

from elbo_cli.bounds.draws import LatentVariableModel
from elbo_cli.gap.proposals.fisher import metric
from elbo_cli.models.chain import Lowest
from elbo_cli.models.perceptrons import Flat
from elbo_cli.models.vae import VAE


@torch.no_grad()
def jacobian(model: LatentVariableModel, z: Tensor, latents: Tensor) -> tuple[Tensor, Tensor]:
    """J = d eta / d z_a for some latents a [A], [A, N, P], and the Fisher information f, [N, P], at z [N, D].

    eta are the coordinates of `fisher.metric`. A tangents go through the decoder beside its values.
    """
    basis = torch.eye(z.shape[-1], dtype=z.dtype, device=z.device)[latents]
    decoder = _decoder_of_eta(model)
    layers = None if decoder is None else plain_layers(decoder)
    if layers is None:
        return _forward_mode(model, z, basis)
    _, f = metric(model.likelihood(z))
    return by_hand(layers, z, basis)[1], f


def _decoder_of_eta(model: LatentVariableModel) -> nn.Module | None:
    """The decoder, where its outputs are eta themselves."""
    return model.decoder if isinstance(model, VAE) and model.visible.outputs_are_eta else None


def plain_layers(net: nn.Module) -> Sequence[nn.Module] | None:
    """The layers of a network that is linear maps and elementwise functions alone; `Lowest` may stand before them."""
    if isinstance(net, Lowest):
        inner = plain_layers(net.net)
        return None if inner is None else [Head(net.D), *inner]
    inside = net.net if isinstance(net, Flat) else None
    plain = isinstance(inside, nn.Sequential) and all(isinstance(m, nn.Linear) or _elementwise(m) for m in inside)
    return list(inside) if plain and isinstance(inside, nn.Sequential) else None


class Head(nn.Module):
    """The first D numbers of a row."""

    def __init__(self, D: int) -> None:
        super().__init__()
        self.D = D


def _elementwise(module: nn.Module) -> bool:
    return isinstance(module, nn.Tanh | nn.ReLU | nn.ELU | nn.GELU | nn.SiLU | nn.Softplus | nn.LeakyReLU)


@torch.no_grad()
def by_hand(layers: Sequence[nn.Module], z: Tensor, basis: Tensor) -> tuple[Tensor, Tensor]:
    """Outputs [N, P] of plain layers at z [N, D], and their derivatives along the rows of basis [A, D], [A, N, P]."""
    tangent = basis.unsqueeze(1)  # [A, 1, D]: the same for all data, so far
    h = z
    for layer in layers:
        if isinstance(layer, Head):
            h, tangent = h[..., : layer.D], tangent[..., : layer.D]
        elif isinstance(layer, nn.Linear):
            h, tangent = layer(h), tangent @ layer.weight.mT
        else:
            h, slope = _with_slope(layer, h)
            tangent = tangent * slope
    return h, tangent.expand(len(basis), len(z), -1)


def _with_slope(layer: nn.Module, h: Tensor) -> tuple[Tensor, Tensor]:
    """An elementwise function's value and derivative at h."""
    if isinstance(layer, nn.Tanh):
        value = h.tanh()
        return value, 1 - value.square()
    with torch.enable_grad():
        h = h.detach().requires_grad_()
        value = layer(h)
        (slope,) = torch.autograd.grad(value.sum(), h)
    return value.detach(), slope


def _forward_mode(model: LatentVariableModel, z: Tensor, basis: Tensor) -> tuple[Tensor, Tensor]:
    def eta(z: Tensor) -> tuple[Tensor, Tensor]:
        return metric(model.likelihood(z))

    return along(eta, z, basis)


def along(f: Callable[[Tensor], tuple[Tensor, Tensor]], z: Tensor, basis: Tensor) -> tuple[Tensor, Tensor]:
    """Derivatives of the first value of f at z [N, D] along the rows of basis [A, D], [A, N, ...]; and its second."""

    def tangent(direction: Tensor) -> tuple[Tensor, Tensor]:
        _, slope, rest = jvp(f, (z,), (direction.expand_as(z),), has_aux=True)  # type: ignore[misc]  # torch's stub
        return slope, rest

    with forward_mode():
        return vmap(tangent, out_dims=(0, None))(basis)  # type: ignore[arg-type]  # torch's stub


@contextmanager
def forward_mode() -> Iterator[None]:
    """The first use of forward mode loads a part of torch that torch itself warns of; that is kept from the user."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*torch.jit.*deprecated", category=DeprecationWarning)
        yield
