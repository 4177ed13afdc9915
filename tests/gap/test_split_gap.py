"""The two halves of the gap are what closed forms say, add up, and do not rest on the noise of any search."""

import json
import math
from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, MultivariateNormal, Normal

from elbo_cli import runtime
from elbo_cli.columns import titles
from elbo_cli.errors import RunError, UserError
from elbo_cli.gap import split_gap as room
from elbo_cli.gap import streams
from elbo_cli.gap.importance import importance
from elbo_cli.gap.proposals import refine
from elbo_cli.gap.proposals.refine import FAMILIES, Refined
from elbo_cli.gap.settings import Settings
from elbo_cli.gap.split_gap import DRAWS, refuse_unsplit, split_gap
from elbo_cli.records import Estimate, SplitFindings, SplitRow, Tick
from elbo_cli.report.parts import as_json
from elbo_cli.runtime import derive, finished
from tests.gap.runs import split_of
from tests.oracles import (
    CASES,
    LinearGaussian,
    MissedMode,
    Oracle,
    Probit,
    TwoLatentMLP,
    WithPosterior,
    pixels,
    random_linear_gaussian,
    student_posterior,
)
from tests.oracles.comparison import close
from tests.oracles.oracle import DTYPE, diagonal_normal, kl_to_standard_normal
from tests.oracles.quadrature import line, log_normal

LINEAR: dict[str, Callable[[], LinearGaussian]] = {
    "1 latent": lambda: random_linear_gaussian(4, 1, shift=1.0, scale=2.0, seed=1),
    "3 latents": lambda: random_linear_gaussian(8, 3, shift=0.3, scale=1.3, shrink=0.9),
    "the best q already": lambda: random_linear_gaussian(8, 3, seed=3),
    "10 latents": lambda: random_linear_gaussian(20, 10, size=0.3, shift=0.5, scale=0.3),
    "50 latents": lambda: random_linear_gaussian(100, 50, sigma=1.0, size=0.1, shift=0.1, scale=1.1),
}


def split(model: Oracle, x: Tensor, families: Sequence[str] = (), **told: int) -> SplitFindings:
    return finished(split_gap(model, split_of(x), Settings(**{"K": 300} | told), families))  # type: ignore[arg-type]


def near(found: Estimate, truth: Tensor | float, resolve: float, left: float = 0.003) -> None:
    """Within 3 Monte Carlo errors and what the search may have left, and not blind to an error of `resolve`."""
    assert found.se_mc is not None
    assert 3 * found.se_mc + left < resolve, f"blind: {3 * found.se_mc} + {left} >= {resolve}"
    assert abs(found.mean - float(torch.as_tensor(truth).mean())) < 3 * found.se_mc + left, (found, truth)


def column(found: SplitFindings, name: str) -> Tensor:
    return torch.tensor([getattr(row, name) for row in found.rows], dtype=DTYPE)


# ----------------------------------------------------------------------------------------------------------- exactly


@pytest.mark.parametrize("name", LINEAR)
def test_the_halves_of_a_linear_gaussian_are_the_closed_forms(name: str) -> None:
    model = LINEAR[name]()
    x = model.data(40).float()
    found = split(model, x)
    assert found.family == "diagonal"
    near(found.approximation_gap, model.approximation_gap, resolve=0.1)
    near(found.amortisation_gap, model.amortisation_gap(x), resolve=0.1)
    near(found.gap.gap, model.gap(x), resolve=0.12)
    near(found.gap.log_px, model.log_px(x), resolve=0.04)
    near(found.refined, model.log_px(x) - model.approximation_gap, resolve=0.1)
    (full,) = found.richer
    near(full.leaves, 0.0, resolve=0.04)
    near(full.closes, model.approximation_gap, resolve=0.1)
    if model.approximation_gap > 0.1:
        assert full.share == pytest.approx(1.0, abs=0.06)
    elif model.latent_dim == 1:  # there is no approximation gap to have a share of
        assert full.share is None


def test_the_halves_of_a_probit_decoder_are_those_of_its_integrals() -> None:
    model = Probit(*pixels(20, 2.0), shift=0.3, scale=0.5)
    x = model.data(40).float()
    best = best_diagonal_elbo(model, x)
    found = split(model, x)
    near(found.gap.log_px, model.log_px(x), resolve=0.05)
    near(found.approximation_gap, model.log_px(x) - best, resolve=0.06)
    near(found.amortisation_gap, best - model.elbo(x), resolve=0.06)


