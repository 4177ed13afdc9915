"""The table of likelihoods: what data each takes, what it makes of a decoder's outputs, and where it starts."""

import math

import pytest
import torch
from torch import Tensor

from elbo_cli.models.likelihoods import LIKELIHOODS, Likelihood, Options
from elbo_cli.models.pixels import discrete
from tests.oracles.comparison import close

SHAPE = (2, 3, 5)
X: dict[str, tuple[list[float], list[float]]] = {  # data that each takes, and data that it refuses
    "bernoulli": ([0.0, 1.0], [0.5, -1.0, 2.0, 1e-6, math.nan, math.inf]),
    "continuous_bernoulli": ([0.0, 0.3, 1.0], [-0.01, 1.01, 255.0, math.nan, math.inf]),
    "gaussian": ([-1e6, 0.0, 0.5], [math.nan, math.inf, -math.inf]),
    "poisson": ([0.0, 1.0, 250.0], [-1.0, 0.5, math.nan, math.inf]),
    "categorical": ([0.0, 1 / 3, 2 / 3, 1.0], [0.5, -1 / 3, 4 / 3, 3.0, math.nan, math.inf]),
    "discretized_logistic": ([0.0, 1 / 3, 2 / 3, 1.0], [0.5, -1 / 3, 4 / 3, 3.0, math.nan, math.inf]),
}


def make(name: str, sigma: float | str = "shared") -> Likelihood:
    return LIKELIHOODS[name](SHAPE, Options(sigma=sigma, levels=4))


def outputs(name: str, *batch: int) -> Tensor:
    return torch.randn(*batch, make(name).outputs, *SHAPE)


def test_the_tables_below_speak_of_every_likelihood() -> None:
    assert X.keys() == LIKELIHOODS.keys()


