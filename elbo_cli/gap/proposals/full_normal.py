"""A normal with full covariance, given by the factor L of it: what a climb moves, and draws cheaply from."""

import torch
from torch import Size, Tensor
from torch.distributions import MultivariateNormal


class FullNormal(MultivariateNormal):
    """N(mu, L L'), batch [N], event [D], L lower triangular; unchecked, because a climb may fail for a datum.

    Its draws cost memory for themselves alone: torch's own would copy L for every draw.
    """

    def __init__(self, mu: Tensor, L: Tensor) -> None:
        super().__init__(mu, scale_tril=L, validate_args=False)

    def rsample(self, sample_shape: Size | list[int] | tuple[int, ...] = ()) -> Tensor:
        """Draws mu + L e, e ~ N(0, I), [*sample_shape, N, D]."""
        e = torch.randn(*sample_shape, *self.loc.shape, dtype=self.loc.dtype, device=self.loc.device)
        return self.loc + apply(self.scale_tril, e)

    def log_prob(self, value: Tensor) -> Tensor:
        """log q(z) for z [..., N, D], in nats, [..., N]."""
        log_q: Tensor = super().log_prob(value)  # type: ignore[no-untyped-call]  # torch's
        return log_q


def apply(M: Tensor, v: Tensor) -> Tensor:
    """M v for M [N, D, D] and v [..., N, D]."""
    product: Tensor = torch.einsum("nde,...ne->...nd", M, v)
    return product
