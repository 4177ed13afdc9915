"""`elbo gap --method ais` on models with known log p(x)."""

import math
from collections.abc import Callable, Generator
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Bernoulli, Distribution

from elbo_cli.bounds.annealing import schedule, tune
from elbo_cli.bounds.curve import Trend
from elbo_cli.bounds.hmc import Kernel, Point
from elbo_cli.errors import RunError, UserError
from elbo_cli.gap import jobs
from elbo_cli.gap.annealing import annealer
from elbo_cli.gap.annealing.ais import ais
from elbo_cli.gap.annealing.annealer import Annealer, Course, prepare
from elbo_cli.gap.settings import DATA_TILE, Settings
from elbo_cli.gap.verdict import Agreement, judge_chains
from elbo_cli.records import GapFindings, Tick
from elbo_cli.runtime import finished
from tests.chains import last
from tests.gap.runs import columns, run, split_of
from tests.oracles import CASES, Oracle, WithPosterior, random_linear_gaussian
from tests.oracles.oracle import independent
from tests.statistics import outside, within


def anneal(model: Oracle, x: Tensor, **settings: object) -> GapFindings:
    given: dict[str, object] = {"K": 16, "temperatures": 30} | settings
    return finished(ais(model, split_of(x), Settings(**given)))  # type: ignore[arg-type]


def errors(model: Oracle, x: Tensor, **settings: object) -> Tensor:
    """L_C less log p(x), [N]: of the data as they are measured, which is float32."""
    return columns(anneal(model, x, **settings))["log_px"] - model.log_px(x.float())


def agrees(found: GapFindings, truth: float, resolve: float) -> None:
    """Within three Monte Carlo errors, and those small enough to see an error of `resolve`."""
    assert found.log_px.se_mc is not None
    assert 3 * found.log_px.se_mc < resolve
    assert abs(found.log_px.mean - truth) < 3 * found.log_px.se_mc


@pytest.fixture
def _wide(monkeypatch: pytest.MonkeyPatch) -> None:
    """All data in one block: many repetitions at the price of one."""
    monkeypatch.setattr(jobs, "DATA_TILE", 10_000)


wide = pytest.mark.usefixtures("_wide")

# exact


def test_one_temperature_from_the_exact_posterior_is_log_p() -> None:
    model = CASES["exact"].build()
    x = model.data(5)
    assert errors(model, x, temperatures=1, proposal="posterior", K=3).abs().max() < 1e-9


def test_where_the_data_say_nothing_the_prior_is_exact_at_any_temperature() -> None:
    model = CASES["hopeless"].build()
    x = model.data(5)
    for T in (1, 2, 30):
        assert errors(model, x, temperatures=T, proposal="prior", K=4).abs().max() < 1e-9


@wide
def test_one_temperature_is_importance_sampling_with_weights_of_the_start() -> None:
    """Chains that do not move: log w is log p(x, z) - log q0(z), whatever the number of them."""
    model = CASES["crude"].build()
    x = model.data(4).repeat(1000, 1)
    within(errors(model, x, temperatures=1, K=2, proposal="posterior").exp(), 1.0, resolve=0.1)


# statistical: against closed forms


@wide
@pytest.mark.parametrize(
    ("name", "start"),
    [
        ("crude", "auto"),
        ("crude", "posterior"),
        ("crude", "prior"),
        ("diagonal_20x10", "laplace"),
        ("two_latents", "auto"),
        ("two_latents", "prior"),
    ],
)
def test_exp_of_the_bound_is_unbiased(name: str, start: str) -> None:
    model = CASES[name].build()
    x = model.data(8).repeat(40, 1)
    within(
        errors(model, x, temperatures=20, K=16, proposal=start).exp(), 1.0, resolve=0.25 if start == "prior" else 0.1
    )


@wide
@pytest.mark.parametrize(("P", "D"), [(3, 1), (8, 3), (20, 10)])
@pytest.mark.parametrize("start", ["posterior", "prior"])
def test_linear_gaussian_models_of_several_sizes(P: int, D: int, start: str) -> None:
    model = random_linear_gaussian(P, D, size=1.2 / math.sqrt(P), sigma=1.0, shift=0.3, scale=1.2)
    x = model.data(80)
    agrees(anneal(model, x, temperatures=50, proposal=start), model.log_px(x).mean().item(), resolve=0.1)


@pytest.mark.parametrize("start", ["posterior", "prior"])
def test_fifty_latents_of_a_probit_decoder(start: str) -> None:
    model = CASES["probit"].build()
    x = model.data(32)
    agrees(anneal(model, x, temperatures=40, proposal=start), model.log_px(x).mean().item(), resolve=0.1)