def best_diagonal_elbo(model: Probit, x: Tensor) -> Tensor:
    """The highest ELBO of any diagonal normal q, [N]: each latent's own, by the trapezoid rule and LBFGS."""
    nodes, step = line(10.0, 401)
    density = log_normal(nodes).exp()[:, None, None] * step
    values = torch.arange(2, dtype=DTYPE)[:, None]
    parameters = torch.zeros(2, 2, len(model.a), dtype=DTYPE, requires_grad=True)  # mean and log sd by value and latent
    search = torch.optim.LBFGS([parameters], max_iter=500, tolerance_grad=1e-10, line_search_fn="strong_wolfe")

    def elbo() -> Tensor:
        mean, log_sd = parameters
        z = mean + log_sd.exp() * nodes[:, None, None]
        recon = (density * model.pixels(model.a * z + model.b).log_prob(values)).sum(0)
        return recon - kl_to_standard_normal(mean, (2 * log_sd).exp())

    def loss() -> Tensor:
        search.zero_grad()
        total = -elbo().sum()
        total.backward()
        return total

    search.step(loss)  # type: ignore[no-untyped-call]
    return elbo().detach().gather(0, x.long()).sum(-1)


def test_the_halves_add_up_to_the_gap_and_the_rows_to_both() -> None:
    model = LINEAR["3 latents"]()
    found = split(model, model.data(40))
    total = found.approximation_gap.mean + found.amortisation_gap.mean
    assert total == pytest.approx(found.gap.gap.mean, abs=1e-9)
    assert found.gap.approximation_gap == found.approximation_gap
    assert found.gap.amortisation_gap == found.amortisation_gap
    assert column(found, "index").tolist() == list(range(40))
    close(column(found, "amortisation_gap").mean(), found.amortisation_gap.mean)
    close(column(found, "approximation_gap"), column(found, "log_px") - column(found, "elbo_diagonal"))
    close(column(found, "amortisation_gap"), column(found, "elbo_refined") - column(found, "elbo"))
    close(column(found, "elbo_full").mean(), found.richer[0].elbo.mean)
    assert {row.elbo_flow for row in found.rows} == {None}


def test_a_full_q_is_held_against_the_best_full_q() -> None:
    model = LINEAR["3 latents"]()

    def encoder(x: Tensor) -> Distribution:
        mean, S = model.posterior_mean(x) + 0.3, 1.5 * model.covariance
        return MultivariateNormal(mean, S.expand(len(x), -1, -1), validate_args=False)

    x = model.data(20).float()
    found = split(WithPosterior(model, encoder), x)
    delta = torch.full((3,), 0.3, dtype=DTYPE)
    wrong = 0.5 * (1.5 * 3 - 3 - 3 * math.log(1.5) + float(delta @ model.precision @ delta))
    assert found.family == "full"
    assert found.richer == ()
    near(found.approximation_gap, 0.0, resolve=0.03)
    near(found.amortisation_gap, wrong, resolve=0.1)


# --------------------------------------------------------------------------------------------------------- the noise


def overfit(model: LinearGaussian, x: Tensor, q: Distribution, e: Tensor) -> Distribution:
    """A diagonal q that climbed far on the draws e [S, N, D] alone."""
    log_sigma = q.stddev.log()
    crossed = model.precision * torch.einsum("snd,sne->nde", e, e) / len(e)
    for _ in range(300):
        sigma = log_sigma.exp()
        log_sigma = log_sigma + 0.1 * (1 - sigma * torch.einsum("nde,ne->nd", crossed, sigma))
    return Independent(Normal(q.mean, log_sigma.exp()), 1)


