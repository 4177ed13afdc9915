"""Each latent drives a pixel of its own, so log p(x) is a sum of one-dimensional integrals in any dimension."""

import math
from abc import abstractmethod

import torch
from torch import Tensor
from torch.distributions import Bernoulli, Distribution, Poisson

from tests.oracles.oracle import GapOracle, diagonal_normal, independent, kl_to_standard_normal
from tests.oracles.quadrature import line, log_integral, log_normal, moments

# A latent whose pixel reads 'c' is the same problem for every datum, so all integrals are tables [C, D] over the
# values c = 0 .. C-1 of a pixel, and the data look their own up.


class Disjoint(GapOracle):
    """p(x_i | z_i) depends on t_i = a_i z_i + b_i alone; q = N(mean_i + shift sd_i, scale var_i), exact moments."""

    reach = 12.0  # of the grid in z: far enough that p(x_i, z_i) vanishes

    def __init__(self, a: Tensor, b: Tensor, *, shift: float = 0.0, scale: float = 1.0) -> None:
        self.a, self.b, self.shift, self.scale, self.latent_dim = a, b, shift, scale, len(a)

    @abstractmethod
    def pixels(self, t: Tensor) -> Distribution:
        """p(x_i | t_i), batch the shape of t."""

    def likelihood(self, z: Tensor) -> Distribution:
        return independent(self.pixels(self.a * z + self.b))

    def posterior(self, x: Tensor) -> Distribution:
        loc, var = (self._look_up(table, x) for table in self._q(x))
        return diagonal_normal(loc, var.sqrt())

    def log_px(self, x: Tensor) -> Tensor:
        nodes, step = line(self.reach, 1201)
        return self._look_up(log_integral(self._log_joint(x, nodes), step), x).sum(-1)

    def elbo(self, x: Tensor) -> Tensor:
        """sum_i E_q log p(x_i | z_i) - KL(q_i || p), [N]; the first by the trapezoid rule in units of q's sd."""
        loc, var = self._q(x)
        nodes, step = line(10.0, 401)
        z = loc + var.sqrt() * nodes[:, None, None]
        density = log_normal(nodes).exp()[:, None, None] * step
        recon = (density * self.pixels(self.a * z + self.b).log_prob(self._values(x))).sum(0)
        return self._look_up(recon - kl_to_standard_normal(loc, var), x).sum(-1)

    def tail_index(self, x: Tensor) -> Tensor:
        """max_i 1 - var_i, [N]: wherever its likelihood levels off, p(z_i | x) falls as the prior does."""
        return (1 - self._look_up(self._q(x)[1], x)).amax(-1)

    def cv2(self, x: Tensor) -> Tensor:
        """prod_i int p(x_i, z)^2 / q_i(z) dz / p(x_i)^2 - 1, [N]; inf where the tail index is 1/2 or more."""
        finite = self.tail_index(x) < 0.5
        loc, var = self._q(x)
        widest = (2 - 1 / var).clamp(min=0.02).rsqrt().max()  # sd of p^2 / q in its tail
        nodes, step = line(self.reach * max(1.0, float(widest)), 4801)
        log_f = 2 * self._log_joint(x, nodes) - log_normal(nodes[:, None, None], loc, var)
        log_f = torch.where(var > 0.5, log_f, log_normal(nodes)[:, None, None])  # no integral: any that exists
        blocks = log_integral(log_f, step) - 2 * log_integral(self._log_joint(x, nodes), step)
        return torch.where(finite, torch.expm1(self._look_up(blocks, x).sum(-1)), math.inf)

    def _values(self, x: Tensor) -> Tensor:
        return torch.arange(max(2, int(x.max()) + 1), dtype=self.a.dtype)[:, None]  # [C, 1]

    def _log_joint(self, x: Tensor, nodes: Tensor) -> Tensor:
        """log p(x_i = c, z_i) at each node, [G, C, D]."""
        z = nodes[:, None, None]
        return self.pixels(self.a * z + self.b).log_prob(self._values(x)) + log_normal(z)

    def _q(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance of q for every value of a pixel, [C, D] each."""
        nodes, _ = line(self.reach, 601)
        mean, var = moments(nodes[:, None, None], self._log_joint(x, nodes))
        return mean + self.shift * var.sqrt(), self.scale * var

    @staticmethod
    def _look_up(table: Tensor, x: Tensor) -> Tensor:
        return table.gather(0, x.long())  # [N, D]


class Probit(Disjoint):
    """p(x_i = 1 | z_i) = Phi(t_i): the one Bernoulli decoder with log p(x) in closed form."""

    def pixels(self, t: Tensor) -> Distribution:
        # log Phi(t) - log Phi(-t) with exp(-t^2/2) cancelled: nothing rounds to 0 or 1, and unlike log_ndtr torch.func
        # maps it. Beyond 37, where a pixel contradicts z by 680 nats, erfcx overflows.
        half = t.clamp(-37, 37) / math.sqrt(2)
        logits = torch.special.erfcx(-half).log() - torch.special.erfcx(half).log()
        return Bernoulli(logits=logits, validate_args=False)

    def log_px(self, x: Tensor) -> Tensor:
        """sum_i ln Phi( s_i b_i / sqrt(1 + a_i^2) ),  s = 2x - 1, [N]."""
        return torch.special.log_ndtr((2 * x.double() - 1) * self.b / (1 + self.a**2).sqrt()).sum(-1)


class Logistic(Disjoint):
    """p(x_i = 1 | z_i) = sigmoid(t_i)."""

    def pixels(self, t: Tensor) -> Distribution:
        return Bernoulli(logits=t, validate_args=False)


class PoissonCounts(Disjoint):
    """x_i ~ Poisson(exp t_i): counts, and a decoder whose Fisher information grows without end."""

    reach = 30.0  # a latent with a flat slope goes far to explain a large count

    def pixels(self, t: Tensor) -> Distribution:
        return Poisson(t.exp(), validate_args=False)