def test_a_hopeless_q_is_overcome_by_temperatures() -> None:
    """Plain draws of this q are 5 nats short with a thousand draws, in 100 dimensions."""
    model = CASES["hopeless"].build()
    x = model.data(8)
    truth = model.log_px(x).mean().item()
    plain = run(model, x, K=1000, proposal="posterior").log_px.mean - truth
    few = anneal(model, x, temperatures=10, proposal="posterior").log_px.mean - truth
    many = anneal(model, x, temperatures=120, proposal="posterior").log_px.mean - truth
    assert plain < -4
    assert plain < few < many
    assert abs(many) < 0.25


@wide
def test_a_mode_that_q_missed_is_found_from_the_prior_and_from_no_single_mode() -> None:
    model = CASES["missed_mode"].build()
    x = model.data(64)
    truth = model.log_px(x).mean().item()
    agrees(anneal(model, x, temperatures=80, proposal="prior"), truth, resolve=0.1)
    for blind in ("posterior", "laplace"):
        found = anneal(model, x[:32], temperatures=25, proposal=blind)
        assert found.log_px.mean - truth == pytest.approx(-math.log(2), abs=0.05)
        assert not found.verdict.resolved


class Warm(Kernel):
    """The planted mistake: a kernel of another temperature than the weights account for."""

    def transition(self, start: Point, beta: float, step: Tensor, noise: torch.Generator) -> tuple[Point, Tensor]:
        return Kernel.transition(self, start, min(1.0, beta + 0.3), step, noise)


@wide
def test_a_kernel_at_another_temperature_is_far_off(monkeypatch: pytest.MonkeyPatch) -> None:
    model = CASES["crude"].build()
    x = model.data(8).repeat(20, 1)
    monkeypatch.setattr(annealer, "Kernel", Warm)
    outside(errors(model, x, temperatures=10, proposal="prior").exp(), 1.0)


# what it says of itself


@wide
@pytest.mark.parametrize(("start", "T"), [("auto", 10), ("prior", 30)])
def test_the_stated_error_is_the_spread_of_answers(start: str, T: int) -> None:
    model = CASES["crude"].build()
    x = model.data(1).repeat(320, 1)
    found = columns(anneal(model, x, temperatures=T, proposal=start))
    claimed = found["se_log_px"].square().mean().sqrt().item()
    assert claimed == pytest.approx(found["log_px"].std().item(), rel=0.2)


def test_the_certificate_holds_and_the_bound_itself_would_not() -> None:
    model = CASES["crude"].build()
    x = model.data(2)
    truth = model.log_px(x).mean().item()
    found = [anneal(model, x, temperatures=2, K=2, seed=seed, delta=0.2, proposal="posterior") for seed in range(30)]
    above = [f.certified.log_px_at_least > truth for f in found if f.certified.log_px_at_least is not None]
    assert len(above) == 30
    assert sum(above) <= 0.2 * 30
    assert sum(f.log_px.mean > truth for f in found) > 0.25 * 30


def test_findings_count_chains_as_samples_and_show_no_tail_of_sixteen() -> None:
    model = CASES["probit"].build()
    found = anneal(model, model.data(3), temperatures=5)
    assert (found.method, found.proposal, found.samples, found.examples) == ("ais", "auto", 16, 3)
    assert [point.k for point in found.curve] == [1, 4, 16]
    assert (found.khat_median, found.khat_above) == (None, None)
    assert found.certified.log_px_at_least == pytest.approx(found.log_px.mean - math.log(20) / 3)
    assert anneal(model, model.data(3), temperatures=5, K=40).khat_median is not None


def test_the_elbo_is_that_of_importance_sampling() -> None:
    model = CASES["crude"].build()
    x = model.data(40)
    assert anneal(model, x, temperatures=2).elbo == run(model, x, K=200).elbo


class Counting(WithPosterior):
    """Counts decoder rows: one for a value, two more for its gradient."""

    rows = 0

    def likelihood(self, z: Tensor) -> Distribution:
        self.rows += z[..., 0].numel() * (3 if z.requires_grad else 1)
        return self.model.likelihood(z)


@pytest.mark.parametrize("T", [1, 2, 40])
@pytest.mark.parametrize("start", ["posterior", "prior"])
def test_decodes_are_counted_as_they_happen(T: int, start: str) -> None:
    inner = CASES["crude"].build()
    model = Counting(inner, inner.posterior)
    found = anneal(model, inner.data(5), temperatures=T, K=6, proposal=start)
    assert found.decodes == model.rows / 5


# the verdict


def seen(increment: float, rho: float, se: float = 0.0, free: float = 100.0, increment_se: float = 0.0) -> Agreement:
    return Agreement(Trend(increment, increment_se, rho, 0.0, 0.0), se, free, tolerance=0.05)


