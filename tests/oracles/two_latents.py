"""A small network with two latents: log p(x) of a real decoder, by the trapezoid rule in the plane."""

import torch
from torch import Tensor
from torch.distributions import Bernoulli, Distribution
from torch.nn.functional import softplus

from elbo_cli.runtime import noise
from tests.oracles.oracle import DTYPE, GapOracle, diagonal_normal, independent, kl_to_standard_normal
from tests.oracles.quadrature import line, log_integral, log_normal, moments


class TwoLatentMLP(GapOracle):
    """2 - 16 - 10, tanh, Bernoulli pixels; q diagonal with p(z | x)'s mean + shift sd and `scale` its variance."""

    latent_dim = 2

    def __init__(self, *, shift: float = 0.0, scale: float = 1.0, seed: int = 0) -> None:
        self.shift, self.scale = shift, scale
        with noise(seed, "TwoLatentMLP"):
            self.W1, self.b1 = 1.5 * torch.randn(2, 16, dtype=DTYPE), torch.randn(16, dtype=DTYPE)
            self.W2, self.b2 = 0.7 * torch.randn(16, 10, dtype=DTYPE), 0.5 * torch.randn(10, dtype=DTYPE)

    def logits(self, z: Tensor) -> Tensor:
        """The decoder, [..., 2] -> [..., 10]."""
        return torch.tanh(z @ self.W1 + self.b1) @ self.W2 + self.b2

    def likelihood(self, z: Tensor) -> Distribution:
        return independent(Bernoulli(logits=self.logits(z), validate_args=False))

    def posterior(self, x: Tensor) -> Distribution:
        loc, var = self._q(x)
        return diagonal_normal(loc, var.sqrt())

    def log_px(self, x: Tensor, points: int = 201) -> Tensor:
        nodes, step = line(10.0, points)
        return log_integral(log_integral(self._log_joint(x, _plane(nodes)), step), step)

    def elbo(self, x: Tensor) -> Tensor:
        """E_q log p(x | z) by the trapezoid rule in units of q's sd, less the closed KL, [N]."""
        loc, var = self._q(x)
        nodes, step = line(9.0, 181)
        recon = torch.zeros(len(x), dtype=DTYPE)
        for row in _plane(nodes):  # row by row: here every datum has nodes of its own
            density = log_normal(row).sum(-1, keepdim=True).exp() * step**2
            z = loc + var.sqrt() * row[:, None]
            recon += (density * self.likelihood(z).log_prob(x.double())).sum(0)
        return recon - kl_to_standard_normal(loc, var).sum(-1)

    def _log_joint(self, x: Tensor, z: Tensor) -> Tensor:
        """log p(x, z) for z [..., 2], [..., N]: x'l - sum ln(1 + e^l), so that z is decoded once for all data."""
        logits = self.logits(z)
        log_px_z = logits @ x.double().T - softplus(logits).sum(-1, keepdim=True)
        return log_px_z + log_normal(z).sum(-1, keepdim=True)

    def _q(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance of q, [N, 2] each."""
        z = _plane(line(8.0, 65)[0]).flatten(0, 1)
        mean, var = moments(z[:, None], self._log_joint(x, z)[..., None])
        return mean + self.shift * var.sqrt(), self.scale * var


def _plane(nodes: Tensor) -> Tensor:
    """All pairs of nodes, [G, G, 2]."""
    return torch.stack(torch.meshgrid(nodes, nodes, indexing="ij"), -1)
