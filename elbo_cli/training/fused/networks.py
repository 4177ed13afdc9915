"""Which models and objectives the fused step is for, and their layers."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from elbo_cli.models.likelihoods import Bernoulli
from elbo_cli.models.perceptrons import Flat
from elbo_cli.models.posteriors import DiagonalNormal
from elbo_cli.models.priors import StandardNormal
from elbo_cli.models.vae import VAE
from elbo_cli.training.experiment import Objective
from elbo_cli.training.fused.activations import ACTIVATIONS
from elbo_cli.training.fused.dense import Layer, Network
from elbo_cli.training.fused.latents import BACK

CONTAINERS = (Flat, nn.Sequential)  # modules that do nothing but what is in them


def fits(model: nn.Module, trained: Sequence[Tensor], objective: Objective) -> bool:
    """Whether the fused step trains this: a VAE of multilayer perceptrons with the customary families, on the CPU."""
    if type(model) is not VAE:
        return False
    families = (
        type(model.family) is DiagonalNormal
        and type(model.latent) is StandardNormal
        and type(model.visible) is Bernoulli
    )
    climbs = (objective.bound, objective.gradient) in BACK and not objective.free_bits
    networks = perceptron(model.encoder) and perceptron(model.decoder)
    return families and climbs and networks and _all_of(model, trained)


def _all_of(model: nn.Module, trained: Sequence[Tensor]) -> bool:
    alike = all(p.dtype == torch.float32 and p.device.type == "cpu" for p in trained)
    return alike and {id(p) for p in trained} == {id(p) for p in model.parameters()}


def leaves(net: nn.Module) -> list[nn.Module]:
    """The modules that do the work, in order."""
    found = [module for module in net.modules() if type(module) not in CONTAINERS]
    return [module for module in found if type(module) is not nn.Flatten]


def perceptron(net: nn.Module) -> bool:
    """Whether a network is linear layers with one known activation between them, and nothing else."""
    linear, between = leaves(net)[0::2], leaves(net)[1::2]
    return (
        len(linear) == len(between) + 1
        and all(type(layer) is nn.Linear and layer.bias is not None for layer in linear)
        and len({type(module) for module in between}) <= 1
        and all(type(module) in ACTIVATIONS for module in between)
    )


def network(net: nn.Module, gradients: Mapping[Tensor, Tensor]) -> Network:
    """The layers of a perceptron, with the places of their gradients by parameter."""
    parts = leaves(net)
    layers = [
        Layer(part.weight.detach(), part.bias.detach(), gradients[part.weight], gradients[part.bias])
        for part in parts
        if isinstance(part, nn.Linear)
    ]
    return Network(layers, ACTIVATIONS[type(parts[1]) if len(parts) > 1 else nn.Tanh])