@pytest.mark.parametrize("name", LIKELIHOODS)
@pytest.mark.parametrize("batch", [(), (4,), (3, 4), (2, 3, 4)])
def test_outputs_of_any_batch_become_a_distribution_over_data(name: str, batch: tuple[int, ...]) -> None:
    px_z = make(name).distribution(outputs(name, *batch))
    assert px_z.batch_shape == batch
    assert px_z.event_shape == SHAPE
    x = torch.tensor(X[name][0][0]).expand(SHAPE)
    assert px_z.log_prob(x).shape == batch
    assert px_z.mean.shape == (*batch, *SHAPE)
    assert px_z.sample().shape == (*batch, *SHAPE)


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_a_datum_is_judged_by_its_own_outputs(name: str) -> None:
    """For draws [K, N] and x [N]: the entry [k, n] is that of outputs [k, n] and x[n] alone."""
    likelihood, parameters = make(name), outputs(name, 3, 4)
    x = likelihood.distribution(parameters[0]).sample()
    together = likelihood.distribution(parameters).log_prob(x)
    assert together.shape == (3, 4)
    for k in range(3):
        for n in range(4):
            alone = likelihood.distribution(parameters[k, n]).log_prob(x[n])
            torch.testing.assert_close(together[k, n], alone, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_what_a_likelihood_takes_and_refuses(name: str) -> None:
    likelihood = make(name)
    taken, refused = (torch.tensor(values) for values in X[name])
    assert likelihood.supports(taken).tolist() == [True] * len(taken)
    assert likelihood.supports(refused).tolist() == [False] * len(refused)
    assert likelihood.support
    assert likelihood.cure


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_whatever_is_drawn_is_taken(name: str) -> None:
    likelihood = make(name)
    assert likelihood.supports(likelihood.distribution(outputs(name, 50)).sample()).all()


@pytest.mark.parametrize("levels", [2, 17, 256])
def test_every_level_of_an_image_is_taken(levels: int) -> None:
    for name in ("categorical", "discretized_logistic"):
        likelihood = LIKELIHOODS[name]((1,), Options(levels=levels))
        assert likelihood.supports(torch.arange(levels).to(torch.uint8).float() / (levels - 1)).all()


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_what_is_taken_has_a_finite_density(name: str) -> None:
    likelihood = make(name)
    x = torch.tensor(X[name][0])[:, None, None, None].expand(-1, *SHAPE)
    assert likelihood.distribution(outputs(name, 1)).log_prob(x).isfinite().all()


@pytest.mark.parametrize("name", ["bernoulli", "continuous_bernoulli", "gaussian", "poisson"])
def test_a_decoder_starts_where_the_mean_is_that_of_the_data(name: str) -> None:
    mean = torch.linspace(0.02, 0.98, 30).view(SHAPE)
    start = make(name).start(mean)
    assert start is not None
    assert start.shape == (make(name).outputs, *SHAPE)
    torch.testing.assert_close(make(name).distribution(start).mean, mean, rtol=1e-4, atol=1e-5)


def test_a_discretized_logistic_starts_near_the_mean() -> None:
    mean = torch.linspace(0.3, 0.7, 30).view(SHAPE)
    start = make("discretized_logistic").start(mean)
    assert start is not None
    torch.testing.assert_close(make("discretized_logistic").distribution(start).mean, mean)


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_pixels_that_never_change_start_at_something_finite(name: str) -> None:
    for value in (0.0, 1.0):
        start = make(name).start(torch.full(SHAPE, value))
        assert start is None or start.isfinite().all()


def test_a_categorical_starts_even() -> None:
    assert make("categorical").start(torch.rand(SHAPE)) is None


def test_a_gaussians_sigma_is_fixed_shared_or_of_each_pixel() -> None:
    x = torch.randn(SHAPE).double()
    fixed, shared, own = (make("gaussian", sigma) for sigma in (0.5, "shared", "per_pixel"))
    assert [p.requires_grad for p in fixed.parameters()] == [False]
    assert [(tuple(p.shape), p.requires_grad) for p in shared.parameters()] == [((), True)]
    assert [(tuple(p.shape), p.requires_grad) for p in own.parameters()] == [(SHAPE, True)]
    nothing = torch.zeros(1, *SHAPE).double()
    expected = torch.distributions.Normal(0.0, 0.5).log_prob(x).sum()
    torch.testing.assert_close(fixed.distribution(nothing).log_prob(x), expected)
    expected = torch.distributions.Normal(0.0, 1.0).log_prob(x).sum()
    torch.testing.assert_close(shared.distribution(nothing).log_prob(x), expected)
    torch.testing.assert_close(own.distribution(nothing).log_prob(x), expected)


def test_a_sigma_that_is_learnt_learns_the_spread() -> None:
    """The gradient of sigma vanishes at the root mean square of the residuals, each pixel's or all."""
    x = 0.3 * torch.randn(500, *SHAPE)
    for sigma, axes in (("shared", (0, 1, 2, 3)), ("per_pixel", (0,))):
        likelihood = make("gaussian", sigma)
        (parameter,) = likelihood.parameters()
        with torch.no_grad():
            parameter.copy_(x.square().mean(axes).sqrt().log())
        log_p = likelihood.distribution(torch.zeros(500, 1, *SHAPE)).log_prob(x).sum()
        (gradient,) = torch.autograd.grad(log_p, parameter)
        torch.testing.assert_close(gradient, torch.zeros_like(parameter), rtol=0, atol=2e-2)


def test_which_are_masses_over_discrete_data() -> None:
    masses = {name for name in LIKELIHOODS if discrete(make(name).distribution(outputs(name, 1)))}
    assert masses == {"bernoulli", "poisson", "categorical", "discretized_logistic"}


def test_the_scale_of_a_discretized_logistic_stays_positive() -> None:
    for raw in (-1e4, -100.0, 0.0, 1e4):
        parameters = torch.full((2, *SHAPE), raw, requires_grad=True)
        log_p = make("discretized_logistic").distribution(parameters).log_prob(torch.zeros(SHAPE))
        (gradient,) = torch.autograd.grad(log_p, parameters)
        assert log_p.isfinite()
        assert gradient.isfinite().all()


def test_a_bernoulli_from_outputs_is_torchs_own() -> None:
    """Bernoulli from outputs is Bernoulli from logits: no clamp, no epsilon, no mean over pixels."""
    parameters = outputs("bernoulli", 3).double()
    x = (torch.rand(3, *SHAPE) < 0.5).double()
    expected = torch.distributions.Bernoulli(logits=parameters.squeeze(1)).log_prob(x).flatten(1).sum(1)
    close(make("bernoulli").distribution(parameters).log_prob(x), expected)
