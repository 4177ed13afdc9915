"""The Fisher information of every family, held to the expectation of its squared score."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.distributions import (
    Bernoulli,
    Beta,
    Categorical,
    ContinuousBernoulli,
    Distribution,
    Exponential,
    Independent,
    Laplace,
    MixtureSameFamily,
    Normal,
    Poisson,
    StudentT,
)
from torch.func import jvp, vmap

from elbo_cli.gap.proposals.fisher import FISHER, knows, metric, score
from elbo_cli.models.pixels import (
    BernoulliLogits,
    ContinuousBernoulliLogits,
    DiscretizedLogistic,
    GaussianPixels,
    Levels,
    PoissonLogRate,
)

Made = Callable[[Tensor], Distribution]  # parameters [2] -> a distribution over one pixel


def f64(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def points(low: float, high: float, n: int = 40_001) -> tuple[Tensor, Tensor]:
    """Midpoints of n cells and their widths."""
    width = (high - low) / n
    return low + width * (torch.arange(n, dtype=torch.float64) + 0.5), torch.full((n,), math.log(width)).double()


def levels(n: int, last: int) -> tuple[Tensor, Tensor]:
    return torch.arange(n, dtype=torch.float64) / last, torch.zeros(n, dtype=torch.float64)


# of every family: how two parameters make it, where they are, and all x with the logarithm of their measure
CASES: dict[str, tuple[Made, Tensor, tuple[Tensor, Tensor]]] = {
    "bernoulli": (lambda t: BernoulliLogits(t[:1] * t[1:], 1), f64(0.7, 2.0), levels(2, 1)),
    "torch_bernoulli": (lambda t: Independent(Bernoulli(logits=t[:1] * t[1:]), 1), f64(-0.7, 2.0), levels(2, 1)),
    "torch_bernoulli_of_probs": (lambda t: Independent(Bernoulli(t[:1] * t[1:]), 1), f64(0.5, 0.4), levels(2, 1)),
    "continuous_bernoulli": (lambda t: ContinuousBernoulliLogits(t[:1] * t[1:], 1), f64(1.5, -2.0), points(0, 1)),
    "continuous_bernoulli_near_zero": (
        lambda t: ContinuousBernoulliLogits(t[:1] * t[1:], 1),
        f64(0.2, 0.2),
        points(0, 1),
    ),
    "continuous_bernoulli_far": (
        lambda t: ContinuousBernoulliLogits(t[:1] * t[1:], 1),
        f64(20.0, 10.0),
        points(0.5, 1),
    ),
    "torch_continuous_bernoulli": (
        lambda t: Independent(ContinuousBernoulli(logits=t[:1] * t[1:]), 1),
        f64(1.5, -2.0),
        points(0, 1),
    ),
    "gaussian": (lambda t: GaussianPixels(t[:1] * t[1:], f64(0.3)[0], 1), f64(0.7, 2.0), points(-4, 6)),
    "torch_normal": (lambda t: Independent(Normal(t[:1], t[1:].exp()), 1), f64(0.7, -0.5), points(-9, 10)),
    "torch_laplace": (lambda t: Independent(Laplace(t[:1], t[1:].exp()), 1), f64(0.0, -0.5), points(-20, 20)),
    "poisson": (lambda t: PoissonLogRate(t[:1] * t[1:], 1), f64(0.7, 2.0), levels(100, 1)),
    "torch_poisson": (lambda t: Independent(Poisson((t[:1] * t[1:]).exp()), 1), f64(0.7, 2.0), levels(100, 1)),
    "torch_exponential": (lambda t: Independent(Exponential((t[:1] * t[1:]).exp()), 1), f64(0.7, 1.0), points(0, 20)),
    "levels": (lambda t: Levels(torch.stack([t[0], t[1], t[0] * t[1]])[None], 1), f64(0.3, -1.0), levels(3, 2)),
    "torch_categorical": (
        lambda t: Independent(Categorical(logits=torch.stack([t[0], t[1], t[0] * t[1]])[None]), 1),
        f64(0.3, -1.0),
        levels(3, 1),
    ),
    "discretized_logistic": (
        lambda t: DiscretizedLogistic(t[:1], t[1:].exp(), 256, 1),
        f64(0.5, math.log(0.05)),
        levels(256, 255),
    ),
    "coarse_discretized_logistic": (
        lambda t: DiscretizedLogistic(t[:1], t[1:].exp(), 32, 1),
        f64(0.5, math.log(0.04)),
        levels(32, 31),
    ),
}
ROUGH = {"discretized_logistic": 0.02, "coarse_discretized_logistic": 0.1, "torch_laplace": 1e-3}  # no closed form is


def information(make: Made, at: Tensor) -> Tensor:
    """J' F J from the metric, [2, 2]."""

    def eta(t: Tensor) -> tuple[Tensor, Tensor]:
        return metric(make(t))

    columns, f = zip(*(_pushed(eta, at, direction) for direction in torch.eye(2, dtype=torch.float64)), strict=True)
    J = torch.stack(columns)
    return torch.einsum("dp,p,ep->de", J, f[0], J)


def _pushed(eta: Callable[[Tensor], tuple[Tensor, Tensor]], at: Tensor, direction: Tensor) -> tuple[Tensor, Tensor]:
    _, moved, f = jvp(eta, (at,), (direction,), has_aux=True)
    return moved, f


