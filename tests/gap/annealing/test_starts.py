"""Where chains begin: shares that are kept exactly cost no variance, and leave every mean unbiased."""

import math

import pytest
import torch
from torch import Tensor
from torch.distributions import Distribution

from elbo_cli.gap.annealing.starts import STARTS, Beginning
from elbo_cli.gap.proposals.mixture import Component
from elbo_cli.runtime import noise
from tests.oracles import CASES, LinearGaussian, WithPosterior
from tests.oracles.oracle import DTYPE, Silent, diagonal_normal
from tests.statistics import outside, within


def normal(at: float, sd: float, N: int = 3) -> Distribution:
    return diagonal_normal(torch.full((N, 1), at, dtype=DTYPE), torch.full((N, 1), sd, dtype=DTYPE))


def three(N: int = 3) -> Beginning:
    """Components that a draw betrays: near 0, near 100 and near -100."""
    return Beginning(
        (Component(normal(0, 1, N), 0.75), Component(normal(100, 1, N), 0.125), Component(normal(-100, 1, N), 0.125))
    )


@pytest.mark.parametrize("C", [16, 64, 72])
def test_every_eight_chains_have_the_shares_exactly_and_every_four_one_stranger(C: int) -> None:
    start = three()
    z = start.begin(start.strata(C), 3)[..., 0]
    assert z.shape == (C, 3)
    of = torch.where(z.abs() < 50, 0, torch.where(z > 0, 1, 2))
    assert (of == start.strata(C)[:, None]).all()
    for eight in of.split(8):
        assert [(eight == i).sum(0).tolist() for i in range(3)] == [[6] * 3, [1] * 3, [1] * 3]
    assert all(((four > 0).sum(0) == 1).all() for four in of.split(4))


@pytest.mark.parametrize("C", [1, 4, 8, 15, 20])
def test_where_shares_do_not_come_out_even_chance_decides(C: int) -> None:
    start = three(2000)
    z = start.begin(start.strata(C), 2000)
    assert start.strata(C).tolist() == [0] * C
    within((z[0] > 50).double(), 0.125, resolve=0.04)


def test_one_component_is_no_matter_of_shares() -> None:
    start = Beginning((Component(normal(0, 1), 1.0),))
    assert start.strata(16).tolist() == [0] * 16
    assert start.begin(start.strata(16), 3).shape == (16, 3, 1)


def target(z: Tensor) -> Tensor:
    """log of 3 N(z; 1, 1.5^2): what the mean weight must find is 3."""
    return math.log(3) + diagonal_normal(torch.ones(1, dtype=DTYPE), 1.5).log_prob(z)


def crossed(N: int) -> Beginning:
    return Beginning(
        (Component(normal(0.5, 1.2, N), 0.75), Component(normal(2, 1, N), 0.125), Component(normal(0, 3, N), 0.125))
    )


def test_the_mean_weight_is_unbiased_and_its_stated_error_is_its_own() -> None:
    N, C = 20_000, 16
    start = crossed(N)
    z = start.begin(start.strata(C), N)
    log_w = target(z) - start.log_prob(z)
    L = log_w.logsumexp(0) - math.log(C)
    within(L.exp(), 3.0, resolve=0.05)
    se = start.standard_error(log_w)
    assert se.square().mean().sqrt().item() == pytest.approx(L.std().item(), rel=0.05)
    plain = (log_w.exp().var(0) / C).sqrt() / log_w.exp().mean(0)
    assert plain.square().mean().sqrt() > 1.03 * L.std()  # it takes the shares for chance


def test_weighing_by_the_component_alone_would_be_biased() -> None:
    N = 20_000
    start = crossed(N)
    strata = start.strata(16)
    z = start.begin(strata, N)
    own = torch.stack([start.components[int(i)].distribution.log_prob(z[c]) for c, i in enumerate(strata)])
    within((target(z) - own).exp().mean(0), 3.0, resolve=0.1)  # right too, by itself
    outside((target(z) - start.log_prob(z)).exp()[strata == 0].mean(0), 3.0)  # but not a part of the shared weights


def test_one_chain_says_nothing_of_its_own_error() -> None:
    assert three().standard_error(torch.zeros(1, 3, dtype=DTYPE)).isnan().all()
    assert (three().standard_error(torch.zeros(16, 3, dtype=DTYPE)) == 0).all()


@pytest.mark.parametrize("name", STARTS)
def test_a_start_is_a_density_that_is_drawn_from(name: str) -> None:
    """E_q0[ N(z; prior) / q0 ] = 1 needs draws and density to agree, and the tails to be there."""
    o = CASES["crude"].build()
    x = o.data(1).float().expand(20_000, -1)
    with noise(0, "start"):
        start = Beginning(STARTS[name].recipe(o, x[:1], o.posterior(x[:1])))
        z = torch.cat([start.begin(start.strata(16), 1) for _ in range(300)])
    log_w = o.likelihood(z).log_prob(x[:1]) + o.prior().log_prob(z) - start.log_prob(z) - o.log_px(x[:1])
    within(log_w.exp()[:, 0], 1.0, resolve=0.3)


def test_a_decoder_without_a_known_information_begins_at_q() -> None:
    class Foreign(WithPosterior):
        def likelihood(self, z: Tensor) -> Distribution:
            return Silent(self.model.likelihood(z))

    inner = CASES["crude"].build()
    assert isinstance(inner, LinearGaussian)
    model = Foreign(inner, inner.posterior)
    x = model.data(3)
    q = model.posterior(x)
    assert [(c.distribution is q, c.share) for c in STARTS["laplace"].recipe(model, x, q)] == [(True, 1.0)]
    assert [(c.distribution is q, c.share) for c in STARTS["auto"].recipe(model, x, q)] == [
        (True, 0.875),
        (False, 0.125),
    ]


def test_the_share_that_is_said_to_be_free_begins_at_the_prior() -> None:
    o = CASES["crude"].build()
    x = o.data(2)
    for start in STARTS.values():
        parts = start.recipe(o, x, o.posterior(x))
        free = sum(c.share for c in parts if c.distribution.batch_shape == ())
        assert free == start.free
