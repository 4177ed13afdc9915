"""The refined q is the best of its family where that is known, never worse than its start, and not flattered."""

import math
import sys
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.distributions import Distribution, MultivariateNormal, StudentT

from elbo_cli.bounds.draws import weigh
from elbo_cli.errors import UserError
from elbo_cli.gap.proposals import ascent, refine
from elbo_cli.gap.proposals.flow import CouplingFlow
from elbo_cli.gap.proposals.refine import refine_all, refined_normal
from elbo_cli.models.normals import FullNormal
from elbo_cli.runtime import noise
from tests.oracles import CASES, LinearGaussian, Oracle, TwoLatentMLP, WithPosterior, hopeless, random_linear_gaussian
from tests.oracles.comparison import close
from tests.oracles.oracle import DTYPE, diagonal_normal, independent
from tests.oracles.quadrature import line, log_integral
from tests.statistics import outside, within

LINEAR: dict[str, Callable[[], LinearGaussian]] = {
    "1 latent": lambda: random_linear_gaussian(4, 1, shift=1.0, scale=2.0, seed=1),
    "3 latents": lambda: random_linear_gaussian(8, 3, shift=0.3, scale=1.3, shrink=0.9),
    "10 latents": lambda: random_linear_gaussian(20, 10, size=0.3, shift=0.5, scale=0.3),
    "50 latents": lambda: random_linear_gaussian(100, 50, sigma=1.0, size=0.1, shift=0.1, scale=1.1),
    "hopeless": hopeless,
}


def found(model: Oracle, x: Tensor, family: str, **told: int) -> Distribution:
    return refine.refine(model, x, model.posterior(x), family, seed=0, **told).distribution


def excess(model: LinearGaussian, x: Tensor, mu: Tensor, covariance: Tensor) -> Tensor:
    """KL( N(mu, covariance) || p(z | x) ), [N], in closed form."""
    delta, ratio = mu - model.posterior_mean(x), model.precision @ covariance
    trace = ratio.diagonal(dim1=-2, dim2=-1).sum(-1)
    distance = (delta @ model.precision * delta).sum(-1)
    return 0.5 * (trace - model.latent_dim - torch.linalg.slogdet(ratio).logabsdet + distance)


@torch.no_grad()
def log_w(model: Oracle, x: Tensor, q: Distribution, K: int) -> Tensor:
    """log p(x, z) - log q(z) at K draws that no search has seen, [K, N]; the same noise for every q of one kind."""
    with noise(7, "test_refine"):
        z = q.sample(torch.Size([K]))
    return weigh(model, x, z, q.log_prob(z)).log_w


@pytest.mark.parametrize("name", LINEAR)
def test_the_best_diagonal_q_is_found(name: str) -> None:
    model = LINEAR[name]()
    x = model.data(8)
    q = found(model, x, "diagonal")
    above = excess(model, x, q.mean, torch.diag_embed(q.variance)) - model.approximation_gap
    close(above, torch.zeros(8), atol=2e-3)
    assert (model.amortisation_gap(x) > 20 * above).all()
    torch.testing.assert_close(q.variance, model.best_variance.expand(8, -1), rtol=0.05, atol=0)
    assert ((q.mean - model.posterior_mean(x)).abs() < 0.05 * model.best_variance.sqrt()).all()


@pytest.mark.parametrize("name", LINEAR)
def test_a_full_normal_becomes_the_posterior(name: str) -> None:
    model = LINEAR[name]()
    x = model.data(8)
    q = found(model, x, "full")
    assert isinstance(q, FullNormal)
    left = excess(model, x, q.loc, q.covariance_matrix)
    assert left.max() < 0.01
    assert (model.gap(x) > 20 * left).all()


def test_more_steps_come_closer() -> None:
    model = LINEAR["50 latents"]()
    x = model.data(8)
    left = []
    for steps in (12, 96):
        q = found(model, x, "full", steps=steps)
        assert isinstance(q, FullNormal)
        left.append(excess(model, x, q.loc, q.covariance_matrix).mean())
    assert left[1] < 0.05 * left[0]


def test_both_families_are_found_where_no_normal_is_the_posterior() -> None:
    """Where the climb of full normals alone ends is known from 4,000 steps: 0.1085 below log p(x); diagonal 0.1478."""
    model = TwoLatentMLP(shift=0.5, scale=0.4)
    x = model.data(16)
    for family, below in (("diagonal", 0.1478), ("full", 0.1085)):
        short = model.log_px(x) - log_w(model, x, found(model, x, family), 4_000)
        within(short.mean(1), below + 0.003, resolve=0.015)


