"""How a likelihood moves with z: J = d eta / d z, by hand through an MLP, by forward mode through all else."""

import warnings
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.func import jvp, vmap

from elbo_cli.bounds.draws import LatentVariableModel
from elbo_cli.gap.proposals.fisher import metric
from elbo_cli.models.networks import Flat
from elbo_cli.models.vae import VAE


@torch.no_grad()
def jacobian(model: LatentVariableModel, z: Tensor, latents: Tensor) -> tuple[Tensor, Tensor]:
    """J = d eta / d z_a for some latents a [A], [A, N, P], and the Fisher information f, [N, P], at z [N, D].

    eta are the coordinates of `fisher.metric`. A tangents go through the decoder beside its values.
    """
    basis = torch.eye(z.shape[-1], dtype=z.dtype, device=z.device)[latents]
    layers = _plain_layers(model)
    return _forward_mode(model, z, basis) if layers is None else _by_hand(model, layers, z, basis)


def _plain_layers(model: LatentVariableModel) -> Sequence[nn.Module] | None:
    """The decoder's layers where it is linear maps and elementwise functions, and its outputs are eta themselves."""
    if not (isinstance(model, VAE) and model.visible.outputs_are_eta and isinstance(model.decoder, Flat)):
        return None
    net = model.decoder.net
    plain = isinstance(net, nn.Sequential) and all(isinstance(m, nn.Linear) or _elementwise(m) for m in net)
    return list(net) if plain and isinstance(net, nn.Sequential) else None


def _elementwise(module: nn.Module) -> bool:
    return isinstance(module, nn.Tanh | nn.ReLU | nn.ELU | nn.GELU | nn.SiLU | nn.Softplus | nn.LeakyReLU)


def _by_hand(
    model: LatentVariableModel, layers: Sequence[nn.Module], z: Tensor, basis: Tensor
) -> tuple[Tensor, Tensor]:
    tangent = basis.unsqueeze(1)  # [A, 1, D]: the same for all data, so far
    h = z
    for layer in layers:
        if isinstance(layer, nn.Linear):
            h, tangent = layer(h), tangent @ layer.weight.mT
        else:
            h, slope = _with_slope(layer, h)
            tangent = tangent * slope
    _, f = metric(model.likelihood(z))
    return tangent.expand(len(basis), len(z), -1), f


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

    def tangent(direction: Tensor) -> tuple[Tensor, Tensor]:
        _, d_eta, f = jvp(eta, (z,), (direction.expand_as(z),), has_aux=True)  # type: ignore[misc]  # torch's stub
        return d_eta, f

    with warnings.catch_warnings():
        # the first use of forward mode loads a part of torch that torch itself warns of
        warnings.filterwarnings("ignore", message=".*torch.jit.*deprecated", category=DeprecationWarning)
        return vmap(tangent, out_dims=(0, None))(basis)  # type: ignore[arg-type]  # torch's stub
