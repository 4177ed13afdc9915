"""Convolutional networks for pictures, plain and residual: each layer halves the sides, or doubles them."""

from collections.abc import Sequence
from itertools import pairwise

from torch import nn

from elbo_cli.errors import UserError
from elbo_cli.models.architecture import Architecture
from elbo_cli.models.perceptrons import Flat, Residual, mlp


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


def conv_encoder(shape: Sequence[int], architecture: Architecture, outputs: int) -> nn.Module:
    """Pictures [..., C, H, W] to [..., outputs]: stride-2 convolutions, then a multilayer perceptron."""
    _picture(shape, "conv")
    layers: list[nn.Module] = []
    channels = shape[0]
    for width in architecture.channels:
        halving = nn.Conv2d(channels, width, 3, stride=2, padding=1)
        layers += [architecture.weigh(halving), *architecture.activate(width)]
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
    layers, larger = _unfolded(inputs, architecture, widths[0], sides), sides[1:]
    for (channels, wider), after in zip(pairwise(widths), larger, strict=True):
        # a stride-2 convolution halves rounding up: the padding says whether the side was even
        padding = (1 - after[0] % 2, 1 - after[1] % 2)
        transposed = nn.ConvTranspose2d(channels, wider, 3, stride=2, padding=1, output_padding=padding)
        layers += [*architecture.activate(channels), transposed]
    return Flat(nn.Sequential(*layers), [inputs], shape)


def _unfolded(
    inputs: int, architecture: Architecture, channels: int, sides: Sequence[tuple[int, int]]
) -> list[nn.Module]:
    """A perceptron to the smallest of the pictures."""
    height, width = sides[0]
    return [mlp(inputs, architecture, channels * height * width), nn.Unflatten(1, (channels, height, width))]


def res_conv_encoder(shape: Sequence[int], architecture: Architecture, outputs: int) -> nn.Module:
    """Pictures [..., C, H, W] to [..., outputs]: residual blocks that halve the sides, then a perceptron."""
    _picture(shape, "res_conv")
    first, *_ = architecture.channels or [shape[0]]
    layers: list[nn.Module] = [nn.Conv2d(shape[0], first, 3, padding=1)]
    channels = first
    for width in architecture.channels:
        halving, second = (nn.Conv2d(n, width, 3, stride, 1) for n, stride in ((channels, 2), (width, 1)))
        layers.append(_block(architecture, channels, width, halving, second, nn.Conv2d(channels, width, 1, 2)))
        channels = width
    height, width = _sides(shape, len(architecture.channels))[-1]
    head = mlp(channels * height * width, architecture, outputs)
    return Flat(nn.Sequential(*layers, *architecture.activate(channels), nn.Flatten(), head), shape, [outputs])


def res_conv_decoder(inputs: int, architecture: Architecture, shape: Sequence[int]) -> nn.Module:
    """Latents [..., inputs] to [..., *shape], shape = [P, C, H, W]: the mirror of `res_conv_encoder`."""
    _picture(shape[1:], "res_conv")
    sides = _sides(shape[1:], len(architecture.channels))[::-1]
    widths = [*reversed(architecture.channels)] or [shape[0] * shape[1]]
    layers = _unfolded(inputs, architecture, widths[0], sides)
    deep = len(architecture.channels)
    for channels, wider, after in zip(widths[:deep], [*widths[1:], widths[-1]][:deep], sides[1:], strict=True):
        padding = (1 - after[0] % 2, 1 - after[1] % 2)
        doubling = nn.ConvTranspose2d(channels, wider, 3, stride=2, padding=1, output_padding=padding)
        around = nn.Sequential(nn.Upsample(after), nn.Conv2d(channels, wider, 1))
        layers.append(_block(architecture, channels, wider, doubling, nn.Conv2d(wider, wider, 3, padding=1), around))
    last = nn.Conv2d(widths[-1], shape[0] * shape[1], 3, padding=1)
    return Flat(nn.Sequential(*layers, *architecture.activate(widths[-1]), last), [inputs], shape)


def _block(
    architecture: Architecture, channels: int, width: int, first: nn.Module, second: nn.Module, around: nn.Module
) -> Residual:
    """Two convolutions, each behind its normalisation and activation, beside a way around them."""
    before, between = architecture.activate(channels), architecture.activate(width)
    across = nn.Sequential(*before, architecture.weigh(first), *between, architecture.weigh(second))
    return Residual(across, around)