def test_a_wrong_map_slows_the_diagonal_climb_and_does_not_bend_it() -> None:
    model = LINEAR["10 latents"]()
    x = model.data(8)
    root = torch.linalg.cholesky(3 * model.covariance).expand(8, -1, -1)
    wrong = FullNormal(model.posterior_mean(x) + 0.2, root)
    left = []
    for steps in (1, 16, 64):
        with noise(0, "test_refine"), torch.no_grad():
            q = ascent.diagonal(ascent.Ascent(model, x, steps, 16), wrong)
        left.append((excess(model, x, q.loc, q.covariance_matrix) - model.approximation_gap).mean().item())
    assert left[0] > 0.2
    assert left[1] < 0.05
    assert left[2] < 0.01


@pytest.mark.parametrize("name", sorted(set(CASES) - {"both_modes", "student", "exact"}))
def test_no_datum_ends_worse_than_it_began(name: str) -> None:
    model = CASES[name].build()
    x = model.data(6)
    start = log_w(model, x, model.posterior(x), 2_000)
    for refined in refine_all(model, x, model.posterior(x), ("diagonal", "full"), seed=0).values():
        gain = log_w(model, x, refined.distribution, 2_000) - start
        judged = 3 / math.sqrt(ascent.JUDGES)  # the choice between start and end rests on so many draws
        assert (gain.mean(0) > -(judged + 4 / math.sqrt(2_000)) * gain.std(0) - 1e-6).all(), gain.mean(0)


def test_an_end_that_is_good_only_on_its_own_noise_is_thrown_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """A search that fits sigma to the first draws of its noise looks better than the best q there, and is worse."""
    model = random_linear_gaussian(100, 50, sigma=1.0, size=0.1)
    x = model.data(16)
    best = model.posterior(x)  # the best diagonal q
    seen: list[Tensor] = []

    def overfit(_: object, start: FullNormal) -> FullNormal:
        seen.append(ascent.judges(start.loc))
        crossed = model.precision * torch.einsum("snd,sne->nde", seen[0], seen[0]) / len(seen[0])
        log_sigma = start.stddev.log().requires_grad_()
        with torch.enable_grad():
            for _ in range(300):  # of the ELBO on these draws, but for what does not depend on sigma
                sigma = log_sigma.exp()
                elbo = log_sigma.sum() - 0.5 * torch.einsum("nd,nde,ne->", sigma, crossed, sigma)
                (slope,) = torch.autograd.grad(elbo, log_sigma)
                log_sigma = (log_sigma + 0.1 * slope).detach().requires_grad_()
        return FullNormal(start.loc, torch.diag_embed(log_sigma.detach().exp()))

    def elbo(q: Distribution, e: Tensor) -> Tensor:
        z = q.mean + q.stddev * e
        return weigh(model, x, z, q.log_prob(z)).log_w.mean(0)

    monkeypatch.setattr(refine, "full", overfit)
    bad = overfit(None, FullNormal(best.mean, torch.diag_embed(best.stddev)))
    assert (elbo(bad, seen[0]) > elbo(best, seen[0]) + 0.1).all()
    assert (log_w(model, x, bad, 2_000).mean(0) < log_w(model, x, best, 2_000).mean(0) - 0.1).all()
    seen.clear()
    kept = found(model, x, "full")
    assert (kept.stddev == best.stddev).all(-1).double().mean() > 0.8


def test_an_end_is_worse_beyond_a_standard_error_or_where_it_is_not_finite() -> None:
    start = torch.tensor([0.0, 1.0, 0.0, 1.0], dtype=DTYPE)[:, None].expand(-1, 6).clone()
    change = torch.tensor([1.0, -1.0, 0.0, math.nan, -math.inf, 0.0], dtype=DTYPE)
    noisy = torch.tensor([5.0, -5.0, 5.0, -5.2], dtype=DTYPE)[:, None] * torch.tensor([0, 0, 0, 0, 0, 1.0], dtype=DTYPE)
    assert ascent.worse(start + change + noisy, start).tolist() == [False, True, False, True, True, False]
    for unfit in (math.nan, -math.inf):
        assert not ascent.worse(start, torch.full_like(start, unfit)).any()


