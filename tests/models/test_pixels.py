"""Every p(x | z) over pixels, held to torch's or scipy's own, to its normaliser and to its draws."""

import math
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy import integrate, stats
from scipy.special import expit
from torch import Tensor
from torch.distributions import Bernoulli, Categorical, ContinuousBernoulli, Distribution, Independent, Normal, Poisson
from torch.nn.functional import binary_cross_entropy

from elbo_cli.models.pixels import (
    BernoulliLogits,
    ContinuousBernoulliLogits,
    DiscretizedLogistic,
    GaussianPixels,
    Levels,
    Pixels,
    PoissonLogRate,
    discrete,
)
from tests.oracles.comparison import close
from tests.statistics import outside, within

EVENT = (2, 3)


def f64(values: object) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def parameters(*shape: int, scale: float = 2.0) -> Tensor:
    return scale * torch.randn(*shape, dtype=torch.float64)


def scale() -> Tensor:
    return 0.05 + torch.rand(4, *EVENT, dtype=torch.float64)


# of every family: a batch of four, event (2, 3)
FAMILIES = {
    "bernoulli": lambda: BernoulliLogits(parameters(4, *EVENT), 2),
    "continuous_bernoulli": lambda: ContinuousBernoulliLogits(parameters(4, *EVENT), 2),
    "gaussian": lambda: GaussianPixels(parameters(4, *EVENT), f64(0.7), 2),
    "gaussian_per_pixel": lambda: GaussianPixels(parameters(4, *EVENT), scale()[0], 2),
    "poisson": lambda: PoissonLogRate(parameters(4, *EVENT, scale=0.7), 2),
    "levels": lambda: Levels(parameters(4, *EVENT, 5), 2),
    "discretized_logistic": lambda: DiscretizedLogistic(parameters(4, *EVENT, scale=0.5) + 0.5, scale(), 16, 2),
}


@pytest.mark.parametrize("name", FAMILIES)
def test_a_log_prob_is_a_sum_over_the_pixels_of_a_datum(name: str) -> None:
    px_z = FAMILIES[name]()
    assert (px_z.batch_shape, px_z.event_shape) == ((4,), EVENT)
    x = px_z.sample()
    assert x.shape == (4, *EVENT)
    whole = px_z.log_prob(x)
    assert whole.shape == (4,)
    flipped = px_z.log_prob(x.clone().index_copy(0, torch.tensor([3]), x[:1]))
    close(flipped[:3], whole[:3])
    assert px_z.sample((7,)).shape == (7, 4, *EVENT)
    assert px_z.sample(torch.Size([5, 7])).shape == (5, 7, 4, *EVENT)
    close(px_z.log_prob(px_z.sample((7,)))[2].isfinite().double(), torch.ones(4))
    assert px_z.mean.shape == (4, *EVENT)


@pytest.mark.parametrize("name", FAMILIES)
def test_x_is_broadcast_against_draws(name: str) -> None:
    """The waist's call: z [K, N, D], x [N, *shape]."""
    px_z = FAMILIES[name]()
    x = px_z.sample()[:1]
    close(px_z.log_prob(x.squeeze(0)), px_z.log_prob(x.expand(4, *EVENT)))


@pytest.mark.parametrize("name", [name for name in FAMILIES if name != "discretized_logistic"])
def test_draws_have_the_mean_that_is_said_of_them(name: str) -> None:
    px_z = FAMILIES[name]()
    within(px_z.sample((20_000,)), px_z.mean, resolve=0.2)
    outside(px_z.sample((20_000,)), px_z.mean + 0.3)


@pytest.mark.parametrize("family", [BernoulliLogits, ContinuousBernoulliLogits, PoissonLogRate])
def test_draws_have_the_variance_of_an_exponential_family(family: Callable[[Tensor, int], Pixels]) -> None:
    """Var[x] = dE[x] / dl, for x the statistic that l multiplies."""
    logits = torch.linspace(-2, 2, 8, dtype=torch.float64).requires_grad_()
    px_z = family(logits, 1)
    (variance,) = torch.autograd.grad(px_z.mean.sum(), logits)
    squares = (px_z.sample((40_000,)) - px_z.mean.detach()).square()
    within(squares / variance, 1.0, resolve=0.1)
    outside(squares / variance, 1.2)