def test_the_elbo_of_a_refined_q_is_measured_on_draws_that_its_search_never_saw(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whatever q* a search comes with, even one that only looks good on its own noise, its ELBO is the true one."""
    model = random_linear_gaussian(100, 50, sigma=1.0, size=0.1)
    x = model.data(32).float()
    e = torch.randn(64, 32, 50, dtype=DTYPE)
    q = overfit(model, x, model.posterior(x), e)
    own_noise = model.likelihood(q.mean + q.stddev * e).log_prob(x.double()) + model.prior().log_prob(
        q.mean + q.stddev * e
    )
    flattered = (own_noise - q.log_prob(q.mean + q.stddev * e)).mean()
    search = room.refine_all

    def flattering(*told: object, **named: object) -> dict[str, Refined]:
        return search(*told, **named) | {"diagonal": Refined(q, 0)}  # type: ignore[arg-type]

    monkeypatch.setattr(room, "refine_all", flattering)
    ratio = q.variance / model.best_variance
    truth = model.log_px(x) - model.approximation_gap - 0.5 * (ratio - 1 - ratio.log()).sum(-1)
    found = split(model, x)
    near(found.refined, truth, resolve=0.2)
    assert flattered > truth.mean() + 0.5


def test_no_seed_of_the_measurement_is_one_of_the_search(monkeypatch: pytest.MonkeyPatch) -> None:
    searched: list[int] = []
    measured: list[int] = []

    def spy(seeds: list[int]) -> Callable[..., int]:
        return lambda seed, *path: seeds.append(derive(seed, *path)) or seeds[-1]

    monkeypatch.setattr(runtime, "derive", spy(searched))
    monkeypatch.setattr(streams, "derive", spy(measured))
    model = TwoLatentMLP()
    split(model, model.data(33).float(), K=64)
    assert searched
    assert not set(searched) & set(measured)
    # in each of two blocks: one for log p(x), one that q, q* and the full normal share
    assert sorted(measured.count(seed) for seed in set(measured)) == [2, 6]


def test_the_halves_carry_the_errors_that_repeats_show() -> None:
    model = TwoLatentMLP(shift=0.5, scale=0.4)
    x = model.data(1).float().repeat(160, 1)
    found = split(model, x, K=750)  # so that log p(x) and ELBO[q*] are about as noisy
    for half in ("amortisation_gap", "approximation_gap"):
        spread, claimed = column(found, half).std(), column(found, f"se_{half}").square().mean().sqrt()
        assert 0.8 < spread / claimed < 1.2, half


def test_common_draws_make_the_amortisation_gap_surer_than_its_two_elbos() -> None:
    model = LINEAR["50 latents"]()
    found = split(model, model.data(32).float())
    apart = math.hypot(found.gap.elbo.se_mc or 0.0, found.refined.se_mc or 0.0)
    assert found.amortisation_gap.se_mc is not None
    assert found.amortisation_gap.se_mc < 0.5 * apart


def test_the_elbo_is_that_of_the_measurement_without_the_split() -> None:
    """The first draws of q are the same, and the split takes more of them."""
    model = LINEAR["50 latents"]()
    data = split_of(model.data(33))
    plain = finished(importance(model, data, Settings(K=DRAWS)))
    found = finished(split_gap(model, data, Settings(K=DRAWS), ()))
    assert plain.elbo.se_mc is not None
    assert abs(plain.elbo.mean - found.gap.elbo.mean) < 3 * plain.elbo.se_mc
    assert abs(plain.elbo.mean - found.gap.elbo.mean) > 0 or plain.elbo == found.gap.elbo


def test_the_seed_decides() -> None:
    model = TwoLatentMLP(shift=0.5)
    x = model.data(3).float()
    assert split(model, x, seed=1) == split(model, x, seed=1)
    assert split(model, x, seed=1).refined != split(model, x, seed=2).refined


def test_how_many_rows_are_decoded_at_once_changes_nothing() -> None:
    model = TwoLatentMLP(shift=0.5)
    x = model.data(3).float()
    few, many = split(model, x, rows=10), split(model, x, rows=10_000)
    assert few.amortisation_gap.mean == pytest.approx(many.amortisation_gap.mean, abs=1e-9)
    assert few.approximation_gap.mean == pytest.approx(many.approximation_gap.mean, abs=1e-9)


# ------------------------------------------------------------------------------------------------- findings and ticks


def test_findings_are_json_and_tell_what_they_cost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refine, "STEPS", 16)  # and 128 for the flow
    model = TwoLatentMLP(shift=0.5)
    work = split_gap(model, split_of(model.data(40)), Settings(K=64, seed=5), ("diagonal", "flow"))
    ticks = []
    while True:
        try:
            ticks.append(next(work))
        except StopIteration as stop:
            found: SplitFindings = stop.value
            break
    assert ticks == [Tick(done=n, total=40, what="splitting the gap") for n in (32, 40)]
    kept = json.loads(json.dumps(as_json(found), allow_nan=False))
    assert kept["amortisation_gap"]["mean"] == found.amortisation_gap.mean
    assert [family.family for family in found.richer] == ["full", "flow"]
    assert found.richer[1].elbo.mean > found.richer[0].elbo.mean > found.refined.mean > found.gap.elbo.mean
    assert found.richer[1].elbo.mean < float(model.log_px(model.data(40)).mean())
    assert found.decodes == found.search_decodes + 64 + 4 * DRAWS
    assert found.gap.decodes == found.decodes
    assert (found.examples, found.seed, found.gap.samples) == (40, 5, 64)
    assert {f"elbo_{family}" for family in FAMILIES if family != "own"} < set(titles(SplitRow))


class Counting(TwoLatentMLP):
    """Counts decodes for each datum; a value with its gradient as 3."""

    decodes = 0

    def likelihood(self, z: Tensor) -> Distribution:
        self.decodes += (3 if z.requires_grad else 1) * z.shape[:-2].numel()
        return super().likelihood(z)


def test_every_decode_is_counted() -> None:
    x = TwoLatentMLP().data(2).float()
    model = Counting()
    assert split(model, x, K=64).decodes == model.decodes


def test_the_verdict_is_that_of_log_px() -> None:
    model = LINEAR["3 latents"]()
    assert split(model, model.data(32)).gap.verdict.resolved
    missed = MissedMode(scale=1.5)
    found = split(missed, missed.data(16), K=1000)
    right = abs(found.gap.log_px.mean - float(missed.log_px(missed.data(1)))) < 0.05
    assert right or not found.gap.verdict.resolved


# ------------------------------------------------------------------------------------------------------------ errors


def test_a_q_that_is_not_normal_is_told() -> None:
    model = student_posterior()
    with pytest.raises(UserError, match=r"a Independent|StudentT.*Leave --split-gap out"):
        split(model, model.data(2))


def test_too_many_latents_for_full_covariances_are_told() -> None:
    """Before anything is measured: `elbo gap` asks this first."""
    model = TwoLatentMLP()
    x = model.data(2)
    model.latent_dim = 513
    with pytest.raises(UserError, match=r"at most 512 latents; this model has 513\. Leave --split-gap out"):
        refuse_unsplit(model, x, ())


def test_an_unknown_family_is_told_before_any_work() -> None:
    model = TwoLatentMLP()
    with pytest.raises(UserError, match=r"No family of q is called 'flo'\. Did you mean 'flow'"):
        next(split_gap(model, split_of(model.data(2)), Settings(), ("flo",)))


class Broken(TwoLatentMLP):
    def likelihood(self, z: Tensor) -> Distribution:
        return diagonal_normal(self.logits(z) + math.nan, 1.0)


def test_a_model_without_finite_numbers_is_told_with_its_data() -> None:
    model = Broken()
    with pytest.raises(RunError, match="Among data 0 to 1: log w"):
        split(model, torch.zeros(2, 10))


def test_a_refined_q_without_finite_numbers_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    model = TwoLatentMLP()
    search = room.refine_all
    lost = diagonal_normal(torch.full((2, 2), math.nan, dtype=DTYPE), 1.0)

    def losing(*told: object, **named: object) -> dict[str, Refined]:
        return search(*told, **named) | {"diagonal": Refined(lost, 0)}  # type: ignore[arg-type]

    monkeypatch.setattr(room, "refine_all", losing)
    with pytest.raises(RunError, match="Among data 0 to 1: log w"):
        split(model, model.data(2).float())


@pytest.mark.parametrize("name", ["ring_spot", "funnel_5", "needle", "two_latents"])
def test_where_no_normal_is_the_posterior_the_halves_are_still_no_more_than_they_can_be(name: str) -> None:
    """ELBO[q*] cannot exceed log p(x), nor ELBO[q] in expectation the ELBO of the q* that it led to."""
    model = CASES[name].build()
    x = model.data(16).float()
    found = split(model, x)
    assert found.refined.se_mc is not None
    assert found.refined.mean < float(model.log_px(x).mean()) + 4 * found.refined.se_mc
    assert found.amortisation_gap.mean > -4 * (found.amortisation_gap.se_mc or 0.0) - 0.01