@pytest.mark.parametrize(
    ("agreement", "C", "word", "advice"),
    [
        (seen(0.01, 0.25), 16, "resolved", ""),
        (seen(0.01, 0.25), 8, "partial", "--samples 16"),
        (seen(0.12, 0.3), 16, "partial", "--temperatures 400"),
        (seen(0.12, 0.7), 16, "unresolved", "--temperatures 400"),
        (seen(2.0, 0.3), 16, "unresolved", "--temperatures 400"),
        (seen(math.nan, math.inf), 16, "unresolved", "--temperatures 400"),
        (seen(0.01, 0.25, increment_se=0.1), 16, "partial", "--temperatures 400"),
        (seen(0.01, 0.9), 16, "unresolved", "--temperatures 400"),
        (seen(0.01, 0.25, se=0.03), 16, "partial", "--samples 64"),
        (seen(0.01, 0.25, se=math.nan), 16, "partial", "--samples 64"),
        (seen(0.01, 0.25, free=0), 16, "partial", "--proposal auto"),
        (seen(0.01, 0.25, free=2), 16, "partial", "--samples 64"),
    ],
)
def test_the_verdict_on_chains(agreement: Agreement, C: int, word: str, advice: str) -> None:
    verdict = judge_chains(agreement, C, 100)
    assert (verdict.word, verdict.advice) == (word, advice)


@pytest.mark.parametrize(
    ("name", "start", "T", "resolved"),
    [
        ("crude", "auto", 25, True),
        ("hopeless", "prior", 5, True),
        ("infinite_variance", "auto", 25, True),
        ("crude_50", "prior", 10, False),
        ("missed_mode", "auto", 25, False),
        ("missed_mode_10", "auto", 25, False),
        ("spike", "auto", 25, False),
        ("spike", "prior", 25, False),
        ("ring_spot", "posterior", 25, False),
        ("funnel_5", "laplace", 25, False),
    ],
)
def test_the_verdict_on_models(name: str, start: str, T: int, resolved: bool) -> None:
    model = CASES[name].build()
    x = model.data(32)
    found = anneal(model, x, temperatures=T, proposal=start)
    assert found.verdict.resolved is resolved, found.verdict
    assert (found.interval is not None) is resolved
    if found.interval is not None:
        assert found.interval.low <= found.log_px.mean <= found.interval.high  # equal chains: no width but rounding
        assert abs(found.log_px.mean - model.log_px(x).mean().item()) < 0.05


# what the answer depends on


def test_the_answer_depends_on_the_seed_and_on_nothing_else() -> None:
    model = CASES["crude"].build()
    x = model.data(DATA_TILE + 3)
    whole = anneal(model, x, temperatures=4)
    torch.manual_seed(1)
    state = torch.get_rng_state()
    assert anneal(model, x, temperatures=4) == whole
    assert torch.equal(torch.get_rng_state(), state)
    assert anneal(model, x, temperatures=4, rows=7).log_px == whole.log_px
    assert anneal(model, x[:DATA_TILE], temperatures=4).rows == whole.rows[:DATA_TILE]
    assert anneal(model, x, temperatures=4, seed=1).log_px != whole.log_px


def test_equal_data_have_noise_of_their_own() -> None:
    """In other blocks too. One temperature from the prior: there the draws alone tell equal data apart."""
    model = CASES["crude"].build()
    found = columns(anneal(model, model.data(1).repeat(70, 1), temperatures=1, K=2, proposal="prior"))
    assert len(found["log_px"].unique()) == 70


def test_tiles_of_chains_have_noise_of_their_own_and_none_is_lost() -> None:
    model = CASES["crude"].build()
    course = Course.of(Settings(K=130, temperatures=3, proposal="posterior"))
    ready = finished(prepare(model, model.data(2).float(), 0, course))
    log_w = finished(ready.forwards())
    assert log_w.shape == (130, 2)
    assert len(log_w.unique()) == 260
    assert ready.summary(log_w).K == 130


def test_the_run_and_its_tuning_share_no_noise() -> None:
    """With the tuning's draws in the place of its own the run would refuse; with other noise it goes its way."""
    model = CASES["crude"].build()
    x = model.data(4).float()
    course = Course.of(Settings(K=4, temperatures=5, proposal="posterior"))
    ready = finished(prepare(model, x, 0, course))
    before = ready.steps.values.clone()
    log_w = finished(ready.forwards())
    assert torch.equal(ready.steps.values, before)  # nothing adapts
    other = last(tune(ready.kernel, ready.steps.start + 0.1, schedule(5), seed=7, target=0.8, rounds=4))
    changed = replace(ready, steps=replace(ready.steps, values=other.values))
    assert not torch.equal(finished(changed.forwards()), log_w)


