"""Noise becomes draws of the very distribution whose density weighs them, for every family and their mixtures."""

import math

import pytest
import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, MultivariateNormal, Normal, StudentT

from elbo_cli.gap.proposals.from_noise import FromNoise, from_noise, labels
from elbo_cli.gap.proposals.mixture import Component, Mixture
from elbo_cli.gap.proposals.normal import PrecisionNormal
from elbo_cli.gap.proposals.recipes import PROPOSALS
from elbo_cli.gap.proposals.refine import FAMILIES, refine
from tests.models.families import ALL, pixels, vae
from tests.oracles import CASES
from tests.statistics import outside, within

K = 6000
BENT = torch.tensor([[[1.0, 0.0], [0.6, 0.5]]], dtype=torch.float64)
PLACE = torch.tensor([[0.3, -0.2]], dtype=torch.float64)


def distributions() -> dict[str, Distribution]:
    """Batch [1] or [], event [2], float64."""
    found: dict[str, Distribution] = {}
    for name, text in ALL.items():
        model = vae(text).eval()
        found[name] = model.posterior(pixels(10)[9:]) if name.startswith("q: ") else model.prior()
    found["precision"] = PrecisionNormal(PLACE, BENT)
    found["torch's diagonal"] = Independent(Normal(PLACE, BENT[..., 0].abs()), 1)
    found["torch's full"] = MultivariateNormal(PLACE, scale_tril=BENT)
    return found


def made_of(q: Distribution) -> FromNoise:
    made = from_noise(q)
    assert made is not None
    return made


def narrow(z: Tensor) -> Distribution:
    """A normal well inside q, whose density is a bounded multiple of q's."""
    return Independent(Normal(z.median(0).values, 0.4 * z.std(0)), 1)


@torch.no_grad()
@pytest.mark.parametrize("name", distributions())
def test_the_draws_are_of_that_density(name: str) -> None:
    """E_q[ r / q ] = 1 for a narrow r: draws moved or stretched by half of their spread are seen."""
    q = distributions()[name]
    made = made_of(q)
    z = made.draw(torch.randn(K, 1, made.width, dtype=made.like.dtype))
    r = narrow(z)
    within((r.log_prob(z) - q.log_prob(z)).exp(), 1.0, resolve=0.15)
    half = z.std(0) / 2
    wrong = (z + half, z - half, z + half * torch.tensor([1.0, -1.0]), 1.5 * z - z.median(0).values / 2)
    outside(torch.cat([(r.log_prob(each) - q.log_prob(each)).exp() for each in wrong], 1), 1.0)


@pytest.mark.parametrize("name", [name for name, q in distributions().items() if made_of(q).width == 2])
def test_a_draw_is_a_change_of_variables(name: str) -> None:
    """log q(z(e)) = log N(e; 0, I) - log |dz / de|, exactly."""
    q = distributions()[name]
    made = made_of(q)
    e = torch.randn(made.width, dtype=torch.float64)
    slope = torch.autograd.functional.jacobian(lambda e: made.draw(e.view(1, 1, -1)).flatten(), e)
    expected = Normal(0.0, 1.0).log_prob(e).sum() - torch.linalg.slogdet(slope).logabsdet
    torch.testing.assert_close(q.log_prob(made.draw(e.view(1, 1, -1))).squeeze(), expected, rtol=0, atol=1e-8)


@torch.no_grad()
@pytest.mark.parametrize("name", ["q: diagonal_normal", "q: two layers", "p: mixture", "p: vamp of full normals"])
@pytest.mark.parametrize("proposal", PROPOSALS)
def test_every_proposal_of_a_vae_is_a_function_of_noise(name: str, proposal: str) -> None:
    """So the draws of a datum do not depend on its company: see tests/gap/test_streams.py."""
    model, x = vae(ALL[name]).eval(), pixels(12)[9:]
    mixture = Mixture(tuple(PROPOSALS[proposal](model, x, model.posterior(x))))
    made = mixture.from_noise()
    assert made is not None
    z = made.draw(torch.randn(K, 3, made.width, dtype=made.like.dtype))
    r = narrow(z)
    within((r.log_prob(z) - mixture.log_prob(z)).exp(), 1.0, resolve=0.15)


@pytest.mark.parametrize("family", [family for family in FAMILIES if family != "own"])
def test_every_family_that_is_searched_for_a_datum_is_a_function_of_noise(family: str) -> None:
    model = CASES["crude"].build()
    x = model.data(2).float()
    q = refine(model, x, model.posterior(x), family, steps=4, seed=0).distribution
    z = made_of(q).draw(torch.zeros(1, 2, made_of(q).width, dtype=torch.float64))
    assert z.isfinite().all()


def test_a_mixture_takes_each_component_by_its_share() -> None:
    """Three places far from each other: counts are binomial, and the label's number moves no draw."""
    places = torch.tensor([-100.0, 0.0, 100.0], dtype=torch.float64)
    normals = [Independent(Normal(at.expand(1, 2), torch.ones(1, 2, dtype=torch.float64)), 1) for at in places]
    shares = (0.86, 0.1, 0.04)
    mixture = Mixture(tuple(Component(q, share) for q, share in zip(normals, shares, strict=True)))
    made = mixture.from_noise()
    assert made is not None
    assert made.width == 3
    z = made.draw(torch.randn(40_000, 1, 3, dtype=torch.float64))[:, 0]
    which = (z.mean(-1) / 100).round()
    for i, share in enumerate(shares):
        within((which == i - 1).double(), share, resolve=0.01)
        within((z - places[i])[which == i - 1], 0.0, resolve=0.2)


def test_shares_of_noise_are_exact_at_their_ends() -> None:
    ends = torch.tensor([0.25, 0.5])
    e = torch.tensor([-9.0, -0.68, -0.67, -1e-4, 1e-4, 9.0], dtype=torch.float64)  # a quarter lies below -0.6745
    assert labels(e, ends).tolist() == [0, 0, 1, 1, 2, 2]


def test_what_is_not_known_is_not_guessed() -> None:
    student = Independent(StudentT(4.0, torch.zeros(1, 2), 1.0), 1)
    heir = type("Heir", (Independent,), {})(Normal(torch.zeros(1, 2), 1.0), 1)  # may draw in a way of its own
    normal = Independent(Normal(torch.zeros(1, 2), 1.0), 1)
    assert from_noise(student) is None
    assert from_noise(heir) is None
    assert Mixture((Component(normal, 0.9), Component(student, 0.1))).from_noise() is None
    assert Mixture((Component(student, 1.0),)).from_noise() is None
    assert math.isclose(sum(c.share for c in Mixture((Component(normal, 3.0),)).components), 1.0)
