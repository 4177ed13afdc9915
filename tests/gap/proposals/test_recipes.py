"""Every proposal keeps exp L_K unbiased, whatever it is made of; a mixture weighs each draw by the whole of itself."""

import math

import pytest
import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, Normal

from elbo_cli.bounds.draws import weigh
from elbo_cli.gap.proposals.mixture import Component, Mixture
from elbo_cli.gap.proposals.recipes import PROPOSALS, posterior
from elbo_cli.runtime import noise
from tests.oracles import CASES, Oracle, WithPosterior, both_modes
from tests.oracles.comparison import close
from tests.oracles.quadrature import line, log_integral
from tests.statistics import outside, within


def fitted(model: Oracle, x: Tensor, name: str) -> Mixture:
    with noise(0, "test_proposals"):
        return Mixture(tuple(PROPOSALS[name](model, x, model.posterior(x))))


@torch.no_grad()
def relative_weights(model: Oracle, x: Tensor, mixture: Mixture, K: int) -> Tensor:
    """w / p(x), [K, N]: their expectation is 1 for every datum, and E[exp L_K] = p(x) for every K with it."""
    with noise(1, "test_proposals"):
        z = mixture.sample(K, len(x))
    return (weigh(model, x, z, mixture.log_prob(z)).log_w - model.log_px(x)).exp()


# proposal, oracle, draws, and the error that must not pass: for each only oracles whose weights have a variance
UNBIASED = [
    ("auto", "exact", 4_000, 0.03),
    ("auto", "crude", 4_000, 0.03),
    ("auto", "infinite_variance", 4_000, 0.03),
    ("auto", "hopeless", 4_000, 0.1),
    ("auto", "student", 4_000, 0.03),
    ("auto", "probit", 4_000, 0.06),
    ("auto", "probit_crude", 8_000, 0.15),
    ("auto", "poisson", 4_000, 0.04),
    ("auto", "two_latents_crude", 8_000, 0.1),
    ("auto", "missed_mode", 100_000, 0.2),
    ("auto", "both_modes", 40_000, 0.1),
    ("auto", "ring_wide", 40_000, 0.3),
    ("refined", "crude", 4_000, 0.04),
    ("refined", "student", 4_000, 0.04),
    ("refined", "infinite_variance", 4_000, 0.04),
    ("refined", "two_latents_crude", 8_000, 0.1),
    ("refined", "both_modes", 20_000, 0.2),
    ("defensive", "crude", 8_000, 0.08),
    ("defensive", "student", 8_000, 0.05),
    ("defensive", "infinite_variance", 20_000, 0.1),
    ("defensive", "probit", 4_000, 0.04),
    ("defensive", "missed_mode", 40_000, 0.3),
    ("defensive", "both_modes", 20_000, 0.05),
    ("defensive", "ring_wide", 20_000, 0.15),
    ("defensive", "funnel", 40_000, 0.2),
    ("posterior", "crude", 20_000, 0.05),
    ("posterior", "slightly_crude", 20_000, 0.05),
    ("posterior", "student", 20_000, 0.05),
    ("posterior", "probit", 4_000, 0.02),
    ("posterior", "both_modes", 20_000, 0.05),
    ("laplace", "crude", 4_000, 0.02),
    ("laplace", "diagonal_20x10", 4_000, 0.02),
    ("laplace", "crude_50", 4_000, 0.05),
    ("laplace", "probit", 4_000, 0.05),
    ("laplace", "poisson", 4_000, 0.05),
]


@pytest.mark.parametrize(("proposal", "name", "K", "resolve"), UNBIASED)
def test_the_mean_weight_is_px(proposal: str, name: str, K: int, resolve: float) -> None:
    model = CASES[name].build()
    x = model.data(3)
    within(relative_weights(model, x, fitted(model, x, proposal), K), 1.0, resolve=resolve)


