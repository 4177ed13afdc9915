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
        whole = like.new_ones(K, N, -(-width // GROUP) * GROUP)  # probabilities; what pads them is 1
        self.p = whole[..., :width]
        self.delta = self.p.flatten(0, 1)  # p makes room for its gradient: what does not leave the cache costs least
        self.halves: list[tuple[Tensor, Tensor, Tensor]] = []
        for _ in range(GROUP.bit_length() - 1):
            left, right = whole.chunk(2, -1)
            whole = like.new_empty(left.shape)
            self.halves.append((left, right, whole))
        self.products, self.logs, self.log_px_z = whole, torch.empty_like(whole), like.new_empty(K, N)

    def log_prob(self, x: Tensor, logits: Tensor) -> Tensor:
        """log p(x | z), [K, N], for x [N, pixels] and logits [K, N, pixels], which are s l afterwards."""
        torch.add(self.minus_one, x, alpha=2, out=self.sign)
        torch.sigmoid(logits.mul_(self.sign), out=self.p)
        for left, right, product in self.halves:
            torch.mul(left, right, out=product)
        if not self.products.amin().item() > 0:
            return logsigmoid(logits).sum(-1)
        return torch.sum(torch.log(self.products, out=self.logs), -1, out=self.log_px_z)

    def gradient(self) -> Tensor:
        """d(-log p(x | z)) / d logits, [K, N, pixels], in the place of p: `delta`, in rows. After `log_prob`."""
        return self.p.mul_(self.sign).sub_(self.sign)
