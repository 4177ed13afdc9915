"""The waist: what draws hold, and where their KL comes from."""

import pytest
import torch
from torch import Tensor
from torch.distributions import Cauchy, Distribution, Independent, MultivariateNormal, Normal, StudentT

from elbo_cli.bounds.draws import (
    Draws,
    Quick,
    closed_form_kl,
    draw,
    kl_per_latent,
    log_joint,
    mean_and_spread,
    mean_of,
    weigh,
)
from elbo_cli.bounds.lower import BOUNDS, elbo
from elbo_cli.gap.proposals.sight import value_and_slope
from elbo_cli.runtime import noise
from tests.oracles import CASES, MissedMode, WithPosterior, both_modes, random_linear_gaussian, student_posterior
from tests.oracles.comparison import close
from tests.statistics import outside, within


def normal(mu: Tensor, sigma: Tensor) -> Independent:
    return Independent(Normal(mu, sigma), 1)


def repeated(q: Distribution, R: int) -> Tensor:
    return q.sample((R,))


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("K", [1, 3])
def test_draws_of_every_oracle_have_the_shapes_they_say(name: str, K: int) -> None:
    model = CASES[name].build()
    draws = draw(model, model.data(4), K)
    assert draws.z.shape == (K, 4, model.latent_dim)
    for part in (draws.log_px_z, draws.log_pz, draws.log_qz_x, draws.log_w):
        assert part.shape == (K, 4)
    assert draws.kl is None or draws.kl.shape == (4,)


def test_the_densities_are_those_of_the_model_at_the_draws() -> None:
    model = CASES["crude"].build()
    x = model.data(4)
    draws = draw(model, x, 3)
    for k in range(3):
        for n in range(4):
            z = draws.z[k, n]
            close(draws.log_px_z[k, n], model.likelihood(z).log_prob(x[n]))
            close(draws.log_pz[k, n], model.prior().log_prob(z))
            close(draws.log_qz_x[k, n], model.posterior(x[n : n + 1]).log_prob(z)[0])
    close(draws.log_w, draws.log_px_z + draws.log_pz - draws.log_qz_x)


def test_weights_are_float64_whatever_the_network_computes_in() -> None:
    ones = torch.ones(2, 3)
    assert Draws(ones, ones, ones, ones).log_w.dtype == torch.float64
    large = torch.full((1, 1), 16_777_217.0)  # rounds to 2^24 in float32: the sum must not
    assert Draws(large, large, torch.ones(1, 1), torch.zeros(1, 1)).log_w.item() == 2.0**24 + 1


def test_weigh_takes_draws_of_any_proposal() -> None:
    model = CASES["diagonal"].build()
    x = model.data(5)
    truth = model.true_posterior(x)
    z = truth.sample((7,))
    weighed = weigh(model, x, z, truth.log_prob(z))
    close(weighed.log_w, model.log_px(x).expand(7, 5))
    assert weighed.kl is None, "the KL of a proposal is not the model's"
    outside(weigh(model, x, z, model.posterior(x).log_prob(z)).log_w.exp(), model.log_px(x).exp(), sigmas=0.5)


def test_log_joint_is_the_two_terms() -> None:
    model = CASES["crude"].build()
    z, x = model.simulate(6)
    log_px_z, log_pz = log_joint(model, x, z.unsqueeze(0))
    close(log_px_z[0], model.likelihood(z).log_prob(x))
    close(log_pz[0], model.prior().log_prob(z))


def test_weights_that_nobody_looks_at_are_not_computed() -> None:
    model = CASES["crude"].build()
    x = model.data(4)
    with noise(0, "test_draws"):
        full = draw(model, x, 3)
    with noise(0, "test_draws"):
        light = draw(model, x, 3, weights=False)
    close(light.z, full.z)
    close(elbo(light), elbo(full))
    assert light.log_w.isnan().all(), "nobody can take them for weights"
    student = student_posterior()
    assert draw(student, student.data(4), 3, weights=False).log_w.isfinite().all(), "without a closed KL they are its"


@pytest.mark.parametrize("name", BOUNDS)
def test_a_bound_that_needs_no_weights_says_so_truly(name: str) -> None:
    model = CASES["crude"].build()
    value = BOUNDS[name].estimate(draw(model, model.data(4), 3, weights=BOUNDS[name].weights))
    assert value.isfinite().all()


def test_draws_are_reparameterised_where_q_allows_it() -> None:
    model = CASES["crude"].build()
    mu = torch.zeros(4, 3, dtype=torch.float64, requires_grad=True)
    draws = draw(model, model.data(4), 5, normal(mu, torch.ones_like(mu)))
    (gradient,) = torch.autograd.grad(draws.z.sum(), mu)
    close(gradient, torch.full_like(mu, 5.0))
    assert not both_modes().posterior(torch.ones(2, 16)).has_rsample
    assert not draw(both_modes(), torch.ones(2, 16), 3).z.requires_grad


def test_a_q_that_is_given_is_used() -> None:
    model = CASES["crude"].build()
    x = model.data(4)
    truth = model.true_posterior(x)
    close(draw(model, x, 3, truth).log_w, model.log_px(x).expand(3, 4))


def test_the_closed_kl_is_the_mean_of_its_log_ratio() -> None:
    q = normal(torch.tensor([[0.7, -0.4], [0.0, 2.0]]).double(), torch.tensor([[0.5, 1.5], [1.0, 0.2]]).double())
    p = normal(torch.tensor([0.1, -0.2]).double(), torch.tensor([1.3, 0.8]).double())
    closed = closed_form_kl(q, p)
    assert closed is not None
    z = repeated(q, 40_000)
    within(q.log_prob(z) - p.log_prob(z), closed, resolve=0.05)
    outside(q.log_prob(z) - p.log_prob(z), -closed)
    outside(q.log_prob(z) - p.log_prob(z), closed_form_kl(p, q))