def test_draws_of_a_normal_have_its_sigma() -> None:
    sigma = f64([0.1, 1.0, 30.0])
    white = (GaussianPixels(f64([5.0, 0.0, -1.0]), sigma, 1).sample((20_000,)) - f64([5.0, 0.0, -1.0])) / sigma
    within(white, 0.0, resolve=0.05)
    within(white.square(), 1.0, resolve=0.06)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (lambda p: BernoulliLogits(p, 1), lambda p: Bernoulli(logits=p)),
        (lambda p: GaussianPixels(p, f64(0.3), 1), lambda p: Normal(p, 0.3)),
        (lambda p: PoissonLogRate(p / 3, 1), lambda p: Poisson((p / 3).exp())),
        (lambda p: Levels(p.unflatten(-1, (3, 4)), 1), lambda p: Categorical(logits=p.unflatten(-1, (3, 4)))),
    ],
)
def test_log_prob_is_torchs_own(ours: object, theirs: object) -> None:
    p = parameters(5, 12, scale=5.0)
    reference: Distribution = theirs(p)  # type: ignore[operator]
    x = reference.sample()
    found: Distribution = ours(p)  # type: ignore[operator]
    close(found.log_prob(x / 3 if isinstance(found, Levels) else x), reference.log_prob(x).sum(-1))
    mean = reference.probs @ torch.arange(4.0).double() / 3 if isinstance(found, Levels) else reference.mean  # type: ignore[attr-defined]
    close(found.mean, mean)


def test_the_continuous_bernoulli_is_torchs_own_where_torchs_is_exact() -> None:
    logits, x = torch.linspace(-6, 6, 61).double(), torch.rand(61).double()
    away = logits.abs() > 0.2  # nearer to zero torch's uses a series of its own
    reference = ContinuousBernoulli(logits=logits[away])
    ours = ContinuousBernoulliLogits(logits[away].unsqueeze(-1), 1)
    close(ours.log_prob(x[away].unsqueeze(-1)), reference.log_prob(x[away]), atol=1e-8)
    close(ours.mean.squeeze(-1), reference.mean, atol=1e-8)


@pytest.mark.parametrize("logit", [-700.0, -30.0, -3.0, -0.2, -0.0101, -0.0099, -1e-6, 0.0, 0.0099, 0.5, 20.5, 600.0])
def test_the_continuous_bernoulli_is_a_density_with_its_mean(logit: float) -> None:
    px_z = ContinuousBernoulliLogits(f64([logit]), 1)

    def moment(order: int) -> float:
        def f(x: float) -> float:
            return x**order * math.exp(px_z.log_prob(f64([x])).item())

        ends = sorted({0.0, min(1.0, 50 / max(abs(logit), 1)), max(0.0, 1 - 50 / max(abs(logit), 1)), 1.0})
        return sum(integrate.quad(f, a, b, epsabs=1e-13, epsrel=1e-11)[0] for a, b in pairwise(ends))

    assert moment(0) == pytest.approx(1, abs=1e-8)
    assert moment(1) == pytest.approx(px_z.mean.item(), abs=1e-7)


