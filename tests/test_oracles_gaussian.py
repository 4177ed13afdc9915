"""The linear-Gaussian oracles against scipy's normal, scipy's optimiser and integrals of two densities."""

import math

import numpy as np
import pytest
import torch
from scipy import integrate, linalg, optimize, stats
from torch.distributions import MultivariateNormal, kl_divergence

from elbo_cli.bounds.draws import draw, log_joint
from elbo_cli.bounds.lower import elbo, iwae
from elbo_cli.runtime import noise
from tests.oracles import (
    LinearGaussian,
    best_mean_log_px,
    hopeless,
    maximum_likelihood,
    orthogonal,
    random_linear_gaussian,
    slightly_crude,
    student_posterior,
)
from tests.oracles.comparison import close
from tests.statistics import outside, within

CRUDE = {"shift": 0.3, "scale": 1.3, "shrink": 0.9}
SIZES = {
    "8x3": random_linear_gaussian(8, 3, **CRUDE),
    "20x10": random_linear_gaussian(20, 10, size=0.3, **CRUDE),
    "100x50": random_linear_gaussian(100, 50, sigma=1.0, size=0.1, **CRUDE),
}


@pytest.mark.parametrize("size", SIZES)
def test_linear_gaussian_log_px_is_scipys(size: str) -> None:
    model = SIZES[size]
    x, W = model.data(5), model.W.numpy()
    truth = stats.multivariate_normal(model.mu.numpy(), W @ W.T + model.sigma**2 * np.eye(len(W))).logpdf(x.numpy())
    close(model.log_px(x), truth)


@pytest.mark.parametrize("size", SIZES)
def test_linear_gaussian_elbo_and_kl_are_log_px(size: str) -> None:
    model = SIZES[size]
    x = model.data(5)
    q = MultivariateNormal(model.q_mean(x), model.q_covariance)
    kl = kl_divergence(q, model.true_posterior(x))
    close(model.elbo(x) + kl, model.log_px(x))
    close(model.gap(x), kl)
    close(model.approximation_gap + model.amortisation_gap(x), kl)


def test_the_diagonal_q_is_as_crude_as_it_is_said_to_be() -> None:
    model = SIZES["8x3"]
    x = model.data(4)
    best = LinearGaussian(model.W, model.mu, model.sigma).posterior(x)
    close(best.mean, model.true_posterior(x).mean)
    close(best.variance, (1 / model.true_posterior(x).precision_matrix.diagonal(dim1=-2, dim2=-1)))
    close(model.posterior(x).mean, 0.9 * best.mean + 0.3 * best.stddev)
    close(model.posterior(x).variance, 1.3 * best.variance)
    assert model.amortisation_gap(x).std() > 0.01, "an error that is the same for every x would hide a shuffle"


def test_student_q_has_the_centre_and_width_of_the_posterior() -> None:
    model = student_posterior()
    x = model.data(4)
    close(model.posterior(x).mean, 0.4 * x)
    close(model.posterior(x).variance, torch.full((4, 3), 0.2 * 4 / (4 - 2), dtype=torch.float64))


def test_linear_gaussian_posterior_is_bayes_rule() -> None:
    model, z = SIZES["8x3"], torch.tensor([[0.3, -1.0, 0.7]], dtype=torch.float64)
    x = model.data(4)
    close(sum(log_joint(model, x, z)) - model.true_posterior(x).log_prob(z), model.log_px(x))
    exact = LinearGaussian(model.W, model.mu, model.sigma, q="exact")
    close(draw(exact, x, 3).log_w, model.log_px(x).expand(3, 4))
    close(elbo(draw(exact, x, 3)), exact.elbo(x))


