"""Posteriors with mass where q never looks: draws of q look perfect, and lie."""

import math

import torch
from torch import Tensor
from torch.distributions import Bernoulli, Categorical, Distribution, MixtureSameFamily
from torch.nn.functional import logsigmoid

from tests.oracles.oracle import (
    DTYPE,
    GapOracle,
    WithPosterior,
    diagonal_normal,
    independent,
    kl_to_standard_normal,
)
from tests.oracles.quadrature import line, log_integral, log_normal, moments

PIXELS = 16


class MissedMode(GapOracle):
    """16 Bernoulli pixels with logits 3 (z_1^2 - 2): all ones have modes at z_1 = +-1.9 and nothing between.

    q holds the right half, with that half's own mean and `scale` times its variance; the other latents drive nothing
    and have q = p. By symmetry the right half is exactly half of p(x): draws of q agree with each other on
    log p(x) - ln 2.
    """

    def __init__(self, D: int = 1, scale: float = 1.0) -> None:
        self.latent_dim, self.scale = D, scale

    def likelihood(self, z: Tensor) -> Distribution:
        logits = 3 * (z[..., :1].square() - 2)
        return independent(Bernoulli(logits=logits.expand(*z.shape[:-1], PIXELS), validate_args=False))

    def posterior(self, x: Tensor) -> Distribution:
        loc, var = self.right_half(x)
        rest = torch.zeros(len(x), self.latent_dim - 1, dtype=DTYPE)
        return diagonal_normal(torch.cat([loc[:, None], rest], -1), torch.cat([var.sqrt()[:, None], rest + 1], -1))

    def right_half(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance of q(z_1 | x), [N] each."""
        nodes, _ = line(10.0, 801)
        right = nodes[nodes > 0]
        mean, var = moments(right[:, None], self._log_joint(x, right))
        return mean, self.scale * var

    def log_px(self, x: Tensor) -> Tensor:
        nodes, step = line(10.0, 801)
        return log_integral(self._log_joint(x, nodes), step)

    def elbo(self, x: Tensor) -> Tensor:
        loc, var = self.right_half(x)
        nodes, step = line(10.0, 801)
        z = loc + var.sqrt() * nodes[:, None]
        density = log_normal(nodes).exp()[:, None] * step
        recon = (density * self.likelihood(z[..., None]).log_prob(x.double())).sum(0)
        return recon - kl_to_standard_normal(loc, var)

    def tail_index(self, x: Tensor) -> Tensor:
        """1 - var (1 + 6 zeros), [N]: p(x, z_1) falls as exp(-z_1^2 / 2 - 3 z_1^2 for each pixel that is 0)."""
        return 1 - self.right_half(x)[1] * (1 + 6 * (1 - x.double()).sum(-1))

    def data(self, N: int, seed: int = 0) -> Tensor:
        return torch.ones(N, PIXELS, dtype=DTYPE)

    def _log_joint(self, x: Tensor, nodes: Tensor) -> Tensor:
        """log p(x, z_1) at each node, [G, N]."""
        logits, ones = 3 * (nodes[:, None] ** 2 - 2), x.double().sum(-1)
        log_px_z = ones * logsigmoid(logits) + (PIXELS - ones) * logsigmoid(-logits)  # all pixels share one logit
        return log_px_z + log_normal(nodes)[:, None]


def both_modes(D: int = 1) -> WithPosterior:
    """The same model with an equal mixture of both halves for q, a little wide: the cure, and a q without rsample."""
    model = MissedMode(D, scale=2.0)

    def encoder(x: Tensor) -> Distribution:
        right = model.posterior(x).base_dist
        sides = torch.ones(2, D, dtype=DTYPE)
        sides[1, 0] = -1
        loc, sd = right.loc[:, None] * sides, right.scale[:, None].expand(-1, 2, -1)
        even = Categorical(logits=torch.zeros(len(x), 2, dtype=DTYPE), validate_args=False)
        return MixtureSameFamily(even, diagonal_normal(loc, sd), validate_args=False)

    return WithPosterior(model, encoder)


class Spike(GapOracle):
    """A broad mass that q holds exactly, and a narrow spike in it with most of p(x).

    x ~ N( f(z_1), 1 ), f(z) = height exp( -(z - centre)^2 / 2 width^2 ), and x = height. Where f = 0 the likelihood
    does not depend on z, and q = p: every weight is N(x; 0, 1), but in the spike it is exp(height^2 / 2) as large.
    """

    def __init__(self, D: int = 1, *, width: float = 0.02, height: float = 4.0, centre: float = 2.0) -> None:
        self.latent_dim, self.width, self.height, self.centre = D, width, height, centre

    def bump(self, z: Tensor) -> Tensor:
        """f(z), elementwise."""
        return self.height * torch.exp(-0.5 * ((z - self.centre) / self.width) ** 2)

    def likelihood(self, z: Tensor) -> Distribution:
        return diagonal_normal(self.bump(z[..., :1]), 1.0)

    def posterior(self, x: Tensor) -> Distribution:
        return diagonal_normal(torch.zeros(len(x), self.latent_dim, dtype=DTYPE), 1.0)

    def log_px(self, x: Tensor) -> Tensor:
        """log N(x; 0, 1) + log( 1 + int N(z; 0, 1) (exp(x f - f^2/2) - 1) dz ): a grid in the spike alone, [N]."""
        x = x.double()[:, 0]
        nodes, step = line(12.0, 2401)
        z = self.centre + self.width * nodes
        f = self.bump(z)
        gain = torch.expm1(f[:, None] * x - 0.5 * f[:, None] ** 2)
        return log_normal(x) + torch.log1p((log_normal(z).exp()[:, None] * gain).sum(0) * step * self.width)

    def elbo(self, x: Tensor) -> Tensor:
        """log N(x; 0, 1) + x E[f] - E[f^2] / 2 under N(0, 1): KL(q || p) = 0, [N]."""
        x = x.double()[:, 0]
        square = self._mean(self.height**2, self.width / math.sqrt(2))
        return log_normal(x) + x * self._mean(self.height, self.width) - 0.5 * square

    def data(self, N: int, seed: int = 0) -> Tensor:
        return torch.full((N, 1), self.height, dtype=DTYPE)

    def _mean(self, height: float, width: float) -> float:
        """E[ height exp(-(z - centre)^2 / 2 width^2) ] for z ~ N(0, 1)."""
        total = 1 + width**2
        return height * width / math.sqrt(total) * math.exp(-0.5 * self.centre**2 / total)