class NoSlope(TwoLatentMLP):
    """Its first datum's likelihood has a value, but no gradient at the first `calls` times that it is asked for."""

    calls = 10**9

    def likelihood(self, z: Tensor) -> Distribution:
        self.calls -= z.requires_grad
        if z.requires_grad and self.calls > 0:
            z = z * 1
            first = torch.arange(z.shape[-2])[:, None] == 0
            z.register_hook(lambda slope: slope.masked_fill(first, math.nan))
        return super().likelihood(z)


@pytest.mark.parametrize("family", ["diagonal", "full", "flow"])
def test_a_datum_whose_search_fails_keeps_its_start_and_the_others_go_on(family: str) -> None:
    model = NoSlope(shift=0.5, scale=0.4)
    x = model.data(4)
    start = model.posterior(x)
    q = found(model, x, family, steps=8)
    z = q.sample(torch.Size([500]))
    assert z.isfinite().all()
    torch.testing.assert_close(q.log_prob(z)[:, 0], start.log_prob(z)[:, 0])
    gain = (log_w(model, x, q, 2_000) - log_w(model, x, start, 2_000)).mean(0)
    assert (gain[1:] > 0.1).all()


def test_steps_without_a_gradient_are_left_out() -> None:
    model = NoSlope(shift=0.5, scale=0.4)
    x = model.data(4)
    model.calls = 8
    q = found(model, x, "full")
    gain = (log_w(model, x, q, 2_000) - log_w(model, x, model.posterior(x), 2_000)).mean(0)
    assert (gain > 0.1).all()


def test_a_start_without_a_finite_elbo_is_left() -> None:
    model = random_linear_gaussian(8, 3)
    spread = WithPosterior(model, lambda x: diagonal_normal(torch.full((len(x), 3), 1e200, dtype=DTYPE), 1.0))
    q = found(spread, model.data(4), "full")
    assert q.sample().isfinite().all()


def test_a_start_without_moments_is_measured_by_its_draws() -> None:
    model = random_linear_gaussian(8, 3)

    def cauchy(x: Tensor) -> Distribution:
        return independent(StudentT(1.0, model.posterior_mean(x), 0.3, validate_args=False))

    x = model.data(4)
    q = found(WithPosterior(model, cauchy), x, "full")
    assert isinstance(q, FullNormal)
    assert excess(model, x, q.loc, q.covariance_matrix).max() < 0.01


def test_a_full_start_keeps_its_covariance() -> None:
    model = random_linear_gaussian(8, 3, q="exact")
    x = model.data(4)
    q = found(model, x, "full", steps=1)
    assert isinstance(q, FullNormal)
    close(excess(model, x, q.loc, q.covariance_matrix), torch.zeros(4), atol=1e-9)


# ------------------------------------------------------------------------------------------------------------- noise


def test_the_seed_decides_and_the_global_generator_is_left_alone() -> None:
    model = TwoLatentMLP()
    x = model.data(3)
    before = torch.random.get_rng_state()
    first, again = (found(model, x, "diagonal") for _ in range(2))
    other = refine.refine(model, x, model.posterior(x), "diagonal", seed=1).distribution
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(first.mean, again.mean)
    assert not torch.equal(first.mean, other.mean)


def test_draws_come_in_mirrored_pairs() -> None:
    e = ascent.mirrored(8, torch.zeros(5, 2))
    assert e.shape == (8, 5, 2)
    assert torch.equal(e[:4], -e[4:])


class Counting(TwoLatentMLP):
    """Counts decodes for each datum; a value with its gradient as 3."""

    decodes = 0

    def likelihood(self, z: Tensor) -> Distribution:
        self.decodes += (3 if z.requires_grad else 1) * z.shape[:-2].numel()
        return super().likelihood(z)


@pytest.mark.parametrize("family", [family for family in refine.FAMILIES if family != "own"])  # test_families has it
def test_every_decode_is_counted(family: str) -> None:
    x = TwoLatentMLP().data(2)
    model = Counting()
    cost = refine.refine(model, x, model.posterior(x), family, steps=6, seed=0).decodes
    assert cost == model.decodes


def test_the_cost_of_the_proposal_is_told_beforehand() -> None:
    x = TwoLatentMLP().data(2)
    model = Counting()
    refined_normal(model, x, model.posterior(x))
    assert refine.decodes(2) == model.decodes


# ---------------------------------------------------------------------------------------------------------- proposal


