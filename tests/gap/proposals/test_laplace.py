"""The Laplace proposal: exact where the posterior is normal, never worse than where it began, and hard to break."""

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import (
    Bernoulli,
    Categorical,
    Distribution,
    Independent,
    MixtureSameFamily,
    MultivariateNormal,
    Normal,
    Poisson,
    StudentT,
)

from elbo_cli.bounds.draws import log_joint
from elbo_cli.errors import UserError
from elbo_cli.gap.proposals.laplace import applies, laplace
from elbo_cli.gap.proposals.normal import PrecisionNormal
from elbo_cli.gap.proposals.prior import prior_precision
from elbo_cli.gap.proposals.recipes import laplace_alone
from tests.oracles import CASES, PoissonCounts, TwoLatentMLP, random_linear_gaussian
from tests.oracles.comparison import close
from tests.oracles.oracle import Oracle, diagonal_normal


def fitted(model: Oracle) -> bool:
    x = model.data(2)
    return applies(model, x, model.posterior(x))


FITTED = [name for name, case in CASES.items() if fitted(case.build())]


def height(model: Oracle, x: Tensor, z: Tensor) -> Tensor:
    log_px_z, log_pz = log_joint(model, x, z.unsqueeze(0))
    return (log_px_z + log_pz).squeeze(0)


def precision(q: PrecisionNormal) -> Tensor:
    return q.root @ q.root.mT


@pytest.mark.parametrize("shift", [0.0, 3.0, 50.0])
def test_of_a_normal_posterior_it_is_the_posterior(shift: float) -> None:
    """From wherever it starts: with a quadratic log p(x, z) one Gauss-Newton step is the solution."""
    model = random_linear_gaussian(8, 3, shift=shift, scale=1.3)
    x = model.data(5)
    for steps in (1, 5):
        q = laplace(model, x, model.posterior(x), steps=steps, inflate=1.0)
        close(q.mean, model.posterior_mean(x), atol=1e-8)
        close(precision(q), model.precision.expand(5, 3, 3), atol=1e-8)


def test_inflation_widens_the_covariance() -> None:
    model = random_linear_gaussian(8, 3)
    x = model.data(2)
    q = laplace(model, x, model.posterior(x), inflate=1.5)
    close(torch.linalg.inv(precision(q)), (1.5 * model.covariance).expand(2, 3, 3), atol=1e-9)


def test_no_steps_leave_the_mean_where_q_has_it() -> None:
    model = CASES["probit"].build()
    x = model.data(4)
    close(laplace(model, x, model.posterior(x), steps=0).mean, model.posterior(x).mean)


@pytest.mark.parametrize("name", FITTED)
def test_no_datum_ends_below_where_it_began(name: str) -> None:
    model = CASES[name].build()
    x = model.data(8)
    began = model.posterior(x).mean
    for steps in (1, 5):
        q = laplace(model, x, model.posterior(x), steps=steps)
        assert (height(model, x, q.mean) >= height(model, x, began)).all()
        assert q.root.isfinite().all()
        assert (q.root.diagonal(dim1=-2, dim2=-1) > 0).all()


@pytest.mark.parametrize("name", ["probit", "logistic", "poisson", "two_latents", "missed_mode"])
def test_with_steps_enough_it_ends_on_a_summit(name: str) -> None:
    model = CASES[name].build()
    x = model.data(8)
    z = laplace(model, x, model.posterior(x), steps=60).mean.clone().requires_grad_()
    (slope,) = torch.autograd.grad(height(model, x, z).sum(), z)
    assert slope.abs().max() < 1e-4


def test_five_steps_are_nearly_there() -> None:
    model = CASES["probit_crude"].build()
    x = model.data(8)
    few, many = (height(model, x, laplace(model, x, model.posterior(x), steps=n).mean) for n in (5, 60))
    assert (many - few).max() < 0.05
    assert (many - height(model, x, model.posterior(x).mean)).min() > 1


class Started(PoissonCounts):
    """Counts with exp decoders, started where a full step overshoots by hundreds of nats or to infinity."""

    def __init__(self, start: float) -> None:
        super().__init__(torch.full((3,), 2.0).double(), torch.zeros(3).double())
        self.start = start

    def posterior(self, x: Tensor) -> Distribution:
        return diagonal_normal(torch.full((len(x), 3), self.start, dtype=torch.float64), 1.0)


@pytest.mark.parametrize("start", [-8.0, -4.0, 0.0, 4.0, 8.0, 20.0])
def test_damping_brings_it_home_from_afar(start: float) -> None:
    model = Started(start)
    x = torch.tensor([[0.0, 3.0, 250.0], [1.0, 1.0, 1.0]], dtype=torch.float64)
    home = laplace(model, x, Started(1.0).posterior(x), steps=50).mean
    found = laplace(model, x, model.posterior(x), steps=50).mean
    close(found, home, atol=1e-5)


@pytest.mark.parametrize("start", [200.0, 1e4])
def test_where_nothing_is_finite_it_still_is_a_normal(start: float) -> None:
    model = Started(start)
    x = torch.tensor([[0.0, 3.0, 250.0]], dtype=torch.float64)
    q = laplace(model, x, model.posterior(x))
    assert q.mean.isfinite().all()
    assert q.log_prob(q.sample((3,))).isfinite().all()


def test_a_datum_does_not_see_the_others() -> None:
    model = TwoLatentMLP(shift=0.5)
    x = model.data(6)
    together = laplace(model, x, model.posterior(x))
    order = [5, 2, 0, 1, 4, 3]
    shuffled = laplace(model, x[order], model.posterior(x[order]))
    close(shuffled.mean, together.mean[order], atol=1e-9)
    close(precision(shuffled), precision(together)[order], atol=1e-8)
    alone = laplace(model, x[:1], model.posterior(x[:1]))
    close(alone.mean, together.mean[:1], atol=1e-9)


