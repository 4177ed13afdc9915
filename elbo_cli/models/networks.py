"""Encoders and decoders: data to features, latents to the parameters of a likelihood."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from torch import Tensor, nn

from elbo_cli.errors import UserError, choose

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "tanh": nn.Tanh,
    "relu": nn.ReLU,
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "softplus": nn.Softplus,
    "leaky_relu": nn.LeakyReLU,
}


@dataclass(frozen=True, slots=True)
class Architecture:
    """What a network is made of: its kind, the widths of its layers, its activation and normalisation."""

    kind: str = "mlp"
    hidden: Sequence[int] = (200, 200)
    channels: Sequence[int] = (32, 64)
    activation: str = "tanh"
    norm: str = "none"
    modules: Callable[[], nn.Module] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "modules", choose(ACTIVATIONS, self.activation, "activation"))

    def activate(self, width: int) -> list[nn.Module]:
        """The normalisation and the activation behind a layer; `width` counts its outputs (channels, for a picture).

        Raises:
            UserError: a layer of one unit is to be normalised: there is nothing left of it then.
        """
        if self.norm == "layer" and width == 1:
            raise UserError("norm: layer makes a layer of one unit constant. Give it two or more, or type norm: none.")
        norms: dict[str, list[nn.Module]] = {"none": [], "layer": [nn.GroupNorm(1, width)]}
        return [*choose(norms, self.norm, "normalisation"), self.modules()]


def mlp(inputs: int, architecture: Architecture, outputs: int) -> nn.Sequential:
    """A multilayer perceptron; with no hidden layers, a linear map."""
    layers: list[nn.Module] = []
    for width in architecture.hidden:
        layers += [nn.Linear(inputs, width), *architecture.activate(width)]
        inputs = width
    return nn.Sequential(*layers, nn.Linear(inputs, outputs))


class Flat(nn.Module):
    """A network over rows [M, inputs], applied to any batch shape [..., inputs]."""

    def __init__(self, net: nn.Module, inputs: Sequence[int], outputs: Sequence[int]) -> None:
        super().__init__()
        self.net, self.inputs, self.outputs = net, tuple(inputs), tuple(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Map x [..., *inputs] to [..., *outputs]."""
        batch = x.shape[: x.dim() - len(self.inputs)]
        rows = x.reshape(batch.numel(), *self.inputs)  # not -1, which is ambiguous where there are none
        return self.net(rows).reshape(*batch, *self.outputs)  # type: ignore[no-any-return]


def _sides(shape: Sequence[int], layers: int) -> list[tuple[int, int]]:
    """Height and width of a picture before and after each stride-2 convolution (kernel 3, padding 1)."""
    sides = [(shape[1], shape[2])]
    for _ in range(layers):
        height, width = sides[-1]
        sides.append(((height + 1) // 2, (width + 1) // 2))
    return sides


def _picture(shape: Sequence[int], kind: str) -> None:
    if len(shape) != 3:
        found = " x ".join(map(str, shape))
        raise UserError(
            f"A {kind} network needs pictures (channels x height x width), and a datum here is {found}: use kind: mlp."
        )


def mlp_encoder(shape: Sequence[int], architecture: Architecture, outputs: int) -> nn.Module:
    """Data [..., *shape] to [..., outputs] through a multilayer perceptron."""
    pixels = math.prod(shape)
    return Flat(nn.Sequential(nn.Flatten(), mlp(pixels, architecture, outputs)), shape, [outputs])


def mlp_decoder(inputs: int, architecture: Architecture, shape: Sequence[int]) -> nn.Module:
    """Latents [..., inputs] to [..., *shape] through a multilayer perceptron."""
    return Flat(mlp(inputs, architecture, math.prod(shape)), [inputs], shape)


def conv_encoder(shape: Sequence[int], architecture: Architecture, outputs: int) -> nn.Module:
    """Pictures [..., C, H, W] to [..., outputs]: stride-2 convolutions, then a multilayer perceptron."""
    _picture(shape, "conv")
    layers: list[nn.Module] = []
    channels = shape[0]
    for width in architecture.channels:
        layers += [nn.Conv2d(channels, width, 3, stride=2, padding=1), *architecture.activate(width)]
        channels = width
    height, width = _sides(shape, len(architecture.channels))[-1]
    return Flat(
        nn.Sequential(*layers, nn.Flatten(), mlp(channels * height * width, architecture, outputs)), shape, [outputs]
    )


def conv_decoder(inputs: int, architecture: Architecture, shape: Sequence[int]) -> nn.Module:
    """Latents [..., inputs] to [..., *shape], shape = [P, C, H, W]: the mirror of `conv_encoder`."""
    _picture(shape[1:], "conv")
    sides = _sides(shape[1:], len(architecture.channels))[::-1]
    widths = [*reversed(architecture.channels), shape[0] * shape[1]]
    (height, width), *larger = sides
    layers: list[nn.Module] = [
        mlp(inputs, architecture, widths[0] * height * width),
        nn.Unflatten(1, (widths[0], height, width)),
    ]
    for (channels, wider), after in zip(pairwise(widths), larger, strict=True):
        # a stride-2 convolution halves rounding up: the padding says whether the side was even
        padding = (1 - after[0] % 2, 1 - after[1] % 2)
        transposed = nn.ConvTranspose2d(channels, wider, 3, stride=2, padding=1, output_padding=padding)
        layers += [*architecture.activate(channels), transposed]
    return Flat(nn.Sequential(*layers), [inputs], shape)


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of network: how its encoder and its decoder are made."""

    encoder: Callable[[Sequence[int], Architecture, int], nn.Module]
    decoder: Callable[[int, Architecture, Sequence[int]], nn.Module]


KINDS: dict[str, Kind] = {
    "mlp": Kind(mlp_encoder, mlp_decoder),
    "conv": Kind(conv_encoder, conv_decoder),
}


def last_linear(net: nn.Module) -> nn.Linear | nn.ConvTranspose2d:
    """The layer that a network ends in: its bias is where the likelihood's parameters start."""
    layers = [m for m in net.modules() if isinstance(m, nn.Linear | nn.ConvTranspose2d)]
    return layers[-1]


def glorot(net: nn.Module) -> None:
    """Glorot and Bengio (2010) uniform weights and zero biases, as Burda et al. (2016) start from."""
    for layer in net.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
            nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def torch_default(net: nn.Module) -> None:
    """Leave the weights as torch made them (Kaiming uniform)."""


INITS: dict[str, Callable[[nn.Module], None]] = {"glorot": glorot, "torch": torch_default}