def expected_squared_score(make: Made, at: Tensor, x: tuple[Tensor, Tensor]) -> Tensor:
    """E[s s'] with s = d log p(x) / d parameters, over all x, [2, 2]; the score by central differences."""
    values, log_measure = x[0][:, None], x[1]
    step = 1e-5 * torch.eye(2, dtype=torch.float64)
    score = torch.stack([(make(at + h).log_prob(values) - make(at - h).log_prob(values)) / 2e-5 for h in step])
    share = (make(at).log_prob(values) + log_measure).exp()
    assert share.sum().item() == pytest.approx(1, abs=1e-3), "not all x"
    return torch.einsum("dx,x,ex->de", score, share, score)


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")
@pytest.mark.parametrize("name", CASES)
def test_the_information_is_the_mean_of_the_squared_score(name: str) -> None:
    make, at, x = CASES[name]
    expected = expected_squared_score(make, at, x)
    tolerance = ROUGH.get(name, 1e-5) * expected.diagonal().max().item()
    torch.testing.assert_close(information(make, at), expected, rtol=0, atol=tolerance)
    assert (information(make, at) * 1.5 - expected).abs().max() > tolerance, "blind"


def test_every_family_has_its_case() -> None:
    used = {type(_base(make(at))) for make, at, _ in CASES.values()}
    assert used == set(FISHER)


def _base(px_z: Distribution) -> Distribution:
    return px_z.base_dist if isinstance(px_z, Independent) else px_z


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("batch", [(), (4,), (3, 4)])
def test_a_metric_has_the_batch_of_its_distribution(name: str, batch: tuple[int, ...]) -> None:
    make, at, _ = CASES[name]
    assert knows(make(at))
    if not batch:
        eta, f = metric(make(at))
        assert eta.shape == f.shape
        assert (f >= 0).all()
        return
    stacked = Independent(Normal(torch.zeros(*batch, 2, 3), 1.0), 2)
    eta, f = metric(stacked)
    assert eta.shape == f.shape == (*batch, 12)


@pytest.mark.parametrize("logit", [-1e4, -100.0, -61.0, 61.0, 89.0, 1e4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_it_is_finite_and_right_where_sinh_overflows(logit: float, dtype: torch.dtype) -> None:
    """Far from zero the continuous Bernoulli is an exponential of rate |l|, whose variance is 1 / l^2."""
    _, f = metric(ContinuousBernoulliLogits(torch.tensor([logit], dtype=dtype), 1))
    assert f.item() == pytest.approx(logit**-2, rel=1e-5)


@pytest.mark.parametrize("logit", [-0.11, -0.099, -1e-3, 0.0, 1e-4, 0.099, 0.101])
def test_the_series_near_zero_joins_its_formula(logit: float) -> None:
    half = torch.tensor([logit], dtype=torch.float64).requires_grad_()
    (variance,) = torch.autograd.grad(ContinuousBernoulliLogits(half, 1).mean.sum(), half)
    _, f = metric(ContinuousBernoulliLogits(half.detach(), 1))
    assert f.item() == pytest.approx(1 / 12 - logit**2 / 240 + logit**4 / 6048, abs=1e-7)
    assert f.item() == pytest.approx(variance.item(), abs=2e-3)


def test_of_what_has_no_formula_nothing_is_said() -> None:
    for base in (StudentT(4.0, torch.zeros(3), 1.0), Beta(torch.ones(3), 1.0)):
        assert not knows(base)
        assert not knows(Independent(base, 1))
    mixed = MixtureSameFamily(Categorical(torch.ones(2)), Normal(torch.zeros(2), 1.0))
    assert not knows(mixed)
    assert knows(Independent(Independent(Normal(torch.zeros(3, 2), 1.0), 1), 1))


def test_a_metric_goes_through_vmap() -> None:
    z = torch.randn(5, 4, dtype=torch.float64)
    for make in (lambda z: BernoulliLogits(z, 1), lambda z: Independent(Normal(z, z.exp()), 1)):
        together = metric(make(z))
        one_by_one = vmap(lambda row, make=make: metric(make(row)))(z)
        for found, expected in zip(one_by_one, together, strict=True):
            torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(
    ("make", "x"),
    [
        (lambda eta: BernoulliLogits(eta, 1), [0.0, 1.0]),
        (lambda eta: ContinuousBernoulliLogits(eta, 1), [0.2, 0.9]),
        (lambda eta: PoissonLogRate(eta, 1), [0.0, 5.0]),
        (lambda eta: GaussianPixels(eta, f64(0.3), 1), [-1.0, 0.4]),
    ],
)
def test_a_score_is_the_derivative_of_the_log_density(make: Made, x: list[float]) -> None:
    eta = torch.randn(4, 2, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(make(eta).log_prob(f64(*x)).sum(), eta)
    found = score(make(eta.detach()), f64(*x))
    assert found is not None
    torch.testing.assert_close(found, slope)


def test_of_other_families_no_score_is_known_here() -> None:
    assert score(Levels(torch.zeros(2, 3, 4), 1), torch.zeros(3)) is None
    assert score(Independent(StudentT(3.0, torch.zeros(2), 1.0), 1), torch.zeros(2)) is None