def test_it_leaves_the_model_as_it_was() -> None:
    model, state = TwoLatentMLP(), torch.get_rng_state()
    x = model.data(3)
    model.W1.requires_grad_()
    laplace(model, x, model.posterior(x))
    assert model.W1.grad is None
    assert (torch.get_rng_state() == state).all(), "it draws nothing"


class Foreign:
    """A model of somebody else's, all in torch.distributions and float32."""

    def __init__(self, pixels: str = "bernoulli", prior: Distribution | None = None) -> None:
        torch.manual_seed(3)
        self.net = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 12))
        self.kind = pixels
        self.pz = prior or Independent(Normal(torch.zeros(2), torch.ones(2)), 1)

    def prior(self) -> Distribution:
        return self.pz

    def posterior(self, x: Tensor) -> Distribution:
        return Independent(Normal(torch.zeros(len(x), 2), torch.ones(())), 1)

    def likelihood(self, z: Tensor) -> Distribution:
        h = self.net(z)
        made: dict[str, Distribution] = {
            "bernoulli": Independent(Bernoulli(logits=h.unflatten(-1, (3, 4))), 2),
            "probs": Independent(Bernoulli(probs=h.sigmoid().unflatten(-1, (3, 4))), 2),
            "poisson": Independent(Poisson(h.exp().unflatten(-1, (3, 4))), 2),
            "normal": Independent(Normal(h[..., :6], h[..., 6:].exp()), 1),
            "categorical": Independent(Categorical(logits=h.unflatten(-1, (3, 4))), 1),
            "student": Independent(StudentT(4.0, h, 1.0), 1),
            "mixture": MixtureSameFamily(
                Categorical(logits=h[..., :6]), Independent(Normal(h.unflatten(-1, (6, 2)), 1.0), 1)
            ),
        }
        return made[self.kind]

    def log_joint(self, x: Tensor, z: Tensor) -> Tensor:
        with torch.no_grad():
            return self.likelihood(z).log_prob(x) + self.prior().log_prob(z)


@pytest.mark.parametrize("kind", ["bernoulli", "probs", "poisson", "normal", "categorical"])
def test_a_foreign_model_has_its_proposal(kind: str) -> None:
    model = Foreign(kind)
    x = model.likelihood(torch.randn(6, 2)).sample()
    assert applies(model, x, model.posterior(x))
    q = laplace(model, x, model.posterior(x))
    assert (model.log_joint(x, q.mean) >= model.log_joint(x, torch.zeros(6, 2))).all()
    assert (model.log_joint(x, q.mean) > model.log_joint(x, torch.zeros(6, 2))).any()
    assert all(parameter.grad is None for parameter in model.net.parameters())


@pytest.mark.parametrize("kind", ["student", "mixture"])
def test_a_likelihood_without_a_formula_has_none(kind: str) -> None:
    model = Foreign(kind)
    x = torch.zeros(2, 12)
    assert not applies(model, x, model.posterior(x))
    with pytest.raises(UserError, match=r"--proposal laplace does not apply.*Type --proposal auto, or"):
        laplace_alone(model, x, model.posterior(x))


def test_latents_too_many_or_of_another_shape_have_none() -> None:
    model = Foreign()
    wide = Independent(Normal(torch.zeros(2, 600), 1.0), 1)
    square = Independent(Normal(torch.zeros(2, 2, 2), 1.0), 2)
    x = torch.zeros(2, 12)
    assert not applies(model, x, wide)
    assert not applies(model, x, square)
    with pytest.raises(UserError, match=r"does not apply to this model of 600 latents: it needs at most 512"):
        laplace_alone(model, x, wide)


PRIORS = {
    "full": MultivariateNormal(torch.tensor([1.0, -1.0]), torch.tensor([[1.0, 0.6], [0.6, 2.0]])),
    "student": Independent(StudentT(3.0, torch.zeros(2), 1.0), 1),
    "mixture": MixtureSameFamily(
        Categorical(torch.ones(2)), Independent(Normal(torch.tensor([[-4.0, 0.0], [4.0, 0.0]]), 1.0), 1)
    ),
    "wide": Independent(Normal(torch.tensor([1.0, 2.0]), torch.tensor([0.5, 3.0])), 1),
}


@pytest.mark.parametrize("name", PRIORS)
def test_any_prior_has_a_positive_precision(name: str) -> None:
    z = torch.tensor([[0.0, 0.0], [4.0, 0.0], [1.0, -9.0]])
    found = prior_precision(PRIORS[name], z).expand(3, 2, 2)
    assert (torch.linalg.eigvalsh(found) > 0).all()


@pytest.mark.parametrize("name", ["full", "wide"])
def test_the_precision_of_a_normal_prior_is_its_own(name: str) -> None:
    prior = PRIORS[name]
    full = prior.precision_matrix if isinstance(prior, MultivariateNormal) else torch.diag(prior.stddev**-2)
    torch.testing.assert_close(prior_precision(prior, torch.zeros(3, 2)).expand(3, 2, 2), full.expand(3, 2, 2))


@pytest.mark.parametrize("name", PRIORS)
def test_a_model_with_any_prior_has_its_proposal(name: str) -> None:
    model = Foreign("bernoulli", PRIORS[name])
    x = model.likelihood(torch.randn(6, 2)).sample()
    q = laplace(model, x, model.posterior(x))
    assert q.log_prob(q.sample((4,))).isfinite().all()
    assert (model.log_joint(x, q.mean) >= model.log_joint(x, torch.zeros(6, 2))).all()
