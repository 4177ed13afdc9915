"""Probabilistic PCA: log p(x), the posterior, the ELBO, all three gaps, CV^2 and the tail index in closed form."""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor
from torch.distributions import Distribution, MultivariateNormal

from elbo_cli.runtime import noise
from tests.oracles.oracle import DTYPE, GapOracle, diagonal_normal


@dataclass(frozen=True, eq=False)
class LinearGaussian(GapOracle):
    """p(z) = N(0, I), p(x | z) = N(W z + mu, sigma^2 I), with q exact or diagonal.

    The diagonal q is N( shrink * E[z|x] + shift * sd*, scale * v* ), where v*_j = 1 / Lambda_jj = sd*_j^2 is the
    variance of the best diagonal q and Lambda the posterior's precision; shift 0, scale 1, shrink 1 is the best one.
    """

    W: Tensor  # [P, D]
    mu: Tensor  # [P]
    sigma: float
    q: Literal["exact", "diagonal"] = "diagonal"
    shift: float = 0.0
    scale: float = 1.0
    shrink: float = 1.0

    @cached_property
    def latent_dim(self) -> int:  # type: ignore[override]
        return self.W.shape[1]

    @cached_property
    def precision(self) -> Tensor:
        """Lambda = I + W'W / sigma^2, of p(z | x), [D, D]."""
        return torch.eye(self.latent_dim, dtype=DTYPE) + self.W.T @ self.W / self.sigma**2

    @cached_property
    def covariance(self) -> Tensor:
        """S = Lambda^-1, of p(z | x), [D, D]."""
        return torch.linalg.inv(self.precision)

    @cached_property
    def best_variance(self) -> Tensor:
        """v*_j = 1 / Lambda_jj = sigma^2 / (|W_j|^2 + sigma^2), [D]."""
        return 1 / self.precision.diagonal()

    @cached_property
    def q_covariance(self) -> Tensor:
        """V, of q(z | x), [D, D]: the same for every x."""
        return self.covariance if self.q == "exact" else torch.diag(self.scale * self.best_variance)

    def posterior_mean(self, x: Tensor) -> Tensor:
        """E[z | x] = S W'(x - mu) / sigma^2, [N, D]."""
        return (x.double() - self.mu) @ self.W @ self.covariance / self.sigma**2

    def q_mean(self, x: Tensor) -> Tensor:
        """The mean of q(z | x), [N, D]."""
        mean = self.posterior_mean(x)
        return mean if self.q == "exact" else self.shrink * mean + self.shift * self.best_variance.sqrt()

    def true_posterior(self, x: Tensor) -> MultivariateNormal:
        """p(z | x) = N( E[z | x], S ), batch [N], event [D]."""
        cholesky = torch.linalg.cholesky(self.covariance)
        return MultivariateNormal(self.posterior_mean(x), scale_tril=cholesky, validate_args=False)

    def posterior(self, x: Tensor) -> Distribution:
        if self.q == "exact":
            return self.true_posterior(x)
        return diagonal_normal(self.q_mean(x), self.q_covariance.diagonal().sqrt())

    def likelihood(self, z: Tensor) -> Distribution:
        return diagonal_normal(z @ self.W.T + self.mu, self.sigma)

    def log_px(self, x: Tensor) -> Tensor:
        """-1/2 [ P ln 2 pi sigma^2 + ln|Lambda| + (r'r - r'W E[z|x]) / sigma^2 ],  r = x - mu, [N].

        Reference: Tipping and Bishop (1999), by the determinant lemma and Woodbury's identity.
        """
        r = x.double() - self.mu
        explained = (r @ self.W * self.posterior_mean(x)).sum(-1)
        constant = len(self.mu) * math.log(2 * math.pi * self.sigma**2) + torch.logdet(self.precision)
        return -0.5 * (constant + (r.square().sum(-1) - explained) / self.sigma**2)

    def elbo(self, x: Tensor) -> Tensor:
        """E_q log N(x; W z + mu, sigma^2 I) - KL( N(m, V) || N(0, I) ), [N]."""
        m, V = self.q_mean(x), self.q_covariance
        error = (x.double() - self.mu - m @ self.W.T).square().sum(-1) + torch.trace(self.W.T @ self.W @ V)
        recon = -0.5 * (len(self.mu) * math.log(2 * math.pi * self.sigma**2) + error / self.sigma**2)
        return recon - 0.5 * (torch.trace(V) + m.square().sum(-1) - self.latent_dim - torch.logdet(V))

    def gap(self, x: Tensor) -> Tensor:
        """KL( N(m, V) || N(E[z|x], S) ), [N]: by itself, not as log p(x) - ELBO."""
        delta = self.q_mean(x) - self.posterior_mean(x)
        ratio = self.precision @ self.q_covariance
        return 0.5 * (torch.trace(ratio) - self.latent_dim - torch.logdet(ratio) + self._distance(delta))

    @property
    def approximation_gap(self) -> float:
        """KL of the best diagonal q, 1/2 (sum ln Lambda_jj - ln|Lambda|): the same for every x."""
        return 0.5 * float(self.precision.diagonal().log().sum() - torch.logdet(self.precision))

    def amortisation_gap(self, x: Tensor) -> Tensor:
        """What the best diagonal q would win over this one, 1/2 sum(u - 1 - ln u) + 1/2 d'Lambda d, u = v/v*, [N]."""
        assert self.q == "diagonal", "an exact q has no diagonal family to be the best of"
        ratio = self.q_covariance.diagonal() / self.best_variance
        return 0.5 * ((ratio - 1 - ratio.log()).sum() + self._distance(self.q_mean(x) - self.posterior_mean(x)))

    def cv2(self, x: Tensor) -> Tensor:
        """CV^2 = Var(w) / p(x)^2 = exp D_2( p(z|x) || q ) - 1, [N]; inf where 2V - S is not positive definite."""
        S, V = self.covariance, self.q_covariance
        A = 2 * V - S
        if torch.linalg.eigvalsh(A).min() <= 0:
            return torch.full(x.shape[:1], math.inf, dtype=DTYPE)
        delta = self.q_mean(x) - self.posterior_mean(x)
        distance = (delta * torch.linalg.solve(A, delta.T).T).sum(-1)
        return torch.expm1(distance - 0.5 * (torch.logdet(A) + torch.logdet(S) - 2 * torch.logdet(V)))

    def tail_index(self, x: Tensor) -> Tensor:
        """1 - 1 / lambda_max(V^-1/2 S V^-1/2), [N]: >= 1/2 is infinite variance, below 0 the weights are bounded."""
        largest = torch.linalg.eigvals(torch.linalg.solve(self.q_covariance, self.covariance)).real.max()
        return (1 - 1 / largest).expand(len(x))

    def _distance(self, delta: Tensor) -> Tensor:
        return (delta @ self.precision * delta).sum(-1)


