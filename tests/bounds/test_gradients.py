"""Every gradient estimator against the gradient of its bound: in closed form, by a quadrature, and at the posterior."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributions import AffineTransform, Distribution, Independent, Normal, TransformedDistribution

from elbo_cli.bounds.draws import Draws, draw, path_log_prob
from elbo_cli.bounds.gradients import GRADIENTS, dreg
from elbo_cli.bounds.lower import BOUNDS, elbo, iwae, tempered
from elbo_cli.runtime import noise
from tests.oracles import random_linear_gaussian
from tests.oracles.comparison import close
from tests.statistics import outside, within

ALL = [(name, bound) for name, gradient in GRADIENTS.items() for bound in gradient.of]
X = torch.tensor([0.7, -1.1, 0.4], dtype=torch.float64)
SIGMA = 0.8  # of x given z
START = (torch.tensor([0.3]), torch.tensor([-0.4]), torch.tensor([0.9, -0.6, 0.5]))  # mu, log sigma, W
ENCODER, DECODER = slice(0, 2), slice(2, 3)


@pytest.fixture(autouse=True)
def _noise() -> Iterator[None]:
    with noise(0, "test_gradients"):
        yield


@dataclass(frozen=True)
class Toy:
    """One latent, three pixels: x = W z + noise, q = N(mu, sigma^2); R repeats, each with parameters of its own."""

    mu: Tensor  # [R, 1]
    log_sigma: Tensor  # [R, 1]
    W: Tensor  # [R, 3]

    @classmethod
    def repeated(cls, R: int) -> "Toy":
        return cls(*(part.double().repeat(R, 1).requires_grad_() for part in START))

    def prior(self) -> Distribution:
        return Independent(Normal(torch.zeros(1).double(), torch.ones(1).double()), 1)

    def posterior(self, x: Tensor) -> Distribution:
        return Independent(Normal(self.mu, self.log_sigma.exp()), 1)

    def likelihood(self, z: Tensor) -> Distribution:
        return Independent(Normal(z * self.W, SIGMA), 1)

    def draw(self, K: int, path: bool) -> Draws:
        return draw(self, X.expand(len(self.mu), 3), K, path=path)

    def gradient(self, value: Tensor) -> list[Tensor]:
        return list(torch.autograd.grad(value.sum(), (self.mu, self.log_sigma, self.W)))


class Deaf(Toy):
    """The decoder's path is stopped: z comes to it without a history."""

    def likelihood(self, z: Tensor) -> Distribution:
        return super().likelihood(z.detach())


def estimates(estimate: Callable[[Draws], Tensor], K: int, R: int, *, path: bool = True, of: Any = Toy) -> list[Tensor]:
    toy = of.repeated(R)
    return toy.gradient(estimate(toy.draw(K, path)))  # type: ignore[no-any-return]


def truth(bound: Callable[[Draws], Tensor], K: int) -> list[Tensor]:
    """The gradient of E[bound], by the trapezoid rule over the noise of one or two draws: good to 1e-9."""
    nodes = torch.linspace(-8, 8, 161, dtype=torch.float64)
    e = torch.cartesian_prod(*[nodes] * K).view(-1, K).T.unsqueeze(-1)  # [K, N, 1]
    step = 16 / 160
    mass = (step / math.sqrt(2 * math.pi)) ** K * torch.exp(-0.5 * e.square().sum((0, 2)))
    toy = Toy.repeated(1)
    z = toy.mu + toy.log_sigma.exp() * e
    q = toy.posterior(X)
    draws = Draws(z, toy.likelihood(z).log_prob(X), toy.prior().log_prob(z), q.log_prob(z))
    return toy.gradient((mass * bound(draws)).sum())


def closed_elbo(toy: Toy) -> Tensor:
    v = (2 * toy.log_sigma).exp()
    error = (X - toy.mu * toy.W).square().sum() + (v * toy.W.square()).sum()
    kl = 0.5 * (v + toy.mu.square() - 1 - 2 * toy.log_sigma).sum()
    return -0.5 * (3 * math.log(2 * math.pi * SIGMA**2) + error / SIGMA**2) - kl


def test_the_quadrature_is_the_closed_form() -> None:
    toy = Toy.repeated(1)
    for found, wanted in zip(truth(elbo, 1), toy.gradient(closed_elbo(toy)), strict=True):
        close(found, wanted, atol=1e-9)


# the number is the bound's


@pytest.mark.parametrize(("name", "bound"), ALL)
@pytest.mark.parametrize("K", [1, 2, 7])
def test_the_number_is_the_bound(name: str, bound: str, K: int) -> None:
    gradient = GRADIENTS[name]
    draws = Toy.repeated(5).draw(K, gradient.path)
    expected = BOUNDS[bound].estimate(replace(draws, kl=None) if gradient.path else draws)
    close(gradient.of[bound](draws), expected)
    surrogate = (draws.log_w.softmax(0) * draws.log_w).sum(0)
    assert bound == "elbo" or K == 1 or (surrogate - expected).abs().min() > 1e-3, "blind"


