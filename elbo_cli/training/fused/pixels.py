"""Bernoulli pixels by hand: log p(x | z) and its gradient from one exponential a pixel and one logarithm for eight."""

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

GROUP = 8  # factors to a logarithm


class Pixels:
    r"""With s = 2 x - 1 and p = sigma(s l), the probability of the pixel as it is.

        log p(x | z) = sum log p = sum log prod_8 p,    d(-log p) / dl = s (p - 1)

    Where a product of eight is too small for float32, as only a model far from its data gives it, the logarithm of
    each factor is taken for itself, from its logit.
    """

    def __init__(self, K: int, N: int, width: int, like: Tensor) -> None:
        self.sign, self.minus_one = like.new_empty(N, width), like.new_tensor(-1.0)
        self.logits = like.new_empty(K, N, width)  # times s
        whole = like.new_ones(K, N, -(-width // GROUP) * GROUP)  # probabilities; what pads them is 1
        self.p = whole[..., :width]
        self.halves: list[tuple[Tensor, Tensor, Tensor]] = []
        for _ in range(GROUP.bit_length() - 1):
            left, right = whole.chunk(2, -1)
            whole = like.new_empty(left.shape)
            self.halves.append((left, right, whole))
        self.products, self.logs, self.log_px_z = whole, torch.empty_like(whole), like.new_empty(K, N)

    def log_prob(self, x: Tensor, logits: Tensor) -> Tensor:
        """log p(x | z), [K, N], for x [N, pixels] and logits [K, N, pixels]."""
        torch.add(self.minus_one, x, alpha=2, out=self.sign)
        torch.mul(logits, self.sign, out=self.logits)
        torch.sigmoid(self.logits, out=self.p)
        for left, right, product in self.halves:
            torch.mul(left, right, out=product)
        if not self.products.amin().item() > 0:
            return logsigmoid(self.logits).sum(-1)
        return torch.sum(torch.log(self.products, out=self.logs), -1, out=self.log_px_z)

    def gradient(self, out: Tensor) -> None:
        """d(-log p(x | z)) / d logits, written over `out` [K, N, pixels]; after `log_prob`."""
        torch.mul(self.p, self.sign, out=out).sub_(self.sign)