@pytest.mark.parametrize("logit", [-1e4, -200.0, -17.0, -3.0, 0.0, 20.5, 30.0, 200.0, 1e4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_bernoulli_is_exact_at_any_logit(logit: float, dtype: torch.dtype) -> None:
    """-log(1 + exp(-s l)): nothing is clamped, and nothing is lost where x is all but certain."""
    px_z = BernoulliLogits(torch.tensor([[logit], [logit]], dtype=dtype), 1)
    x = torch.tensor([[0.0], [1.0]], dtype=dtype)
    expected = torch.tensor([-np.logaddexp(0, logit), -np.logaddexp(0, -logit)])
    torch.testing.assert_close(
        px_z.log_prob(x).double(), expected, rtol=1e-6 if dtype == torch.float32 else 1e-14, atol=1e-40
    )


def test_a_clamped_cross_entropy_would_be_seen() -> None:
    """The commonest fault: probabilities, whose logarithm torch cuts off at -100."""
    logits, x = torch.tensor([[200.0]]), torch.tensor([[0.0]])
    clamped = -binary_cross_entropy(logits.sigmoid(), x, reduction="none").sum(-1)
    assert clamped.item() == -100
    close(BernoulliLogits(logits, 1).log_prob(x).double(), [-200.0])


@pytest.mark.parametrize("log_rate", [-1e4, -120.0, -1.0, 3.0])
def test_a_poisson_is_exact_where_its_rate_rounds_to_nothing(log_rate: float) -> None:
    l = torch.tensor([log_rate], requires_grad=True)  # noqa: E741  # as in its formula
    for count in (0.0, 1.0, 5.0):
        log_p = PoissonLogRate(l, 1).log_prob(torch.tensor([count]))
        expected = count * log_rate - math.exp(log_rate) - math.lgamma(count + 1)
        assert log_p.item() == pytest.approx(expected, rel=1e-6)
        (gradient,) = torch.autograd.grad(log_p, l)
        assert gradient.item() == pytest.approx(count - math.exp(log_rate), rel=1e-6)


def test_a_poisson_sums_to_one() -> None:
    px_z = PoissonLogRate(torch.linspace(-8, 4, 13).double().unsqueeze(-1), 1)
    counts = torch.arange(300).double()
    mass = px_z.log_prob(counts[:, None, None]).exp()
    close(mass.sum(0), torch.ones(13))
    close((counts[:, None] * mass).sum(0), px_z.mean.squeeze(-1), atol=1e-9)


@pytest.mark.parametrize("levels", [2, 3, 5, 16, 256])
def test_levels_sum_to_one(levels: int) -> None:
    px_z = Levels(parameters(3, 1, levels, scale=30.0), 1)
    x = torch.arange(levels).double() / (levels - 1)
    mass = px_z.log_prob(x[:, None, None]).exp()
    close(mass.sum(0), torch.ones(3))
    close((x[:, None] * mass).sum(0), px_z.mean.squeeze(-1))


@pytest.mark.parametrize("levels", [2, 3, 16, 255, 256])
@pytest.mark.parametrize("s", [1e-4, 3e-3, 0.127, 1.0, 50.0])
@pytest.mark.parametrize("loc", [-3.0, 0.0, 0.31, 0.5, 1.0, 4.0])
def test_a_discretized_logistic_sums_to_one(levels: int, s: float, loc: float) -> None:
    px_z = DiscretizedLogistic(f64([loc]), f64([s]), levels, 1)
    x = torch.arange(levels).double() / (levels - 1)
    log_mass = px_z.log_prob(x[:, None])
    assert log_mass.isfinite().all()
    close(log_mass.exp().sum(0), 1.0)


@pytest.mark.parametrize("loc", [-0.2, 0.4, 1.1])
def test_a_discretized_logistic_is_a_difference_of_distribution_functions(loc: float) -> None:
    s, levels = 0.2, 16
    k = np.arange(levels)
    edges = (k[:-1] + 0.5) / (levels - 1)
    F = np.concatenate([[0.0], stats.logistic.cdf(edges, loc, s), [1.0]])
    px_z = DiscretizedLogistic(f64([loc]), f64([s]), levels, 1)
    close(px_z.log_prob(torch.from_numpy(k / (levels - 1))[:, None]), np.log(np.diff(F)))


@pytest.mark.parametrize("loc", [-0.3, 0.02, 0.5, 0.97])
def test_draws_of_a_discretized_logistic_fall_as_its_masses_say(loc: float) -> None:
    levels, K = 6, 40_000
    px_z = DiscretizedLogistic(f64([loc]), f64([0.15]), levels, 1)
    x = torch.arange(levels).double() / (levels - 1)
    hits = (px_z.sample((K,)) - x).abs() < 1e-9
    assert (hits.sum(1) == 1).all(), "every draw is a level"
    within(hits.double(), px_z.log_prob(x[:, None]).exp(), resolve=0.02)
    assert 0 <= px_z.mean.item() <= 1


def test_the_mean_of_a_discretized_logistic_is_near_where_the_tails_are_in_range() -> None:
    px_z = DiscretizedLogistic(torch.linspace(0.4, 0.6, 5).double(), f64(0.05).expand(5), 256, 1)
    within(px_z.sample((20_000,)), px_z.mean, resolve=0.01)


EXTREME = [-1e4, -90.0, 90.0, 1e4]


@pytest.mark.parametrize("extreme", EXTREME)
@pytest.mark.parametrize("x", [0.0, 1.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    "make",
    [
        lambda p: BernoulliLogits(p, 1),
        lambda p: ContinuousBernoulliLogits(p, 1),
        lambda p: GaussianPixels(p, torch.tensor(0.1, dtype=p.dtype), 1),
        lambda p: Levels(torch.stack([p, torch.zeros_like(p), -p], -1), 1),
        lambda p: DiscretizedLogistic(p, torch.full_like(p, 1e-4), 256, 1),
        lambda p: DiscretizedLogistic(torch.full_like(p, 0.5), torch.nn.functional.softplus(p) + 1e-4, 256, 1),
    ],
)
def test_values_and_gradients_are_finite_at_extremes(
    make: object, dtype: torch.dtype, x: float, extreme: float
) -> None:
    p = torch.tensor([extreme], dtype=dtype, requires_grad=True)
    log_p = make(p).log_prob(torch.tensor([x], dtype=dtype))  # type: ignore[operator]
    (gradient,) = torch.autograd.grad(log_p, p)
    assert log_p.isfinite(), log_p
    assert gradient.isfinite().all(), gradient


@pytest.mark.parametrize("logit", [-1e4, -50.0, -1e-3, -1e-5, 0.0, 1e-5, 1e-3, 50.0, 1e4])
def test_draws_of_a_continuous_bernoulli_lie_in_the_unit_interval(logit: float) -> None:
    px_z = ContinuousBernoulliLogits(torch.tensor([logit]), 1)
    x = px_z.sample((20_000,))
    assert ((x >= 0) & (x <= 1)).all()
    within(x.double(), px_z.mean.double(), resolve=0.02)


def test_a_bernoulli_draws_zero_and_one() -> None:
    px_z = BernoulliLogits(f64([-2.0, 0.0, 3.0]), 1)
    x = px_z.sample((20_000,))
    assert set(x.unique().tolist()) == {0.0, 1.0}
    within(x, torch.from_numpy(expit([-2.0, 0.0, 3.0])), resolve=0.02)


@pytest.mark.parametrize("name", FAMILIES)
def test_which_families_are_masses(name: str) -> None:
    px_z = FAMILIES[name]()
    assert isinstance(px_z, Pixels)
    assert discrete(px_z) == (name in ("bernoulli", "poisson", "levels", "discretized_logistic"))


def test_of_a_foreign_distribution_its_support_says() -> None:
    assert discrete(Independent(Bernoulli(logits=torch.zeros(3)), 1))
    assert discrete(Independent(Poisson(torch.ones(3)), 1))
    assert not discrete(Independent(Normal(torch.zeros(3), 1.0), 1))


@pytest.mark.parametrize("support", [None, property(lambda self: self.nothing)])
def test_a_foreign_distribution_that_says_nothing_of_its_support_is_no_mass(support: object) -> None:
    """torch's own default raises NotImplementedError."""
    own = type("Own", (Distribution,), {} if support is None else {"support": support})
    assert not discrete(own(validate_args=False))
    assert not discrete(Independent(own(torch.Size([3]), validate_args=False), 1))
