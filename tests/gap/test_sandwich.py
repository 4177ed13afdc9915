"""`elbo gap --sandwich`: bounds from both sides on simulated data, held to closed forms."""

import math

import pytest
import torch
from torch import Tensor
from torch.distributions import Distribution

from elbo_cli.bounds.upper import with_exact
from elbo_cli.errors import RunError, UserError
from elbo_cli.gap import sandwich as module
from elbo_cli.gap.importance import latent_size
from elbo_cli.gap.sandwich import WAYS, Bounds, Simulated, bounds, sandwich, simulate
from elbo_cli.gap.settings import DATA_TILE, Settings
from elbo_cli.records import SandwichFindings, Tick
from elbo_cli.runtime import finished
from tests.oracles import CASES, LinearGaussian, Oracle, WithPosterior, random_linear_gaussian
from tests.oracles.oracle import Silent, diagonal_normal
from tests.statistics import outside, within


def settings(**given: object) -> Settings:
    return Settings(**({"K": 8, "temperatures": 12, "proposal": "posterior"} | given))  # type: ignore[arg-type]


def found(model: Oracle, N: int, method: str = "importance", **given: object) -> SandwichFindings:
    return finished(sandwich(model, N, settings(**given), method))


def deviations(model: Oracle, N: int, method: str, **given: object) -> tuple[Tensor, Tensor]:
    """Lower and upper bounds less log p(x) of each datum's own x, [N]."""
    told = settings(**given)
    block = finished(bounds(model, N, told, WAYS[method](told, latent_size(model))))
    tile = module.DATA_TILE
    x = torch.cat([simulate(model, min(tile, N - i * tile), i, told).x for i in range(-(-N // tile))])
    return torch.cat([b.lower for b in block]) - model.log_px(x), torch.cat([b.upper for b in block]) - model.log_px(x)


@pytest.fixture
def _wide(monkeypatch: pytest.MonkeyPatch) -> None:
    """All data in one block: many repetitions at the price of one."""
    monkeypatch.setattr(module, "DATA_TILE", 10_000)


wide = pytest.mark.usefixtures("_wide")


def crude() -> LinearGaussian:
    """Three latents and a q whose weights, and their inverses, have a variance."""
    return random_linear_gaussian(8, 3, size=0.5, sigma=1.0, shift=0.3, scale=1.1)


# exact


@pytest.mark.parametrize(("method", "T"), [("importance", 1), ("ais", 1), ("ais", 6)])
def test_at_the_exact_posterior_both_bounds_are_log_p(method: str, T: int) -> None:
    lower, upper = deviations(CASES["exact"].build(), 40, method, temperatures=T)
    assert lower.abs().max() < 1e-6  # x is rounded to float32, and its z is not
    assert upper.abs().max() < 1e-6


def test_the_upper_bound_is_the_lower_ones_draws_and_the_exact_one() -> None:
    model, told = crude(), settings(K=70)
    data = simulate(model, 5, 0, told)
    (both,) = finished(bounds(model, 5, told, WAYS["importance"](told, 3)))
    exact = model.likelihood(data.z).log_prob(data.x) + model.prior().log_prob(data.z)
    exact = exact - model.posterior(data.x).log_prob(data.z)
    torch.testing.assert_close(both.upper, with_exact(both.lower, exact, 71), rtol=0, atol=1e-12)


# statistical


@wide
@pytest.mark.parametrize(
    ("method", "K", "proposal"),
    [("importance", 1, "posterior"), ("importance", 8, "posterior"), ("importance", 8, "auto"), ("ais", 2, "prior")],
)
def test_exp_lower_is_unbiased_for_p_and_exp_minus_upper_for_its_inverse(method: str, K: int, proposal: str) -> None:
    lower, upper = deviations(crude(), 3000, method, K=K, proposal=proposal)
    within(lower.exp(), 1.0, resolve=0.1)
    within((-upper).exp(), 1.0, resolve=0.1)
    assert lower.mean() <= 0.002
    assert upper.mean() >= -0.002


@wide
@pytest.mark.parametrize("method", WAYS)
def test_without_its_exact_draw_the_upper_bound_is_none(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the exact draw's place one of the prior: then nothing is promised of it."""

    def astray(model: Oracle, n: int, number: int, told: Settings) -> Simulated:
        return Simulated(number, model.prior().sample((n,)), simulate(model, n, number, told).x)

    monkeypatch.setattr(module, "simulate", astray)
    _, upper = deviations(crude(), 3000, method, K=2, temperatures=3)
    outside((-upper).exp(), 1.0)


def test_certified_bounds_hold_the_truth_and_uncertified_ones_do_not() -> None:
    model = crude()
    broken = bare = 0
    for seed in range(150):
        told = found(model, 3, K=2, seed=seed, delta=0.2)
        x = simulate(model, 3, 0, settings(seed=seed)).x
        truth = model.log_px(x).mean().item()
        broken += not told.log_px_at_least <= truth <= told.log_px_at_most
        bare += not told.lower.mean <= truth <= told.upper.mean
    assert broken <= 0.2 * 150
    assert bare > 0.2 * 150


def test_each_certificate_takes_half_of_delta() -> None:
    told = found(crude(), 10, delta=0.1)
    assert told.log_px_at_least == pytest.approx(told.lower.mean - math.log(20) / 10)
    assert told.log_px_at_most == pytest.approx(told.upper.mean + math.log(20) / 10)
    assert told.delta == 0.1


def test_the_width_shrinks_with_k() -> None:
    widths = [found(CASES["crude"].build(), 200, K=K).width.mean for K in (2, 16, 128, 1024)]
    assert widths == sorted(widths, reverse=True)
    assert widths[-1] < 0.05 * widths[0]


def test_the_width_shrinks_with_temperatures() -> None:
    model = CASES["crude"].build()
    widths = [found(model, 64, "ais", K=2, temperatures=T, proposal="prior").width.mean for T in (2, 8, 40)]
    assert widths == sorted(widths, reverse=True)


def test_annealing_is_narrower_than_draws_of_a_crude_q() -> None:
    model = CASES["probit_crude"].build()
    drawn = found(model, 32, K=1000)
    annealed = found(model, 32, "ais", K=4, temperatures=40)
    assert annealed.width.mean + 2 * annealed.width.se_data < drawn.width.mean - 2 * drawn.width.se_data
    assert annealed.decodes is not None


def test_an_annealed_sandwich_begins_at_the_fit_alone_where_the_start_is_left_open() -> None:
    """From an exact draw no chain goes back to the shares of q and the prior: with them U would be ln 4/3 too high."""
    model = CASES["crude"].build()
    auto, near = (found(model, 16, "ais", K=2, proposal=start) for start in ("auto", "laplace"))
    assert (auto.width, auto.proposal) == (near.width, "auto")
    assert auto.width.mean < 0.1


def test_a_missed_mode_shows_as_width() -> None:
    """From below nothing shows: q's draws agree. The exact draw lies in the other mode for every second datum."""
    model = CASES["missed_mode"].build()
    assert found(model, 64, K=500).width.mean > 5
    assert found(model, 64, K=2000, proposal="auto").width.mean < 0.2
    assert found(model, 64, "ais", K=2, temperatures=10, proposal="auto").width.mean > 1


def test_the_widths_error_is_paired_over_data() -> None:
    told = found(CASES["crude"].build(), 200, K=64)
    assert told.width.mean == pytest.approx(told.upper.mean - told.lower.mean, abs=1e-9)
    assert told.width.se_data < 0.1 * told.lower.se_data
    assert (told.upper.se_mc, told.width.se_mc) == (None, None)
    assert told.lower.se_mc is not None


# manners


@pytest.mark.parametrize(("name", "values"), [("probit", [0.0, 1.0]), ("poisson", None), ("crude", None)])
def test_simulated_data_are_what_data_are(name: str, values: list[float] | None) -> None:
    data = simulate(CASES[name].build(), 50, 0, settings())
    assert data.x.dtype == torch.float32
    assert len(data.x) == len(data.z) == 50
    assert values is None or data.x.unique().tolist() == values


def test_the_latents_are_those_that_the_data_came_from() -> None:
    model = crude()
    data = simulate(model, 4000, 0, settings())
    assert len(torch.cat([data.z, simulate(model, 4000, 1, settings()).z]).unique(dim=0)) == 8000
    residual = data.x - data.z @ model.W.T - model.mu
    within(residual.square(), model.sigma**2, resolve=0.15)
    within(data.z, 0.0, resolve=0.1)


@pytest.mark.parametrize("method", WAYS)
def test_the_answer_depends_on_the_seed_and_on_nothing_else(method: str) -> None:
    model = crude()
    whole = found(model, DATA_TILE + 2, method, K=3, temperatures=4)
    torch.manual_seed(5)
    state = torch.get_rng_state()
    assert found(model, DATA_TILE + 2, method, K=3, temperatures=4) == whole
    assert torch.equal(torch.get_rng_state(), state)
    assert found(model, DATA_TILE + 2, method, K=3, temperatures=4, seed=1) != whole
    few, many = (deviations(model, N, method, K=3, temperatures=4) for N in (DATA_TILE, DATA_TILE + 2))
    for block, both in zip(few, many, strict=True):
        torch.testing.assert_close(both[:DATA_TILE], block, rtol=0, atol=1e-9)


@pytest.mark.parametrize(("method", "K"), [("importance", 150), ("ais", 3), ("ais", 70)])
def test_ticks_count_to_the_end(method: str, K: int) -> None:
    ticks = list(sandwich(crude(), 40, settings(K=K, temperatures=4), method))
    assert [tick.done for tick in ticks] == list(range(1, len(ticks) + 1))
    assert all(isinstance(tick, Tick) and tick.total == len(ticks) for tick in ticks)


class Counting(WithPosterior):
    """Counts decoder rows: one for a value, two more for its gradient; simulating is no estimate."""

    rows = 0

    def likelihood(self, z: Tensor) -> Distribution:
        self.rows += 0 if z.dim() == 2 else z[..., 0].numel() * (3 if z.requires_grad else 1)
        return self.model.likelihood(z)


@pytest.mark.parametrize(("method", "K"), [("importance", 70), ("ais", 3)])
def test_decodes_are_counted_as_they_happen(method: str, K: int) -> None:
    inner = crude()
    model = Counting(inner, inner.posterior)
    assert found(model, 5, method, K=K).decodes == model.rows / 5


@pytest.mark.parametrize("method", WAYS)
def test_findings_say_for_which_data_they_speak(method: str) -> None:
    told = found(crude(), 5, method, K=3)
    assert (told.examples, told.samples, told.method, told.proposal) == (5, 3, method, "posterior")
    assert "simulated from the model" in told.caution
    assert "section 5.3.1" in told.caution


class Mute(WithPosterior):
    def likelihood(self, z: Tensor) -> Distribution:
        return Silent(self.model.likelihood(z))


class Priorless(WithPosterior):
    def prior(self) -> Distribution:
        return Silent(self.model.prior())


@pytest.mark.parametrize("kind", [Mute, Priorless])
def test_a_model_that_cannot_draw_data_is_refused(kind: type[WithPosterior]) -> None:
    inner = crude()
    with pytest.raises(UserError, match=r"has no sample\(\)\. Give the distribution one, or leave --sandwich out"):
        found(kind(inner, inner.posterior), 5)


@pytest.mark.parametrize(
    ("N", "method", "proposal", "said"),
    [
        (0, "importance", "auto", "give 1 or more"),
        (5, "bdmc", "auto", "There are: importance, ais"),
        (5, "importance", "prior", "No proposal is called 'prior'"),
        (5, "ais", "defensive", "There are: auto, posterior, laplace, prior"),
    ],
)
def test_what_is_not_there_is_refused_at_once(N: int, method: str, proposal: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        found(crude(), N, method, proposal=proposal)


def test_a_log_density_that_is_no_number_is_named() -> None:
    class Broken(WithPosterior):
        def likelihood(self, z: Tensor) -> Distribution:
            return diagonal_normal(self.model.likelihood(z).mean, math.nan if z.dim() == 3 else 1.0)

    inner = crude()
    with pytest.raises(RunError, match="Among data 0 to 4: log w of draw 0 of datum 0 of its block is nan"):
        found(Broken(inner, inner.posterior), 5)


def test_bounds_are_float64_on_the_cpu() -> None:
    told = settings(K=3)
    both: list[Bounds] = finished(bounds(crude(), 3, told, WAYS["ais"](told, 3)))
    assert all(
        t.dtype == torch.float64 and t.device.type == "cpu" for b in both for t in (b.lower, b.upper, b.se_lower)
    )
