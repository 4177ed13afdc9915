"""Fully connected networks, plain and residual, over rows of any batch shape."""

import math
from collections.abc import Callable, Sequence

from torch import Tensor, nn

from elbo_cli.errors import UserError
from elbo_cli.models.architecture import Architecture


def mlp(inputs: int, architecture: Architecture, outputs: int) -> nn.Sequential:
    """A multilayer perceptron; with no hidden layers, a linear map."""
    layers: list[nn.Module] = []
    for width in architecture.hidden:
        layers += [architecture.weigh(nn.Linear(inputs, width)), *architecture.activate(width)]
        inputs = width
    return nn.Sequential(*layers, nn.Linear(inputs, outputs))


class Residual(nn.Module):
    """h + f(h), the sum of two ways from one layer to the next: He et al. (2016), with their activations ahead."""

    def __init__(self, across: nn.Module, around: nn.Module) -> None:
        super().__init__()
        self.across, self.around = across, around

    def forward(self, h: Tensor) -> Tensor:
        """Both ways end in one shape."""
        return self.around(h) + self.across(h)  # type: ignore[no-any-return]


def res_mlp(inputs: int, architecture: Architecture, outputs: int) -> nn.Sequential:
    """A residual perceptron: a linear map to the first width, a block of two layers for each width, a linear map.

    Raises:
        UserError: there are no hidden layers, and so no block.
    """
    if not architecture.hidden:
        raise UserError("A res_mlp network of no hidden layers has no block: give hidden a size, or use kind: mlp.")
    width, weigh = architecture.hidden[0], architecture.weigh
    layers: list[nn.Module] = [nn.Linear(inputs, width)]
    for wider in architecture.hidden:
        first, second = weigh(nn.Linear(width, wider)), weigh(nn.Linear(wider, wider))
        across = nn.Sequential(*architecture.activate(width), first, *architecture.activate(wider), second)
        layers.append(Residual(across, nn.Identity() if wider == width else nn.Linear(width, wider, bias=False)))
        width = wider
    return nn.Sequential(*layers, *architecture.activate(width), nn.Linear(width, outputs))


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


Body = Callable[[int, Architecture, int], nn.Sequential]


def mlp_encoder(shape: Sequence[int], architecture: Architecture, outputs: int, body: Body = mlp) -> nn.Module:
    """Data [..., *shape] to [..., outputs] through a perceptron."""
    return Flat(nn.Sequential(nn.Flatten(), body(math.prod(shape), architecture, outputs)), shape, [outputs])


def mlp_decoder(inputs: int, architecture: Architecture, shape: Sequence[int], body: Body = mlp) -> nn.Module:
    """Latents [..., inputs] to [..., *shape] through a perceptron."""
    return Flat(body(inputs, architecture, math.prod(shape)), [inputs], shape)


class Lowest(nn.Module):
    """A decoder that sees the first latents alone: p(x | z1, ..., zL) = p(x | z1)."""

    def __init__(self, net: nn.Module, sizes: Sequence[int]) -> None:
        super().__init__()
        self.net, self.sizes = net, tuple(sizes)

    def forward(self, z: Tensor) -> Tensor:
        """Parameters of the likelihood for z [..., D1 + ... + DL]."""
        return self.net(z[..., : self.sizes[0]])  # type: ignore[no-any-return]
