"""A normal given by its precision: what a curvature gives, with no matrix ever inverted."""

import math

import torch
from torch import Size, Tensor
from torch.distributions import Distribution, constraints


class PrecisionNormal(Distribution):
    """N(mu, (R R')^-1), batch [N], event [D], R lower triangular.

    log q(z) = -1/2 |R'(z - mu)|^2 + sum log R_jj - D/2 log 2 pi, in nats.
    """

    arg_constraints: dict[str, constraints.Constraint] = {}  # noqa: RUF012  # torch's own class attribute

    def __init__(self, mu: Tensor, root: Tensor) -> None:
        super().__init__(mu.shape[:-1], mu.shape[-1:], validate_args=False)
        self.mu, self.root = mu, root

    @property
    def mean(self) -> Tensor:
        """The location mu, [N, D]."""
        return self.mu

    def sample(self, sample_shape: Size | list[int] | tuple[int, ...] = ()) -> Tensor:
        """Draws mu + R'^-1 e, e ~ N(0, I): [*sample_shape, N, D]."""
        return (self.mu + self._shifts(math.prod(sample_shape))).reshape(*sample_shape, *self.mu.shape)

    def inflated(self, factor: float) -> "PrecisionNormal":
        """The same normal with its covariance times `factor`."""
        return PrecisionNormal(self.mu, self.root / math.sqrt(factor))

    def _shifts(self, K: int) -> Tensor:
        """R'^-1 e, e ~ N(0, I), [K, N, D]."""
        e = torch.randn(K, *self.mu.shape, dtype=self.mu.dtype, device=self.mu.device).movedim(0, 1)
        if self.mu.shape[-1] > K:
            z: Tensor = torch.linalg.solve_triangular(self.root, e, upper=False, left=False)
        else:  # for many draws one inverse is cheaper than a solution for each
            one = torch.eye(self.mu.shape[-1], dtype=e.dtype, device=e.device)
            z = e @ torch.linalg.solve_triangular(self.root, one, upper=False)
        return z.movedim(1, 0)

    def log_prob(self, value: Tensor) -> Tensor:
        """log q(z) for z [..., N, D], in nats, [..., N]."""
        shift = value - self.mu
        white = torch.einsum("...nd,nde->...ne", shift, self.root)
        log_det = self.root.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        return -0.5 * white.square().sum(-1) + log_det - 0.5 * self.mu.shape[-1] * math.log(2 * math.pi)