@pytest.mark.parametrize(
    ("name", "resolve"),
    [("crude", 0.02), ("diagonal_20x10", 0.02), ("probit_crude", 0.05), ("two_latents_crude", 0.05)],
)
def test_exp_L_K_is_unbiased_with_a_refined_proposal(name: str, resolve: float) -> None:
    model = CASES[name].build()
    x = model.data(3)
    with noise(3, "test_refine", "proposal"):
        q = refined_normal(model, x, model.posterior(x))
    weights = (log_w(model, x, q, 20_000) - model.log_px(x)).exp()
    within(weights, 1.0, resolve=resolve)
    narrow = FullNormal(q.loc, q.scale_tril / refine.INFLATE**0.5)  # as if the density had not been widened
    with noise(7, "test_refine"):
        z = q.sample(torch.Size([20_000]))
    outside((weigh(model, x, z, narrow.log_prob(z)).log_w - model.log_px(x)).exp(), 1.0, sigmas=4)


def test_a_refined_proposal_draws_its_noise_from_where_it_is_called() -> None:
    model = TwoLatentMLP()
    x = model.data(2)
    means = []
    for seed in (0, 0, 1):
        with noise(seed, "somewhere"):
            means.append(refined_normal(model, x, model.posterior(x)).mean)
    assert torch.equal(means[0], means[1])
    assert not torch.equal(means[0], means[2])


def test_full_normals_are_torchs_own_but_for_the_memory_of_their_draws() -> None:
    L = torch.tensor([[[1.0, 0.0], [0.5, 2.0]], [[0.3, 0.0], [-1.0, 0.7]]], dtype=DTYPE)
    q = FullNormal(torch.tensor([[1.0, -1.0], [0.0, 3.0]], dtype=DTYPE), L)
    z = q.sample(torch.Size([40_000]))
    truth = MultivariateNormal(q.loc, scale_tril=L)
    torch.testing.assert_close(q.log_prob(z[:5]), truth.log_prob(z[:5]))
    away = z - q.loc
    within(away, torch.zeros(2, 2, dtype=DTYPE), resolve=0.06)
    within(torch.einsum("knd,kne->knde", away, away), truth.covariance_matrix, resolve=0.2)


# -------------------------------------------------------------------------------------------------------------- flow


def test_a_flow_reaches_what_no_normal_does() -> None:
    model = TwoLatentMLP(shift=0.5, scale=0.4)
    x = model.data(8)
    refined = refine_all(model, x, model.posterior(x), ("full", "flow"), steps=24, seed=0)
    full, flow = (log_w(model, x, refined[family].distribution, 2_000) for family in ("full", "flow"))
    within((flow - full).mean(1), 0.08, resolve=0.03)
    assert (flow.mean(0) < model.log_px(x)).all()


def test_the_density_of_a_flow_is_that_of_its_draws() -> None:
    model = TwoLatentMLP()
    x = model.data(2)
    q = found(model, x, "flow", steps=6)
    assert isinstance(q, CouplingFlow)
    nodes, step = line(15.0, 301)
    z = torch.stack(torch.meshgrid(nodes, nodes, indexing="ij"), -1)[:, :, None].expand(-1, -1, 2, -1)
    close(log_integral(log_integral(q.log_prob(z), step), step), torch.zeros(2), atol=1e-6)
    e = torch.randn(2, 2, dtype=DTYPE)
    J = torch.autograd.functional.jacobian(q.push, e)
    log_det = torch.stack([torch.linalg.slogdet(J[n, :, n]).logabsdet for n in range(2)])
    base = -0.5 * e.square().sum(-1) - math.log(2 * math.pi)
    torch.testing.assert_close(q.log_prob(q.push(e)), base - log_det)


def test_a_flow_names_the_extra_that_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "zuko", None)
    model = TwoLatentMLP()
    with pytest.raises(UserError, match=r"pip install 'elbo-cli\[flows\]'"):
        found(model, model.data(2), "flow", steps=1)


# ------------------------------------------------------------------------------------------------------------ errors


def test_an_unknown_family_is_told_with_the_nearest() -> None:
    model = TwoLatentMLP()
    with pytest.raises(UserError, match="Did you mean 'diagonal'"):
        found(model, model.data(2), "diagnal")


class Detached(TwoLatentMLP):
    def likelihood(self, z: Tensor) -> Distribution:
        weight = torch.ones((), dtype=DTYPE, requires_grad=True)  # a gradient there is, but not by z
        return super().likelihood(z.detach() * weight)


def test_a_decoder_without_gradient_is_told_before_the_search() -> None:
    model = Detached()
    with pytest.raises(UserError, match="no gradient by z"):
        found(model, model.data(2), "diagonal")