def test_no_diagonal_q_beats_the_one_called_best() -> None:
    model = random_linear_gaussian(8, 3, seed=3)
    x, W = model.data(1), model.W.numpy()
    r, s2 = (x[0] - model.mu).numpy(), model.sigma**2

    def loss(p: np.ndarray) -> float:
        m, v = p[:3], np.exp(p[3:])
        error = ((r - W @ m) ** 2).sum() + v @ (W**2).sum(0)
        return 0.5 * (8 * math.log(2 * math.pi * s2) + error / s2 + (v + m**2 - 1 - np.log(v)).sum())

    best = -optimize.minimize(loss, np.zeros(6), tol=1e-12, options={"gtol": 1e-9}).fun
    assert model.approximation_gap > 0.1
    close(model.elbo(x), [best], atol=1e-8)
    close(model.amortisation_gap(x), [0.0])


def test_cv2_and_tail_index_are_those_of_the_weights() -> None:
    model = orthogonal(1, shift=0.7, scale=0.8)
    x = torch.tensor([[1.3]], dtype=torch.float64)
    p = stats.norm(0.4 * 1.3, math.sqrt(0.2))
    q = stats.norm(p.mean() + 0.7 * p.std(), math.sqrt(0.8) * p.std())
    close(model.cv2(x), [integrate.quad(lambda z: p.pdf(z) ** 2 / q.pdf(z), -6, 6, epsabs=1e-12)[0] - 1])
    close(model.tail_index(x), [1 - 0.8])
    close(orthogonal(3, shift=0.7, scale=0.8).cv2(x.expand(1, 3)), (1 + model.cv2(x)) ** 3 - 1)


def test_cv2_in_two_correlated_latents_is_an_integral_in_the_plane() -> None:
    model = random_linear_gaussian(3, 2, sigma=1.0, size=0.7, **CRUDE)
    x, t = model.data(1), np.linspace(-8, 8, 401)
    z = np.stack(np.meshgrid(t, t), -1)
    p = stats.multivariate_normal(model.posterior_mean(x)[0], model.covariance).logpdf(z)
    q = stats.multivariate_normal(model.q_mean(x)[0], model.q_covariance).logpdf(z)
    close(model.cv2(x), [np.exp(2 * p - q).sum() * 0.04**2 - 1], atol=1e-9)
    largest = linalg.eigh(model.covariance, model.q_covariance, eigvals_only=True).max()
    close(model.tail_index(x), [1 - 1 / largest])
    narrow = LinearGaussian(model.W, model.mu, model.sigma, scale=0.3)
    assert narrow.cv2(x).isinf().all()
    assert (narrow.tail_index(x) > 0.5).all()


def test_slightly_crude_has_a_weight_variance_of_one() -> None:
    model = slightly_crude()
    close(model.cv2(model.data(4)), [1.0] * 4, atol=1e-4)
    x = model.data(1).repeat(20_000, 1)
    with noise(4, "slightly_crude"):
        bias = iwae(draw(model, x, 64)) - model.log_px(x)
    within(bias, -1 / 128, resolve=0.006)  # the 1/K^2 term is under 0.001
    outside(bias, 0.0, sigmas=4)


def test_maximum_likelihood_reaches_the_target_that_eigenvalues_set_with_no_gap() -> None:
    x = SIZES["8x3"].data(200)
    best = maximum_likelihood(x, 3)
    close(best.log_px(x).mean(), best_mean_log_px(x, 3))
    close(best.elbo(x), best.log_px(x))
    W = best.W.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(LinearGaussian(W, best.mu, best.sigma).log_px(x).mean(), W)
    close(gradient, torch.zeros_like(W))
    assert SIZES["8x3"].log_px(x).mean() < best.log_px(x).mean()


def test_hopeless_is_a_standard_normal_posterior_and_a_gap_of_sixteen_nats() -> None:
    model = hopeless()
    x = model.data(3)
    close(model.log_px(x), stats.norm(model.mu.numpy(), 1).logpdf(x.numpy()).sum(-1))
    close(model.gap(x), [50 * (0.4 - 1 - math.log(0.4))] * 3)
    close(model.true_posterior(x).covariance_matrix, torch.eye(100, dtype=torch.float64).expand(3, -1, -1))
