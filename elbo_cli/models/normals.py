"""Normals over the latents, diagonal, low-rank and full, and their KL from a diagonal one in closed form."""

import math

import torch
from torch import Size, Tensor
from torch.distributions import (
    Distribution,
    Independent,
    LowRankMultivariateNormal,
    MultivariateNormal,
    Normal,
    register_kl,
)


class Diagonal(Independent):  # type: ignore[type-arg]  # generic in the newest torch alone
    """N(mu, diag sigma^2), batch [...], event [D]: torch's own, drawn from in fewer kernels and with the same noise."""

    def rsample(self, sample_shape: Size | list[int] | tuple[int, ...] = ()) -> Tensor:
        """Draws mu + sigma e, e ~ N(0, I), [*sample_shape, ..., D]."""
        mu, sigma = self.base_dist.loc, self.base_dist.scale
        e = torch.randn(*sample_shape, *mu.shape, dtype=mu.dtype, device=mu.device)
        z: Tensor = mu + e * sigma
        return z

    def log_prob(self, value: Tensor) -> Tensor:
        """log q(z) = -1/2 sum_j ((z_j - mu_j) / sigma_j)^2 - sum_j log sigma_j - D/2 log 2 pi, in nats."""
        mu, sigma = self.base_dist.loc, self.base_dist.scale
        log_q: Tensor = -0.5 * ((value - mu) / sigma).square().sum(-1) - (sigma.log().sum(-1) + _half_log(mu))
        return log_q


class Standard(Diagonal):
    """N(0, I)."""

    def log_prob(self, value: Tensor) -> Tensor:
        """log p(z) = -1/2 sum_j z_j^2 - D/2 log 2 pi, in nats."""
        return -0.5 * value.square().sum(-1) - _half_log(self.base_dist.loc)


def _half_log(mu: Tensor) -> float:
    """D/2 log 2 pi."""
    return 0.5 * mu.shape[-1] * math.log(2 * math.pi)


def normal(mu: Tensor, sigma: Tensor) -> Distribution:
    """A diagonal normal N(mu, sigma^2), event [D]. Unchecked: a NaN is found where it can be named."""
    return Diagonal(Normal(mu, sigma, validate_args=False), 1, validate_args=False)


def standard_normal(zero: Tensor, one: Tensor) -> Distribution:
    """N(0, I), event [D], of zeros and ones [D]."""
    return Standard(Normal(zero, one, validate_args=False), 1, validate_args=False)


def kl_from_standard(q: Diagonal, p: Standard) -> Tensor:
    r"""KL( N(mu, diag sigma^2) || N(0, I) ) = sum_j (mu_j^2 + sigma_j^2 - 1) / 2 - log sigma_j, [...] in nats."""
    mu, sigma = q.base_dist.loc, q.base_dist.scale
    kl: Tensor = (0.5 * (mu.square() + sigma.square() - 1) - sigma.log()).sum(-1)
    return kl


class FullNormal(MultivariateNormal):
    """N(mu, L L'), batch [...], event [D], L lower triangular; unchecked, as `normal` is.

    Its draws cost memory for themselves alone: torch's own would copy L for every draw.
    """

    def __init__(self, mu: Tensor, L: Tensor) -> None:
        super().__init__(mu, scale_tril=L, validate_args=False)

    def rsample(self, sample_shape: Size | list[int] | tuple[int, ...] = ()) -> Tensor:
        """Draws mu + L e, e ~ N(0, I), [*sample_shape, ..., D]."""
        e = torch.randn(*sample_shape, *self.loc.shape, dtype=self.loc.dtype, device=self.loc.device)
        return self.loc + apply(self.scale_tril, e)

    def log_prob(self, value: Tensor) -> Tensor:
        """log q(z) for z [..., D], in nats."""
        log_q: Tensor = super().log_prob(value)  # type: ignore[no-untyped-call]  # torch's
        return log_q

    @property
    def log_det(self) -> Tensor:
        """Log |L L'|, [...]."""
        log_det: Tensor = 2 * self.scale_tril.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        return log_det


class LowRankNormal(LowRankMultivariateNormal):
    """N(mu, W W' + diag s^2), batch [...], event [D], W [..., D, R]; unchecked, as `normal` is."""

    def __init__(self, mu: Tensor, W: Tensor, variance: Tensor) -> None:
        super().__init__(mu, W, variance, validate_args=False)

    def rsample(self, sample_shape: Size | list[int] | tuple[int, ...] = ()) -> Tensor:
        """Draws mu + W a + s e, a and e ~ N(0, I), [*sample_shape, ..., D]: W is not copied for every draw."""
        W, s = self._unbroadcasted_cov_factor, self._unbroadcasted_cov_diag.sqrt()
        a = torch.randn(*sample_shape, *self.batch_shape, W.shape[-1], dtype=W.dtype, device=W.device)
        e = torch.randn(*sample_shape, *s.shape, dtype=s.dtype, device=s.device)
        z: Tensor = self.loc + apply(W, a) + s * e
        return z

    def log_prob(self, value: Tensor) -> Tensor:
        """log q(z) for z [..., D], in nats."""
        log_q: Tensor = super().log_prob(value)  # type: ignore[no-untyped-call]  # torch's
        return log_q

    @property
    def log_det(self) -> Tensor:
        """Log |W W' + diag s^2| = log |I + W' diag(s^-2) W| + sum log s^2, [...]."""
        capacitance = self._capacitance_tril.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        log_det: Tensor = 2 * capacitance + self._unbroadcasted_cov_diag.log().sum(-1)
        return log_det


def apply(M: Tensor, v: Tensor) -> Tensor:
    """M v for M [..., D, E] and v [*, ..., E]."""
    product: Tensor = torch.einsum("...de,...e->...d", M, v)
    return product


def kl_from_diagonal(q: FullNormal | LowRankNormal, p: Distribution) -> Tensor:
    r"""KL(q || p) of a normal q = N(mu, V) from a diagonal one p = N(m, diag s^2), [...] in nats.

        1/2 [ sum_j (V_jj + (mu_j - m_j)^2) / s_j^2 - D + sum log s_j^2 - log |V| ]

    Raises:
        NotImplementedError: p is not a diagonal normal over a vector, as torch's own say it.
    """
    if not isinstance(p, Independent) or type(p.base_dist) is not Normal or p.event_shape != q.event_shape:
        raise NotImplementedError
    variance = p.base_dist.scale.square()
    square = (q.variance + (q.mean - p.base_dist.loc).square()) / variance
    kl: Tensor = 0.5 * ((square - 1 + variance.log()).sum(-1) - q.log_det)
    return kl


register_kl(Diagonal, Standard)(kl_from_standard)  # type: ignore[no-untyped-call]  # torch's own dispatch
for _family in (FullNormal, LowRankNormal):
    register_kl(_family, Independent)(kl_from_diagonal)  # type: ignore[no-untyped-call]  # torch's own dispatch
