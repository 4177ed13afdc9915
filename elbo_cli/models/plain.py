"""Decoders that are linear maps with elementwise functions between them: what can be written out by hand."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from elbo_cli.models.perceptrons import Flat, Lowest

ELEMENTWISE = nn.Tanh | nn.ReLU | nn.ELU | nn.GELU | nn.SiLU | nn.Softplus | nn.LeakyReLU


@dataclass(frozen=True, slots=True)
class Layer:
    """A linear map and the elementwise function behind it; none behind the last."""

    weight: Tensor  # [outputs, inputs]
    bias: Tensor  # [outputs]
    function: nn.Module | None

    def value_and_slope(self, h: Tensor) -> tuple[Tensor, Tensor | None]:
        """The layer's outputs at h [..., inputs], and the derivative of its function there; None where it has none."""
        a = torch.nn.functional.linear(h, self.weight, self.bias)
        if self.function is None:
            return a, None
        if isinstance(self.function, nn.Tanh):
            value = 2 * (2 * a).sigmoid_() - 1  # torch's sigmoid is six times as fast as its tanh
            return value, 1 - value.square()
        with torch.enable_grad():
            a = a.detach().requires_grad_()
            value = self.function(a)
            (slope,) = torch.autograd.grad(value.sum(), a)
        return value.detach(), slope


def plain_layers(decoder: nn.Module) -> tuple[Layer, ...] | None:
    """The layers of such a decoder, as they are now; None for any other.

    Of several stochastic layers it is given all latents: to the upper ones its first map has weights of zero.
    """
    if isinstance(decoder, Lowest):
        inner, above = plain_layers(decoder.net), sum(decoder.sizes[1:])
        if inner is None:
            return None
        first, *rest = inner
        return (replace(first, weight=torch.nn.functional.pad(first.weight, (0, above))), *rest)
    net = decoder.net if isinstance(decoder, Flat) else None
    if not isinstance(net, nn.Sequential) or len(net) % 2 == 0:
        return None
    linear = [m for m in list(net)[::2] if isinstance(m, nn.Linear) and m.bias is not None]
    between = [m for m in list(net)[1::2] if isinstance(m, ELEMENTWISE)]
    if len(linear) + len(between) < len(net):
        return None
    pairs = zip(linear, [*between, None], strict=True)
    return tuple(Layer(each.weight.detach(), each.bias.detach(), function) for each, function in pairs)