def test_the_closed_kl_of_a_full_covariance_is_known_too() -> None:
    model = random_linear_gaussian(8, 3, q="exact")
    x = model.data(5)
    q, p = model.posterior(x), MultivariateNormal(torch.zeros(3).double(), torch.eye(3).double())
    S, m = model.covariance, model.posterior_mean(x)
    expected = 0.5 * (torch.trace(S) + m.square().sum(-1) - 3 - torch.logdet(S))
    close(closed_form_kl(q, p), expected)


def test_where_torch_knows_no_closed_form_there_is_none() -> None:
    q = Independent(StudentT(4.0, torch.zeros(2, 3), torch.ones(2, 3)), 1)
    assert closed_form_kl(q, normal(torch.zeros(3), torch.ones(3))) is None
    assert draw(student_posterior(), torch.ones(2, 3).double(), 2).kl is None


@pytest.mark.parametrize("name", ["diagonal", "crude_50", "probit"])
def test_the_kl_of_the_latents_sums_to_the_kl(name: str) -> None:
    model = CASES[name].build()
    x = model.data(6)
    q, p = model.posterior(x), model.prior()
    each = kl_per_latent(q, p)
    assert each is not None
    assert each.shape == (6, model.latent_dim)
    assert (each >= 0).all()
    close(each.sum(-1), closed_form_kl(q, p))


def test_the_kl_of_a_latent_is_its_own() -> None:
    q = normal(torch.tensor([[0.0, 3.0]]).double(), torch.tensor([[1.0, 1.0]]).double())
    close(kl_per_latent(q, normal(torch.zeros(2).double(), torch.ones(2).double())), [[0.0, 4.5]])


def test_latents_that_do_not_factorise_have_no_kl_of_their_own() -> None:
    p = normal(torch.zeros(3), torch.ones(3))
    full = MultivariateNormal(torch.zeros(2, 3), torch.eye(3))
    assert kl_per_latent(full, p) is None
    assert kl_per_latent(Independent(StudentT(4.0, torch.zeros(2, 3)), 1), p) is None
    assert kl_per_latent(Independent(full, 1), p) is None
    assert kl_per_latent(MissedMode().posterior(torch.ones(2, 16)), p) is not None


def test_another_posterior_leaves_the_model_alone() -> None:
    model = CASES["crude"].build()
    other = WithPosterior(model, model.true_posterior)
    x = model.data(3)
    close(draw(other, x, 2).log_w, model.log_px(x).expand(2, 3))


class Named(WithPosterior):
    """A model of a user's own with a method of a natural name, which is no hook of ours."""

    def log_likelihood(self, x: Tensor, z: Tensor) -> Tensor:
        return self.likelihood(z).log_prob(x)


def test_a_method_of_a_natural_name_is_left_alone() -> None:
    inner = CASES["crude"].build()
    model, x = Named(inner, inner.posterior), inner.data(4)
    assert not isinstance(model, Quick)
    z = inner.posterior(x).sample((5,))
    close(log_joint(model, x, z)[0], inner.likelihood(z).log_prob(x))


class Viewing(WithPosterior):
    """A decoder that takes one row for each draw, as many do."""

    def likelihood(self, z: Tensor) -> Distribution:
        return self.model.likelihood(z.view(-1, z.shape[-1]).view(z.shape))


def test_draws_are_handed_to_a_model_in_one_piece() -> None:
    """As a transposed product they are not; a fit, its draws, and their gradients go through one place."""
    inner = CASES["crude"].build()
    model, x = Viewing(inner, inner.posterior), inner.data(4)
    z = torch.randn(4, 5, 3, dtype=torch.float64).transpose(0, 1)
    close(log_joint(model, x, z)[0], inner.likelihood(z).log_prob(x))
    value_and_slope(model, x, z)


HEAVY = {
    "no mean": StudentT(1.0, torch.zeros(2, 3)),
    "no variance": StudentT(2.0, torch.ones(2, 3)),
    "no number": Cauchy(torch.zeros(2, 3), 1.0),
}


@pytest.mark.parametrize("name", HEAVY)
def test_a_mean_or_a_spread_that_is_no_number_is_that_of_draws(name: str) -> None:
    q = Independent(HEAVY[name], 1)
    mean, spread = mean_and_spread(q, 64)
    for number in (mean, spread, mean_of(q, 64)):
        assert number.shape == (2, 3)
        assert number.isfinite().all()
    assert (spread > 0).all()


def test_a_mean_and_a_spread_that_are_known_are_taken() -> None:
    q, state = normal(torch.ones(2, 3), torch.full((2, 3), 0.5)), torch.get_rng_state()
    mean, spread = mean_and_spread(q, 64)
    assert (mean == mean_of(q, 64)).all()
    assert (mean == 1).all()
    assert (spread == 0.5).all()
    assert torch.equal(torch.get_rng_state(), state), "nothing was drawn"


def test_a_mean_of_parameters_that_are_no_numbers_is_none_and_no_fault() -> None:
    """Weights that ran away: torch refuses to draw with such a scale, and the sentence is for who asked to say."""
    lost = torch.full((3, 2), torch.nan)
    assert mean_of(Independent(Normal(lost, lost, validate_args=False), 1), 4).isnan().all()