# the gradient is that of the bound


def mean_is(found: list[Tensor], wanted: list[Tensor], *, resolve: float) -> None:
    for mine, right in zip(found, wanted, strict=True):
        within(mine, right[0], resolve=resolve)


@pytest.mark.parametrize("name", ["standard", "stl"])
@pytest.mark.parametrize("K", [1, 3])
def test_the_gradient_is_that_of_the_closed_elbo(name: str, K: int) -> None:
    gradient, toy = GRADIENTS[name], Toy.repeated(1)
    found = estimates(gradient.of["elbo"], K, 40_000, path=gradient.path)
    mean_is(found, toy.gradient(closed_elbo(toy)), resolve=0.1)


@pytest.mark.parametrize("name", ["standard", "dreg"])
@pytest.mark.parametrize("K", [1, 2])
def test_the_gradient_is_that_of_the_importance_weighted_bound(name: str, K: int) -> None:
    gradient = GRADIENTS[name]
    mean_is(estimates(gradient.of["iwae"], K, 80_000, path=gradient.path), truth(iwae, K), resolve=0.06)


def test_sticking_the_landing_is_biased_for_the_importance_weighted_bound() -> None:
    """As Tucker et al. (2018) say, and the docs with them. The decoder's part is not."""
    found, wanted = estimates(GRADIENTS["stl"].of["iwae"], 2, 80_000), truth(iwae, 2)
    outside(torch.cat(found[ENCODER], 1), torch.cat(wanted[ENCODER], 1))
    mean_is(found[DECODER], wanted[DECODER], resolve=0.06)


@pytest.mark.parametrize("beta", [0.0, 0.3, 2.0])
def test_under_a_beta_the_gradient_is_that_of_the_tempered_bound(beta: float) -> None:
    """As published it holds for beta = 1 alone: with another, the score comes beta times, and so does its path."""
    wanted = truth(lambda draws: iwae(tempered(draws, beta)), 2)
    mean_is(estimates(lambda draws: dreg(tempered(draws, beta)), 2, 80_000), wanted, resolve=0.06)
    published = estimates(lambda draws: dreg(replace(tempered(draws, beta), beta=1.0)), 2, 80_000)
    outside(torch.cat(published[ENCODER], 1), torch.cat(wanted[ENCODER], 1))


@pytest.mark.parametrize("beta", [0.0, 0.3, 2.0])
def test_the_score_is_nothing_to_a_tempered_elbo(beta: float) -> None:
    found = estimates(lambda draws: GRADIENTS["stl"].of["elbo"](tempered(draws, beta)), 2, 40_000)
    mean_is(found, truth(lambda draws: elbo(tempered(draws, beta)), 1), resolve=0.15)


# the known mistakes


def hook_on_a_copy(draws: Draws) -> Tensor:
    v = draws.log_w.detach().softmax(0)
    draws.z.clone().register_hook(lambda gradient: v.unsqueeze(-1) * gradient)
    return (v * draws.log_w).sum(0)


def squares_for_the_decoder_too(draws: Draws) -> Tensor:
    return (draws.log_w.detach().softmax(0).square() * draws.log_w).sum(0)


@pytest.mark.parametrize(
    ("mistake", "path", "of", "part"),
    [
        (hook_on_a_copy, True, Toy, ENCODER),
        (squares_for_the_decoder_too, True, Toy, DECODER),
        (dreg, False, Toy, ENCODER),  # the score is still there, and is squared too
        (dreg, True, Deaf, ENCODER),
    ],
)
def test_a_mistake_of_dreg_is_far_from_its_bound(mistake: Any, path: bool, of: Any, part: slice) -> None:
    found = estimates(mistake, 2, 80_000, path=path, of=of)
    outside(torch.cat(found[part], 1), torch.cat(truth(iwae, 2)[part], 1))


@pytest.mark.parametrize("K", [1, 3])
def test_sticking_the_landing_with_the_decoders_path_stopped_too_is_far_from_the_elbo(K: int) -> None:
    toy = Toy.repeated(1)
    found = estimates(GRADIENTS["stl"].of["elbo"], K, 40_000, of=Deaf)
    outside(torch.cat(found[ENCODER], 1), torch.cat(toy.gradient(closed_elbo(toy))[ENCODER], 1))


# at the true posterior


@pytest.mark.parametrize(("name", "bound"), ALL)
def test_at_the_posterior_only_the_standard_gradient_of_an_encoder_has_noise(name: str, bound: str) -> None:
    model = random_linear_gaussian(8, 3, q="exact")
    x, gradient = model.data(5), GRADIENTS[name]
    mean = model.posterior_mean(x).requires_grad_()
    tril = torch.linalg.cholesky(model.covariance).requires_grad_()
    q = torch.distributions.MultivariateNormal(mean, scale_tril=tril, validate_args=False)
    value = gradient.of[bound](draw(model, x, 4, q, path=gradient.path)).sum()
    found = torch.cat([part.flatten() for part in torch.autograd.grad(value, (mean, tril))])
    if gradient.path:
        close(found, torch.zeros_like(found), atol=1e-9)
    else:
        assert found.abs().max() > 0.1, "blind"


