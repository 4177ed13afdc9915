"""A multilayer perceptron by hand, for a fixed number of rows."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from elbo_cli.training.fused.activations import Activation


@dataclass(frozen=True, slots=True)
class Layer:
    """A = h W' + b: weights [outputs, inputs] and bias [outputs], with where their gradients go."""

    weight: Tensor
    bias: Tensor
    weight_gradient: Tensor
    bias_gradient: Tensor


@dataclass(frozen=True, slots=True)
class Network:
    """Layers from the inputs on, and the activation between them."""

    layers: Sequence[Layer]
    activation: Activation


class Bench:
    """A layer with its buffers for R rows: a (times the activation's scale), h and delta; and what is transposed."""

    def __init__(self, layer: Layer, rows: int, scale: float, delta: Tensor | None = None) -> None:
        self.layer, self.turned, self.scale = layer, layer.weight.t(), scale
        self.a, self.h = (layer.bias.new_empty(rows, len(layer.bias)) for _ in range(2))
        self.delta = torch.empty_like(self.a) if delta is None else delta
        self.delta_turned = self.delta.t()


class Dense:
    r"""h_i = f(a_i), a_i = h_(i-1) W_i' + b_i; the last layer without f.

    Backwards, from delta_i = dL/da_i of every row:

        dL/dW_i = delta_i' h_(i-1),   dL/db_i = delta_i' 1,   delta_(i-1) = (delta_i W_i) f'(a_(i-1))

    Every view is made once: at batch 20 a view costs as much as a small kernel.

    Args:
        network: layers and f.
        rows: R, for which the buffers are made.
        share: what a row's gradient counts: 1 / R for a mean over rows.
        delta: where the gradient of the outputs [R, outputs] will be found; a buffer of its own, if not given.
    """

    def __init__(self, network: Network, rows: int, share: float, delta: Tensor | None = None) -> None:
        self.activation, self.share = network.activation, share
        *inner, last = network.layers
        self.benches = [Bench(layer, rows, self.activation.scale) for layer in inner]
        self.benches.append(Bench(last, rows, 1.0, delta))
        self.outputs, self.delta = self.benches[-1].a, self.benches[-1].delta
        self.shares = self.outputs.new_full((rows,), share)

    def forward(self, x: Tensor) -> Tensor:
        """The outputs [R, outputs] for x [R, inputs], in a buffer of the network's own."""
        h, last = x, self.benches[-1]
        for bench in self.benches:
            torch.addmm(bench.layer.bias, h, bench.turned, beta=bench.scale, alpha=bench.scale, out=bench.a)
            if bench is not last:
                h = bench.h
                self.activation.forward(bench.a, h)
        return self.outputs

    def backward(self, x: Tensor, inward: Tensor | None = None) -> None:
        """Write the gradients of all weights, from `delta` [R, outputs]; and dL/dx to `inward`, if that is wanted."""
        after = self.benches[-1]
        for before in self.benches[-2::-1]:
            self._learn(after, before.h)
            torch.mm(after.delta, after.layer.weight, out=before.delta)
            self.activation.backward(before.delta, before.a, before.h)
            after = before
        self._learn(after, x)
        if inward is not None:
            torch.mm(after.delta, after.layer.weight, out=inward)

    def _learn(self, bench: Bench, h: Tensor) -> None:
        gradient = bench.layer.weight_gradient
        torch.addmm(gradient, bench.delta_turned, h, beta=0, alpha=self.share, out=gradient)
        torch.mv(bench.delta_turned, self.shares, out=bench.layer.bias_gradient)
