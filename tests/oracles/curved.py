"""Posteriors that no Gaussian holds: a ring and a funnel."""

import math

import torch
from torch import Tensor
from torch.distributions import Distribution

from tests.oracles.oracle import DTYPE, GapOracle, diagonal_normal, kl_to_standard_normal
from tests.oracles.quadrature import line, log_integral, log_normal, moments


class Ring(GapOracle):
    """x ~ N(|z|^2, sigma^2) with two latents: p(z | x) is a ring of radius sqrt(x) and width sigma / 2 sqrt(x).

    q is a `spot` on the ring, which is what training on the ELBO settles for, or `wide`, which holds all of it.
    Its weights are bounded in both cases, because |z|^4 outruns every Gaussian.
    """

    latent_dim = 2

    def __init__(self, sigma: float = 0.5, *, wide: bool = False) -> None:
        self.sigma, self.wide = sigma, wide

    def likelihood(self, z: Tensor) -> Distribution:
        return diagonal_normal(z.square().sum(-1, keepdim=True), self.sigma)

    def posterior(self, x: Tensor) -> Distribution:
        loc, var = self._q(x)
        return diagonal_normal(loc, var.sqrt())

    def log_px(self, x: Tensor) -> Tensor:
        """|z|^2 is exponential with mean 2, so log p(x) = ln 1/2 + sigma^2/8 - x/2 + ln Phi(x/sigma - sigma/2), [N]."""
        x, s = x.double()[:, 0], self.sigma
        return math.log(0.5) + s**2 / 8 - x / 2 + torch.special.log_ndtr(x / s - s / 2)

    def elbo(self, x: Tensor) -> Tensor:
        """E_q (x - |z|^2)^2 = (x - sum m^2 + v)^2 + sum 2 v^2 + 4 m^2 v, [N]."""
        m, v = self._q(x)
        error = (x.double()[:, 0] - (m**2 + v).sum(-1)).square() + (2 * v**2 + 4 * m**2 * v).sum(-1)
        recon = -0.5 * (math.log(2 * math.pi * self.sigma**2) + error / self.sigma**2)
        return recon - kl_to_standard_normal(m, v).sum(-1)

    def data(self, N: int, seed: int = 0) -> Tensor:
        return torch.linspace(2.0, 6.0, N, dtype=DTYPE)[:, None]

    def _q(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance of q, [N, 2] each."""
        square = x.double().clamp(min=0.25)  # [N, 1]
        nothing = torch.zeros_like(square)
        if self.wide:
            return nothing.expand(-1, 2), (0.6 * square).clamp(min=1.0).expand(-1, 2)
        across = self.sigma**2 / (4 * square)
        return torch.cat([square.sqrt(), nothing], -1), torch.cat([across, 4 * across], -1)


class Funnel(GapOracle):
    """x_j ~ N( z_{j+1}, exp(2 c z_1) ): z_1 is the log-scale that decides how tightly the others are held.

    Given z_1 the others integrate out, x_j ~ N(0, 1 + exp(2 c z_1)), and one integral is left. q is diagonal with the
    exact posterior's mean and `scale` times its variance.
    """

    def __init__(self, D: int = 2, *, c: float = 1.0, scale: float = 1.0) -> None:
        self.latent_dim, self.c, self.scale = D, c, scale

    def likelihood(self, z: Tensor) -> Distribution:
        return diagonal_normal(z[..., 1:], (self.c * z[..., :1]).exp().expand_as(z[..., 1:]))

    def posterior(self, x: Tensor) -> Distribution:
        loc, var = self._q(x)
        return diagonal_normal(loc, var.sqrt())

    def log_px(self, x: Tensor) -> Tensor:
        nodes, step = line(10.0, 2001)
        return log_integral(self._log_joint(x, nodes), step)

    def elbo(self, x: Tensor) -> Tensor:
        """E_q log N(x_j; z_j, e^{2 c z_1}) = -ln(2 pi)/2 - c m_1 - e^{-2 c m_1 + 2 c^2 v_1} ((x_j - m_j)^2 + v_j)/2."""
        m, v = self._q(x)
        c, m1, v1 = self.c, m[:, :1], v[:, :1]
        error = (x.double() - m[:, 1:]).square() + v[:, 1:]
        recon = -0.5 * math.log(2 * math.pi) - c * m1 - 0.5 * torch.exp(-2 * c * m1 + 2 * c**2 * v1) * error
        return recon.sum(-1) - kl_to_standard_normal(m, v).sum(-1)

    def _log_joint(self, x: Tensor, nodes: Tensor) -> Tensor:
        """log p(x, z_1) at each node, [G, N]."""
        var = 1 + torch.exp(2 * self.c * nodes)[:, None, None]
        return log_normal(nodes)[:, None] + log_normal(x.double(), 0.0, var).sum(-1)

    def _q(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and scaled variance of p(z | x), [N, D] each: the law of total variance over z_1."""
        nodes, _ = line(10.0, 2001)
        log_f = self._log_joint(x, nodes)
        m1, v1 = moments(nodes[:, None], log_f)
        weights = log_f.softmax(0)[..., None]  # [G, N, 1]
        held = torch.sigmoid(-2 * self.c * nodes)[:, None, None]  # E[z_j | z_1, x] = held x_j, Var = 1 - held
        share = (weights * held).sum(0)
        within, between = 1 - share, (weights * (held - share) ** 2).sum(0) * x.double() ** 2
        loc = torch.cat([m1[:, None], share * x.double()], -1)
        return loc, self.scale * torch.cat([v1[:, None], within + between], -1)