# any q


class TwoLayers(Distribution):
    """q(z1) q(z2 | z1) as one distribution over (z1, z2): the second mean is a function of the first draw."""

    has_rsample = True

    def __init__(self, a: Tensor, b: Tensor) -> None:
        super().__init__(a.shape, torch.Size((2,)), validate_args=False)
        self.a, self.b = a, b

    def second(self, z1: Tensor) -> Normal:
        return Normal(torch.tanh(self.b * z1), (0.2 * self.b).exp(), validate_args=False)

    def first(self) -> Normal:
        return Normal(self.a, (0.3 * self.a).exp(), validate_args=False)

    def rsample(self, shape: torch.Size = torch.Size()) -> Tensor:  # noqa: B008
        z1 = self.first().rsample(shape)
        return torch.stack([z1, self.second(z1).rsample()], -1)

    def log_prob(self, z: Tensor) -> Tensor:
        return self.first().log_prob(z[..., 0]) + self.second(z[..., 0]).log_prob(z[..., 1])


def remembering(a: Tensor, b: Tensor) -> Distribution:
    """A flow of torch's that keeps its last draw, and looks its base up for it."""
    base = Independent(Normal(torch.zeros(*a.shape, 2).double(), 1.0), 1)
    stretch = AffineTransform(a.unsqueeze(-1), (0.2 * b).exp().unsqueeze(-1), event_dim=1, cache_size=1)
    return TransformedDistribution(base, [stretch], validate_args=False)


@pytest.mark.parametrize("family", [TwoLayers, remembering])
@pytest.mark.parametrize("estimator", ["stl", "dreg"])
def test_any_q_gets_the_gradient_of_its_path(family: Any, estimator: str) -> None:
    """Against another mechanism: log q with parameters that stand still, and v in the place of the hook."""
    model, K = random_linear_gaussian(4, 2), 3
    x = model.data(5)
    parts = [torch.linspace(-0.5, 0.5, 5).double().add(s).requires_grad_() for s in (0.0, 0.4)]
    q = family(*parts)
    with noise(0, "two layers"):
        draws = draw(model, x, K, q, path=True)
    found = torch.autograd.grad(GRADIENTS[estimator].of["iwae"](draws).sum(), parts)
    with noise(0, "two layers"):
        z = family(*parts).rsample((K,))
    at = z.detach().requires_grad_()
    still = family(*(part.detach() for part in parts))
    log_w = model.likelihood(at).log_prob(x) + model.prior().log_prob(at) - still.log_prob(at)
    v = log_w.detach().softmax(0)
    (slope,) = torch.autograd.grad((v * log_w).sum(), at)
    wanted = torch.autograd.grad(z, parts, (slope * v.unsqueeze(-1) if estimator == "dreg" else slope))
    for mine, right in zip(found, wanted, strict=True):
        close(mine, right, atol=1e-9)


def test_the_path_alone_has_the_number_of_the_whole() -> None:
    a, b = (torch.full((5,), value).double().requires_grad_() for value in (0.1, 0.5))
    q = TwoLayers(a, b)
    z = q.rsample(torch.Size((3,)))
    close(path_log_prob(q, z), q.log_prob(z))


def test_where_q_stands_still_the_decoder_has_its_gradient_all_the_same() -> None:
    toys = [Toy.repeated(4), Toy.repeated(4)]
    toys[1].mu.requires_grad_(False)
    toys[1].log_sigma.requires_grad_(False)
    gradients = []
    for toy in toys:
        with noise(0, "still"):
            draws = toy.draw(3, path=True)
        gradients.append(torch.autograd.grad(dreg(draws).sum(), toy.W)[0])
    close(*gradients)


# signal and noise


def signal_to_noise(gradient: str, K: int, R: int) -> float:
    """|E g| / sd g of the derivative by q's mean."""
    g = estimates(GRADIENTS[gradient].of["iwae"], K, R, path=GRADIENTS[gradient].path)[0]
    return float(g.mean().abs() / g.std())


def test_with_k_the_signal_of_iwae_drowns_and_that_of_dreg_rises() -> None:
    """1/sqrt K against sqrt K: sixteen times the draws are a factor of 4, down or up. Rainforth et al. (2018)."""
    found = {name: [signal_to_noise(name, K, 40_000) for K in (4, 64)] for name in ("standard", "dreg")}
    assert min(map(min, found.values())) > 8 / math.sqrt(40_000), "blind: a signal within eight standard errors of 0"
    assert found["standard"][0] / found["standard"][1] == pytest.approx(4, rel=0.3)
    assert found["dreg"][1] / found["dreg"][0] == pytest.approx(4, rel=0.2)
