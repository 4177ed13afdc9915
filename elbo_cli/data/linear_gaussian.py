"""Synthetic data whose log p(x) is known exactly: probabilistic PCA."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import LowRankMultivariateNormal

from elbo_cli.data.split import Dataset, Split
from elbo_cli.errors import UserError
from elbo_cli.runtime import noise


@dataclass(frozen=True, slots=True)
class LinearGaussian:
    """x = W z + mu + sigma eps, with z ~ N(0, I) and eps ~ N(0, I)."""

    W: Tensor  # [dim, latent_dim], float64
    mu: Tensor  # [dim], float64
    sigma: float

    def sample(self, n: int) -> Tensor:
        """Draw n data, float64 [n, dim], from the global generator."""
        z = torch.randn(n, self.W.shape[1], dtype=torch.float64)
        return z @ self.W.T + self.mu + self.sigma * torch.randn(n, self.W.shape[0], dtype=torch.float64)

    def log_px(self, x: Tensor) -> Tensor:
        """The exact log p(x) = log N(x; mu, W W' + sigma^2 I) in nats, for x [N, dim]: float64 [N]."""
        W, mu = self.W.to(x.device), self.mu.to(x.device)
        px = LowRankMultivariateNormal(mu, W, torch.full_like(mu, self.sigma**2))
        log_px: Tensor = px.log_prob(x.double())  # type: ignore[no-untyped-call]
        return log_px


def linear_gaussian(
    dim: int = 10,
    latent_dim: int = 3,
    sigma: float = 0.5,
    train: int = 5000,
    valid: int = 1000,
    test: int = 1000,
    seed: int = 0,
) -> Dataset:
    """Data from x = W z + mu + sigma eps, with W and mu standard normal: log p(x) and the best reachable are known.

    The model depends on (seed, dim, latent_dim) alone, and the data of a split on these, sigma and its own size.

    Args:
        dim: size of x, whose shape is (dim,).
        latent_dim: size of z.
        sigma: standard deviation of the noise on x.
        train: number of training data.
        valid: number of validation data.
        test: number of test data.
        seed: seed of W, mu and the data.

    Raises:
        UserError: a size below 1, or sigma that is not above 0.
    """
    counts = {"dim": dim, "latent_dim": latent_dim, "train": train, "valid": valid, "test": test}
    for name, count in counts.items():
        if count < 1:
            raise UserError(f"data.{name}={count} must be 1 or more.")
    if not (sigma > 0 and math.isfinite(sigma)):
        raise UserError(f"data.sigma={sigma} must be a positive number.")
    with noise(seed, "linear_gaussian", "model"):
        W, mu = torch.randn(dim, latent_dim, dtype=torch.float64), torch.randn(dim, dtype=torch.float64)
    model = LinearGaussian(W, mu, sigma)
    parts = {name: _draw(model, name, counts[name], seed) for name in ("train", "valid", "test")}
    return Dataset("linear_gaussian", **parts, log_px=model.log_px, best_log_px=best_log_px)


def _draw(model: LinearGaussian, name: str, n: int, seed: int) -> Split:
    with noise(seed, "linear_gaussian", name):
        return Split(name, model.sample(n).float(), "linear_gaussian")


def best_log_px(x_train: Tensor, x_eval: Tensor, latent_dim: int) -> float:
    r"""Mean log p(x) over `x_eval` under the probabilistic PCA of `latent_dim` that maximises it over `x_train`.

    With l_1 >= ... >= l_D the eigenvalues of the sample covariance of `x_train` (about its mean, over N), it has

        C = U diag(l_1, ..., l_d, s, ..., s) U',    s = sigma^2 = 1/(D - d) sum_{j > d} l_j

    and over `x_train` itself the value is -1/2 (D ln 2 pi + sum_j ln C_jj + D). No linear-Gaussian VAE of that
    latent size can have a higher mean log p(x) on its training data, and so no higher ELBO. With D - 1 latents or
    more, C is the sample covariance.

    Args:
        x_train: [N, D], or any shape of datum.
        x_eval: [M, D], likewise; often `x_train` again.
        latent_dim: d, the size of z.

    Returns:
        A mean in nats per datum.

    Raises:
        UserError: the sample covariance is singular, so that log p(x) has no maximum.

    Reference: Tipping and Bishop (1999), Probabilistic principal component analysis.
    """
    x_train, x_eval = x_train.flatten(1).double(), x_eval.flatten(1).double()
    N, D = x_train.shape
    mean = x_train.mean(0)
    variance, U = torch.linalg.eigh((x_train - mean).T @ (x_train - mean) / N)  # ascending
    rest = max(1, D - latent_dim)
    variance[:rest] = variance[:rest].mean()
    if variance[0] <= variance[-1] * D * torch.finfo(torch.float64).eps:
        raise UserError(
            f"The {N} data of dimension {D} lie in a space of {latent_dim} dimensions or fewer, where log p(x) has no "
            "maximum. Take more data, or fewer latents."
        )
    squares = ((x_eval - mean) @ U).square() / variance
    return -0.5 * (D * math.log(2 * math.pi) + float(variance.log().sum() + squares.sum(1).mean()))
