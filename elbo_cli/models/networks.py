"""Encoders and decoders by kind: data to features, latents to the parameters of a likelihood; and how they start."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import nn
from torch.nn.utils.parametrize import is_parametrized

from elbo_cli.models.architecture import Architecture
from elbo_cli.models.convolutions import conv_decoder, conv_encoder, res_conv_decoder, res_conv_encoder
from elbo_cli.models.perceptrons import mlp_decoder, mlp_encoder, res_mlp


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of network: how its encoder and its decoder are made."""

    encoder: Callable[[Sequence[int], Architecture, int], nn.Module]
    decoder: Callable[[int, Architecture, Sequence[int]], nn.Module]


KINDS: dict[str, Kind] = {
    "mlp": Kind(mlp_encoder, mlp_decoder),
    "conv": Kind(conv_encoder, conv_decoder),
    "res_mlp": Kind(partial(mlp_encoder, body=res_mlp), partial(mlp_decoder, body=res_mlp)),
    "res_conv": Kind(res_conv_encoder, res_conv_decoder),
}


def last_linear(net: nn.Module) -> nn.Linear | nn.Conv2d | nn.ConvTranspose2d:
    """The layer that a network ends in: its bias is where the likelihood's parameters start."""
    layers = [m for m in net.modules() if isinstance(m, nn.Linear | nn.Conv2d | nn.ConvTranspose2d)]
    return layers[-1]


def glorot(net: nn.Module) -> None:
    """Glorot and Bengio (2010) uniform weights and zero biases, as Burda et al. (2016) start from."""
    for layer in net.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
            # a weight that is made of others is set by assignment, which torch turns into theirs
            weight = nn.init.xavier_uniform_(torch.empty_like(layer.weight))
            layer.weight = weight if is_parametrized(layer, "weight") else nn.Parameter(weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def torch_default(net: nn.Module) -> None:
    """Leave the weights as torch made them (Kaiming uniform)."""


INITS: dict[str, Callable[[nn.Module], None]] = {"glorot": glorot, "torch": torch_default}
