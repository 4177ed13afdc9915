"""How a likelihood moves with z: J = d eta / d z, by hand through an MLP, by forward mode through all else."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.func import jvp, vmap

from elbo_cli.bounds.draws import LatentVariableModel
from elbo_cli.gap.proposals.fisher import metric
from elbo_cli.models.plain import Layer


@torch.no_grad()
def jacobian(model: LatentVariableModel, z: Tensor, latents: Tensor) -> tuple[Tensor, Tensor]:
    """J = d eta / d z_a for some latents a [A], [A, N, P], and the Fisher information f, [N, P], at z [N, D].

    eta are the coordinates of `fisher.metric`. A tangents go through the decoder beside its values.
    """
    basis = torch.eye(z.shape[-1], dtype=z.dtype, device=z.device)[latents]

    def eta(z: Tensor) -> tuple[Tensor, Tensor]:
        return metric(model.likelihood(z))

    if not len(basis):  # no latent is felt: there is nothing to map over
        at, f = eta(z)
        return at.new_zeros(0, *at.shape), f
    return along(eta, z, basis)


@torch.no_grad()
def by_hand(layers: Sequence[Layer], z: Tensor, basis: Tensor) -> tuple[Tensor, Tensor]:
    """Outputs [N, P] of plain layers at z [N, D], and their derivatives along the rows of basis [A, D], [A, N, P]."""
    h, tangent = z, basis.unsqueeze(1)  # [A, 1, D]: the same for all data, so far
    for layer in layers:
        h, slope = layer.value_and_slope(h)
        tangent = tangent @ layer.weight.mT if slope is None else tangent @ layer.weight.mT * slope
    return h, tangent.expand(len(basis), len(z), -1)


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
