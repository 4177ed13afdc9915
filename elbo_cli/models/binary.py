r"""log p(x | z) of binary pixels behind a plain decoder, without its gradient: the work of importance sampling.

Nothing but the matrix products should be seen in a profile. So

    log p(x | z) = -sum_j log(1 + exp(s_j l_j)),    s = 1 - 2 x

takes one exponential for each pixel and one logarithm for eight of them: with e = exp(s l) a product of (1 + e) is
built up as (1 + a)(1 + b) - 1 = a + b + a b, so that no small e is lost beside the 1, and every term keeps its sign:
x l - softplus(l), with x folded into the last layer, would save a pass and cancel where a pixel is all but certain.
A product beyond the range of its type (88 nats of surprise in eight pixels, in float32) is found by its infinity, and
its row is computed again without products. tanh a = 2 sigmoid(2 a) - 1 and exp a = 2^(a / ln 2), because torch is two
to six times as fast at these; the constants go into the weights.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from elbo_cli.models.plain import Layer

ROWS = 512  # decoder rows at once: their logits stay in the cache
GROUP = 8  # pixels to a logarithm


@dataclass(frozen=True, slots=True)
class Folded:
    """A layer with constants in its weights: in the place of tanh(a), sigmoid(2 a)."""

    weight: Tensor  # [inputs, outputs]
    bias: Tensor
    function: Callable[[Tensor], Tensor] | None

    def __call__(self, h: Tensor) -> Tensor:
        """The layer's outputs at h [rows, inputs], [rows, outputs]."""
        a = torch.addmm(self.bias, h, self.weight)
        return a if self.function is None else self.function(a)


def folded(layers: Sequence[Layer]) -> tuple[Folded, ...]:
    """The same decoder, its last outputs in units of ln 2 and padded to whole groups with logits of -inf."""
    done, scale, shift = [], 1.0, 0.0  # what the layer before gives is scale * h + shift
    for layer in layers:
        weight, bias = scale * layer.weight, layer.bias + shift * layer.weight.sum(1)
        scale, shift = 1.0, 0.0
        if isinstance(layer.function, nn.Tanh):
            done.append(Folded((2 * weight).T.contiguous(), 2 * bias, torch.sigmoid_))
            scale, shift = 2.0, -1.0
        else:
            done.append(Folded(weight.T.contiguous(), bias, layer.function))
    last, missing = done.pop(), -len(layers[-1].bias) % GROUP
    weight = torch.nn.functional.pad(last.weight / math.log(2), (0, missing))
    bias = torch.nn.functional.pad(last.bias / math.log(2), (0, missing), value=-torch.inf)
    return (*done, Folded(weight, bias, None))


def log_likelihood(
    layers: Sequence[Layer], x: Tensor, exact: Callable[[Tensor, Tensor], Tensor]
) -> Callable[[Tensor], Tensor]:
    """log p(x | z) in nats, [K, N], of x [N, ...] as a function of z [K, N, D]: the decoder is folded once.

    Args:
        layers: of the decoder, whose last outputs are the logits of the pixels.
        x: pixels in {0, 1}, [N, ...].
        exact: log p(x | z) [M] for rows x [M, ...] and z [M, D] of which a product left the range of its type.
    """
    net = folded(layers)
    s = torch.nn.functional.pad(1 - 2 * x.flatten(1).to(net[-1].bias.dtype), (0, -x[0].numel() % GROUP), value=1.0)

    def log_px_z(z: Tensor) -> Tensor:
        log_p = torch.cat([_piece(net, s, piece) for piece in torch.split(z, max(1, ROWS // len(x)))])
        for lost in torch.split((~log_p.isfinite()).nonzero(), ROWS):
            k, n = lost.unbind(1)
            log_p[k, n] = exact(x[n], z[k, n])
        return log_p

    return log_px_z


def _piece(net: Sequence[Folded], s: Tensor, z: Tensor) -> Tensor:
    """-sum_j log(1 + exp(s_j l_j)) for z [k, N, D], [k, N]; not finite where a product was too large."""
    h = z.reshape(-1, z.shape[-1])
    for layer in net:
        h = layer(h)
    e = h.view(*z.shape[:-1], -1).mul_(s).exp2_().view(*z.shape[:-1], GROUP, -1)
    half = GROUP // 2
    while half:
        a, b = e[..., :half, :], e[..., half : 2 * half, :]
        a.addcmul_(a, b).add_(b)
        half //= 2
    return -e[..., 0, :].log1p().sum(-1)
