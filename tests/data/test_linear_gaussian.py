import math

import pytest
import torch
from scipy import stats
from torch import Tensor

from elbo_cli.data.linear_gaussian import LinearGaussian, best_log_px, linear_gaussian
from elbo_cli.errors import UserError
from elbo_cli.runtime import noise
from tests.statistics import outside, within

MODEL = LinearGaussian(
    W=torch.tensor([[1.0, 0.2], [-0.7, 1.1], [0.3, 0.9], [2.0, -0.4]], dtype=torch.float64),
    mu=torch.tensor([0.5, -1.0, 0.0, 2.0], dtype=torch.float64),
    sigma=0.6,
)
COVARIANCE = MODEL.W @ MODEL.W.T + 0.36 * torch.eye(4, dtype=torch.float64)


def sample(n: int) -> Tensor:
    with noise(0, "test"):
        return MODEL.sample(n)


def test_log_px_is_the_density_of_the_gaussian() -> None:
    x = sample(50)
    expected = torch.from_numpy(stats.multivariate_normal(MODEL.mu.numpy(), COVARIANCE.numpy()).logpdf(x.numpy()))
    torch.testing.assert_close(MODEL.log_px(x), expected, rtol=0, atol=1e-12)
    assert MODEL.log_px(x.float()).dtype == torch.float64


def test_data_have_the_mean_and_covariance_of_the_model() -> None:
    x = sample(40_000)
    within(x, MODEL.mu, resolve=0.1)
    centred = x - MODEL.mu
    within((centred[:, :, None] * centred[:, None, :]), COVARIANCE, resolve=0.3)
    outside((centred[:, :, None] * centred[:, None, :]), MODEL.W @ MODEL.W.T)  # noise on x left out


def test_the_data_set_is_drawn_from_the_density_that_it_states() -> None:
    data = linear_gaussian(dim=6, latent_dim=2, sigma=0.3, train=30_000, valid=7, test=9, seed=4)
    assert (len(data.train), len(data.valid), len(data.test), data.shape) == (30_000, 7, 9, (6,))
    assert data.log_px is not None
    x = data.train.batch(torch.arange(30_000))
    # E log p(x) is minus the entropy of the model
    model = data.log_px.__self__
    covariance = model.W @ model.W.T + 0.09 * torch.eye(6, dtype=torch.float64)
    entropy = 0.5 * torch.logdet(2 * math.pi * math.e * covariance)
    within(data.log_px(x), -entropy, resolve=0.1)
    outside(data.log_px(x + 0.2), -entropy)


def test_seeds_and_splits_have_noise_of_their_own() -> None:
    a, again, b = (linear_gaussian(train=20, valid=20, test=20, seed=seed) for seed in (0, 0, 1))
    assert a.train.digest() == again.train.digest()
    assert len({a.train.digest(), a.valid.digest(), a.test.digest(), b.train.digest()}) == 4


def eigenvalue_formula(x: Tensor, latent_dim: int) -> float:
    """Tipping and Bishop's maximum, from the eigenvalues alone."""
    x = x.flatten(1).double()
    D = x.shape[1]
    values = torch.linalg.eigvalsh(torch.cov(x.T, correction=0)).flip(0)
    kept = min(latent_dim, D - 1)
    rest = values[kept:].mean()
    log_det = values[:kept].log().sum() + (D - kept) * rest.log()
    return -0.5 * (D * math.log(2 * math.pi) + log_det.item() + D)


@pytest.mark.parametrize("latent_dim", [1, 2, 3, 4, 9])
def test_the_best_on_the_training_data_is_the_formula_of_the_eigenvalues(latent_dim: int) -> None:
    x = sample(200)
    assert best_log_px(x, x, latent_dim) == pytest.approx(eigenvalue_formula(x, latent_dim), abs=1e-10)
    assert best_log_px(x.float().reshape(200, 1, 2, 2), x.float(), latent_dim) == pytest.approx(
        eigenvalue_formula(x.float(), latent_dim), abs=1e-10
    )


def test_no_other_linear_gaussian_model_is_better_on_the_training_data() -> None:
    x = sample(200)
    best = best_log_px(x, x, 2)
    assert best > MODEL.log_px(x).mean()  # the truth itself is a little worse on its own sample
    assert best == pytest.approx(MODEL.log_px(x).mean().item(), abs=0.1)
    # and ascent on W, mu and sigma from the truth ends at it
    W, mu, log_sigma = (t.clone().requires_grad_() for t in (MODEL.W, MODEL.mu, torch.tensor(math.log(0.6)).double()))
    ascent = torch.optim.LBFGS([W, mu, log_sigma], max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        ascent.zero_grad()
        C = W @ W.T + (2 * log_sigma).exp() * torch.eye(4, dtype=torch.float64)
        value = -torch.distributions.MultivariateNormal(mu, C).log_prob(x).mean()
        value.backward()
        return value

    ascent.step(loss)
    assert -loss().item() == pytest.approx(best, abs=1e-6)
    assert -loss().item() <= best + 1e-9


def test_the_best_on_other_data_is_that_fit_judged_there() -> None:
    train, other = sample(5000), sample(6000)[5000:]
    assert best_log_px(train, other, 2) < best_log_px(other, other, 2)
    assert best_log_px(train, other, 2) == pytest.approx(MODEL.log_px(other).mean().item(), abs=0.02)
    assert best_log_px(train, other, 1) < best_log_px(train, other, 2) - 0.1


def test_data_of_too_few_dimensions_have_no_best() -> None:
    x = sample(200)
    flat = torch.cat([x, x[:, :1]], 1)
    assert math.isfinite(best_log_px(flat, flat, 2))
    with pytest.raises(UserError, match="no maximum"):
        best_log_px(flat, flat, 4)
    with pytest.raises(UserError, match="no maximum"):
        best_log_px(x[:3], x, 3)


@pytest.mark.parametrize(
    ("option", "value"),
    [("dim", 0), ("latent_dim", 0), ("train", 0), ("valid", -1), ("test", 0)]
    + [("sigma", s) for s in (0.0, -1.0, math.nan, math.inf)],
)
def test_an_option_out_of_its_range_is_named(option: str, value: float) -> None:
    with pytest.raises(UserError, match=f"data.{option}="):
        linear_gaussian(**{option: value})