def random_linear_gaussian(
    P: int,
    D: int,
    *,
    sigma: float = 0.5**0.5,
    size: float = 1.0,
    seed: int = 0,
    q: Literal["exact", "diagonal"] = "diagonal",
    shift: float = 0.0,
    scale: float = 1.0,
    shrink: float = 1.0,
) -> LinearGaussian:
    """P pixels from D latents with entries of W ~ N(0, size^2) and mu ~ N(0, 1)."""
    with noise(seed, "random_linear_gaussian", P, D):
        W, mu = size * torch.randn(P, D, dtype=DTYPE), torch.randn(P, dtype=DTYPE)
    return LinearGaussian(W, mu, sigma, q, shift, scale, shrink)


def _spectrum(x: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues, largest first, and eigenvectors of the covariance of x [N, P] (divided by N)."""
    centred = x.double() - x.double().mean(0)
    values, vectors = torch.linalg.eigh(centred.T @ centred / len(x))
    return values.flip(0), vectors.flip(1)


def maximum_likelihood(x: Tensor, D: int) -> LinearGaussian:
    """The best D-latent model of x [N, P]: sigma^2 the mean of the discarded eigenvalues, W = U (L - sigma^2)^1/2.

    Its W has orthogonal columns, so the best diagonal q is exact and the gap 0. Tipping, Bishop (1999).
    """
    values, vectors = _spectrum(x)
    variance = values[D:].mean()
    W = vectors[:, :D] * (values[:D] - variance).sqrt()
    return LinearGaussian(W, x.double().mean(0), float(variance.sqrt()))


def best_mean_log_px(x: Tensor, D: int) -> float:
    """The highest mean log p(x) that D latents can reach on x [N, P], from its eigenvalues alone: a training target."""
    values, _ = _spectrum(x)
    P, variance = x.shape[1], values[D:].mean()
    return -0.5 * float(P * math.log(2 * math.pi) + values[:D].log().sum() + (P - D) * variance.log() + P)