def test_every_proposal_is_tried() -> None:
    assert {row[0] for row in UNBIASED} == set(PROPOSALS)


@pytest.mark.parametrize("name", ["crude", "student", "two_latents_crude"])
def test_weights_that_know_only_their_own_component_are_wrong(name: str) -> None:
    """The negative control: each draw weighed by the density of the component that it came from, or by q's."""
    model = CASES[name].build()
    x = model.data(3)
    mixture = fitted(model, x, "auto")
    first = Mixture(mixture.components[:1])
    with noise(1, "test_proposals"):
        z = mixture.sample(20_000, 3)
    wrong = weigh(model, x, z, first.log_prob(z)).log_w - model.log_px(x)
    outside(wrong.exp().clamp(max=50), 1.0)


def test_a_lost_share_would_be_seen() -> None:
    model = CASES["crude"].build()
    x = model.data(3)
    weights = relative_weights(model, x, fitted(model, x, "auto"), 4_000)
    outside(weights * 0.96, 1.0)  # densities that sum to 1 / 0.96


def test_a_proposal_that_misses_a_mode_is_ln_2_short_and_auto_is_not() -> None:
    model = CASES["missed_mode"].build()
    x = model.data(2)
    within(relative_weights(model, x, fitted(model, x, "posterior"), 20_000), 0.5, resolve=0.02)
    outside(relative_weights(model, x, fitted(model, x, "auto"), 100_000), 0.5)


@pytest.mark.parametrize("proposal", PROPOSALS)
def test_the_density_of_a_mixture_integrates_to_one(proposal: str) -> None:
    model = CASES["missed_mode"].build()
    x = model.data(4)
    nodes, step = line(12.0, 20_001)
    z = nodes[:, None, None].expand(-1, 4, 1)
    close(log_integral(fitted(model, x, proposal).log_prob(z), step).exp(), torch.ones(4), atol=1e-8)


def three() -> tuple[Mixture, list[tuple[Distribution, float]]]:
    """Shares that do not sum to one; a component for all data among those of each."""
    one = Independent(Normal(torch.tensor([[-9.0], [-90.0]]).double(), 0.1), 1)
    two = Independent(Normal(torch.tensor([[9.0], [90.0]]).double(), 0.2), 1)
    all_data = Independent(Normal(torch.zeros(1).double(), 1.0), 1)
    parts: list[tuple[Distribution, float]] = [(one, 3.0), (two, 1.5), (all_data, 0.5)]
    return Mixture(tuple(Component(q, share) for q, share in parts)), parts


def test_its_density_is_the_sum_over_its_components() -> None:
    mixture, parts = three()
    z = mixture.sample(50, 2)
    by_hand = sum((share / 5.0 * q.log_prob(z).exp() for q, share in parts), torch.zeros(50, 2).double())
    close(mixture.log_prob(z).exp(), by_hand)
    assert mixture.log_prob(z).dtype == torch.float64


def test_its_draws_fall_by_its_shares_and_each_datum_has_its_own() -> None:
    mixture, _ = three()
    z = mixture.sample(20_000, 2).squeeze(-1)
    assert z.shape == (20_000, 2)
    homes = torch.tensor([[-9.0, 9.0, 0.0], [-90.0, 90.0, 0.0]]).double()
    home = (z.unsqueeze(-1) - homes).abs() < 4.5
    assert (home.sum(-1) == 1).all()
    within(home.double(), torch.tensor([0.6, 0.3, 0.1]).double(), resolve=0.02)
    assert z[:, 0].unique().numel() == z[:, 1].unique().numel() == 20_000, "no draw is used twice"


def test_whether_a_draw_comes_from_a_component_is_independent_of_the_last() -> None:
    mixture, _ = three()
    first = (mixture.sample(40_000, 2).squeeze(-1) < -4.5).double()
    within((first[1:] - 0.6) * (first[:-1] - 0.6), 0.0, resolve=0.02)
    within((first[:, 0] - 0.6) * (first[:, 1] - 0.6), 0.0, resolve=0.02)