@pytest.mark.parametrize("T", [31, 100])
def test_steps_between_tuned_temperatures_keep_the_acceptance(T: int) -> None:
    model = CASES["diagonal_20x10"].build()
    x = model.data(16).float()
    ready = finished(prepare(model, x, 0, Course.of(Settings(K=16, temperatures=T, proposal="prior"))))
    assert ready.steps.values.shape == (T - 1, 16)
    accepted = last(accepting(ready, T))
    assert ((accepted - 0.8).abs() < 0.12).all()


def accepting(ready: Annealer, T: int) -> Generator[Tensor, None, None]:
    from elbo_cli.bounds.annealing import anneal as chains

    for state in chains(ready.kernel, ready.start.sample(16, ready.N), schedule(T), ready.steps, seed=5):
        yield state.acceptance


# manners


@pytest.mark.parametrize(("K", "T"), [(3, 1), (16, 32), (80, 3)])
def test_ticks_count_every_temperature_to_the_end(K: int, T: int) -> None:
    model = CASES["crude"].build()
    ticks = list(ais(model, split_of(model.data(33)), Settings(K=K, temperatures=T)))
    assert [tick.done for tick in ticks] == list(range(1, len(ticks) + 1))
    assert all(isinstance(tick, Tick) and tick.total == len(ticks) for tick in ticks)


class Learned(nn.Module):
    """An oracle's distributions behind a parameter, as a trained network's are."""

    def __init__(self, inner: Oracle) -> None:
        super().__init__()
        self.inner, self.gain = inner, nn.Parameter(torch.ones(()))
        self.fixed = nn.Parameter(torch.ones(()), requires_grad=False)

    def prior(self) -> Distribution:
        return self.inner.prior()

    def posterior(self, x: Tensor) -> Distribution:
        return self.inner.posterior(x * self.gain)

    def likelihood(self, z: Tensor) -> Distribution:
        assert not self.gain.requires_grad
        return self.inner.likelihood(z * self.gain)


def test_parameters_have_no_gradients_meanwhile_and_theirs_again_afterwards() -> None:
    inner = CASES["crude"].build()
    model, split, settings = (
        Learned(inner),
        split_of(inner.data(3)),
        Settings(K=2, temperatures=3, proposal="posterior"),
    )
    found = finished(ais(model, split, settings))
    assert found.log_px == anneal(inner, inner.data(3), K=2, temperatures=3, proposal="posterior").log_px
    assert (model.gain.requires_grad, model.fixed.requires_grad) == (True, False)
    stopped = ais(model, split, settings)
    next(stopped)
    stopped.close()
    assert model.gain.requires_grad


class Broken(WithPosterior):
    def __init__(self, model: Oracle, breaking: Callable[[Tensor], Tensor]) -> None:
        super().__init__(model, model.posterior)
        self.breaking = breaking

    def likelihood(self, z: Tensor) -> Distribution:
        return independent(Bernoulli(logits=self.breaking(z), validate_args=False))


def test_a_log_density_that_is_no_number_is_named() -> None:
    inner = CASES["probit"].build()

    def failing(z: Tensor) -> Tensor:
        bad = torch.zeros(z.shape[-2], 1, dtype=z.dtype)
        bad[4:5] = math.nan if len(bad) == 8 else 0.0
        return z + bad

    with pytest.raises(RunError, match=r"Among data 32 to 39: log p\(x, z\) = nan .* datum 4 of its block"):
        anneal(Broken(inner, failing), inner.data(DATA_TILE + 8), temperatures=2, proposal="posterior")


def test_a_model_without_gradients_is_refused_with_a_cure() -> None:
    class Uniform(Broken):
        def prior(self) -> Distribution:
            inner: Distribution = Flat()
            return inner

    class Flat(Distribution):
        arg_constraints: dict[str, object] = {}  # noqa: RUF012

        def __init__(self) -> None:
            super().__init__(torch.Size(), torch.Size([50]), validate_args=False)

        def log_prob(self, value: Tensor) -> Tensor:
            return torch.zeros(value.shape[:-1])

    inner = CASES["probit"].build()
    with pytest.raises(UserError, match=r"not differentiable by z\. Type --method importance"):
        anneal(Uniform(inner, lambda z: z.detach().round()), inner.data(2), proposal="posterior")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"proposal": "prioir"}, "Did you mean 'prior'"),
        ({"proposal": "defensive"}, "There are: auto, posterior, laplace, prior"),
        ({"temperatures": 0}, "give 1 or more, as 1000"),
    ],
)
def test_what_cannot_be_annealed_is_refused_at_once(given: dict[str, object], said: str) -> None:
    model = CASES["crude"].build()
    with pytest.raises(UserError, match=said):
        anneal(model, model.data(2), **given)