def test_draws_of_a_component_are_draws_of_its_density() -> None:
    mixture, _ = three()
    z = mixture.sample(20_000, 2)[:, 0, 0]
    within((z[z < -4.5] + 9) / 0.1, 0.0, resolve=0.1)
    within(((z[z < -4.5] + 9) / 0.1).square(), 1.0, resolve=0.1)


def test_one_component_is_itself() -> None:
    model = CASES["crude"].build()
    x = model.data(3)
    mixture = Mixture(posterior(model, x, model.posterior(x)))
    with noise(7, "one"):
        z = mixture.sample(5, 3)
    with noise(7, "one"):
        expected = model.posterior(x).sample((5,))
    close(z, expected)
    close(mixture.log_prob(z), model.posterior(x).log_prob(z))


@pytest.mark.parametrize("proposal", ["auto", "defensive"])
@pytest.mark.parametrize("name", ["infinite_variance", "probit_crude", "missed_mode", "spike", "funnel_5"])
def test_a_share_bounds_the_weights_by_those_of_its_component_alone(proposal: str, name: str) -> None:
    """w <= w_c / share_c. By q's share no weight is ten times q's own; by the prior's none is 25 times p(x | z)."""
    model = CASES[name].build()
    x = model.data(3)
    mixture = fitted(model, x, proposal)
    z = torch.cat([mixture.sample(200, 3), 4 * model.prior().sample((200, 3))])
    density = mixture.log_prob(z)
    for component in mixture.components:
        floor = component.distribution.log_prob(z) + math.log(component.share)
        assert (density >= floor - 1e-9 * (1 + floor.abs())).all()
    assert sum(c.share for c in mixture.components) == pytest.approx(1, abs=1e-12)
    q, prior = mixture.components[-2:]
    assert q.share >= 0.1 - 1e-12
    assert prior.share >= 0.04 - 1e-12
    close(q.distribution.log_prob(z), model.posterior(x).log_prob(z))
    close(prior.distribution.log_prob(z), model.prior().log_prob(z))


def test_where_no_normal_is_to_be_had_auto_is_q_and_the_prior() -> None:
    """A likelihood without a Fisher information that is known."""
    model = both_modes()

    class Unknown(WithPosterior):
        def likelihood(self, z: Tensor) -> Distribution:
            return Wrapped(model.likelihood(z))

    foreign = Unknown(model.model, model.encoder)
    x = foreign.data(2)
    parts = [type(c.distribution) for c in fitted(foreign, x, "auto").components]
    assert parts == [type(c.distribution) for c in fitted(foreign, x, "defensive").components]
    within(relative_weights(foreign, x, fitted(foreign, x, "auto"), 10_000), 1.0, resolve=0.1)


class Wrapped(Distribution):
    """A distribution of a type that nobody knows."""

    def __init__(self, base: Distribution) -> None:
        super().__init__(base.batch_shape, base.event_shape, validate_args=False)
        self.base = base

    def log_prob(self, value: Tensor) -> Tensor:
        return self.base.log_prob(value)


@pytest.mark.parametrize("proposal", PROPOSALS)
def test_a_proposal_looks_at_the_data_and_at_no_draw(proposal: str) -> None:
    """The same fit, whatever draws were made of it before; and none of the draws depends on what they are for."""
    model = CASES["probit"].build()
    x = model.data(3)
    first = fitted(model, x, proposal)
    z = first.sample(10, 3)
    close(fitted(model, x, proposal).log_prob(z), first.log_prob(z))


def test_only_proposals_with_a_share_of_the_prior_are_said_to_be_defended() -> None:
    model = CASES["crude"].build()
    x = model.data(3)
    for name, proposal in PROPOSALS.items():
        shared = any(not c.distribution.batch_shape for c in fitted(model, x, name).components)
        assert proposal.defended == shared
