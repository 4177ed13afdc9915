"""`--tolerance`: what each datum needs, what pilots may not do, and whether the accuracy is met."""

import math
from collections.abc import Generator
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.distributions import Distribution

from elbo_cli.gap import tolerance as module
from elbo_cli.gap.findings import findings
from elbo_cli.gap.importance import ELBO_DRAWS
from elbo_cli.gap.settings import Settings
from elbo_cli.gap.tolerance import MOST, PILOT, ROUNDS, Need, to_tolerance
from elbo_cli.records import GapFindings, Tick, Verdict
from elbo_cli.runtime import finished
from tests.gap.runs import split_of
from tests.oracles import CASES, WithPosterior
from tests.oracles.oracle import Silent


def met(name: str, N: int = 64, **given: object) -> tuple[GapFindings, float]:
    """The findings, and the error of their mean log p(x)."""
    model = CASES[name].build()
    x = model.data(N)
    found = finished(to_tolerance(model, split_of(x), Settings(adaptive=True, **given)))  # type: ignore[arg-type]
    return found, found.log_px.mean - model.log_px(x.float()).mean().item()


class Watching(WithPosterior):
    """Keeps every z that is decoded without a gradient."""

    def __init__(self, name: str) -> None:
        inner = CASES[name].build()
        super().__init__(inner, inner.posterior)
        self.seen: list[Tensor] = []

    def likelihood(self, z: Tensor) -> Distribution:
        if not z.requires_grad:
            self.seen.append(z.detach().clone())
        return self.model.likelihood(z)


# what each datum needs


@pytest.mark.parametrize("tolerance", [0.01, 0.05, 0.2])
def test_the_allocation_meets_the_tolerance_by_its_own_formula(tolerance: float) -> None:
    cv = torch.tensor([0.5, 1.0, 4.0, 9.0] * 25, dtype=torch.float64)
    K = Need(torch.arange(100), cv).allocation(tolerance).double()
    bias, se = (cv.square() / (2 * K)).mean(), (cv.square() / K).sum().sqrt() / 100
    assert bias + 2 * se <= tolerance
    if K.min() > PILOT:  # rounded up to powers of two: a quarter of them would not do
        assert 4 * bias + 2 * 2 * se > tolerance


def test_draws_are_shared_out_in_proportion_to_the_spread() -> None:
    K = Need(torch.arange(300), torch.tensor([2.0, 4.0, 32.0] * 100)).allocation(0.01).tolist()
    assert K[0] <= K[1] <= K[2]
    assert 8 <= K[2] / K[0] <= 32  # 16, to a power of two
    assert Need(torch.arange(2), torch.zeros(2)).allocation(0.05).tolist() == [PILOT, PILOT]
    assert Need(torch.arange(2), torch.full((2,), 1e6)).allocation(1e-3).tolist() == [MOST, MOST]


class Walled(WithPosterior):
    """A likelihood of zero, wherever z is, for data beyond 50."""

    def likelihood(self, z: Tensor) -> Distribution:
        return Masked(self.model.likelihood(z))


class Masked(Silent):
    def log_prob(self, value: Tensor) -> Tensor:
        return self.inner.log_prob(value).masked_fill(value[..., 0] > 50, -math.inf)


def test_a_datum_without_any_weight_spoils_nobody_elses_draws() -> None:
    inner = CASES["crude"].build()
    model, x = Walled(inner, inner.posterior), inner.data(8)
    x[5] = 100.0
    settings = Settings(adaptive=True, tolerance=0.05, proposal="defensive")
    found = finished(to_tolerance(model, split_of(x), settings))
    alive = [row for row in found.rows if row.index != 5]
    assert all(PILOT <= row.samples <= MOST for row in found.rows)
    assert all(math.isfinite(row.log_px) for row in alive)
    assert found.log_px.mean == -math.inf
    assert not found.verdict.resolved


# what pilots may not do


@pytest.mark.parametrize(("proposal", "tolerance"), [("defensive", 0.004), ("auto", 0.001)])
def test_no_draw_of_a_pilot_is_used_again(proposal: str, tolerance: float) -> None:
    """Nor one of a round in the next: each has noise of its own, though what was fitted is kept."""
    model = Watching("crude")
    x = model.data(8)
    finished(to_tolerance(model, split_of(x), Settings(adaptive=True, tolerance=tolerance, proposal=proposal)))
    z = torch.cat([z.reshape(-1, z.shape[-1]) for z in model.seen if len(z) >= PILOT])  # a fit's points are fewer
    assert len(z) >= 8 * 3 * PILOT  # the pilot's, the round's, and q's own for the ELBO
    assert len(z.unique(dim=0)) == len(z)


@pytest.mark.parametrize("rounds", [ROUNDS, 6])
def test_the_certificate_pays_for_every_round_that_might_have_been_kept(rounds: int) -> None:
    model = CASES["crude"].build()
    x = model.data(10)
    work = to_tolerance(model, split_of(x), Settings(adaptive=True, tolerance=0.1, delta=0.05), rounds=rounds)
    found = finished(work)
    assert found.certified.log_px_at_least == pytest.approx(found.log_px.mean - math.log(rounds / 0.05) / 10)


def test_the_certificate_holds_though_rounds_are_chosen_among() -> None:
    """A hundred seeds of a q so bad that most rounds fall short; without its slack some would be above the truth."""
    model = CASES["infinite_variance"].build()
    x = model.data(2)
    truth, above, bare = model.log_px(x.float()).mean().item(), 0, 0
    for seed in range(100):
        settings = Settings(adaptive=True, tolerance=0.3, proposal="defensive", seed=seed)
        found = finished(to_tolerance(model, split_of(x), settings))
        assert found.certified.log_px_at_least is not None
        above += found.certified.log_px_at_least > truth
        bare += found.log_px.mean > truth
    assert above <= 5
    assert bare > 20


# whether the accuracy is met


@pytest.mark.parametrize("name", ["crude", "diagonal_20x10", "probit_crude", "logistic", "student", "hopeless"])
def test_what_is_resolved_is_within_the_tolerance(name: str) -> None:
    for tolerance in (0.1, 0.03):
        found, error = met(name, tolerance=tolerance)
        assert found.verdict.resolved, found.verdict
        assert abs(error) < tolerance


def test_less_tolerance_takes_more_draws() -> None:
    samples = [met("crude", tolerance=tolerance)[0].samples for tolerance in (0.1, 0.03, 0.01)]
    assert samples == sorted(samples)
    assert samples[2] > 3 * samples[0]


def test_an_accuracy_that_is_not_to_be_had_is_told_with_what_it_would_take() -> None:
    found, error = met("hopeless", N=8, proposal="posterior", tolerance=0.05)
    assert error < -3
    assert not found.verdict.resolved
    assert "the tolerance of 0.05 nat was not met" in found.verdict.reason


@pytest.fixture
def _never_resolved(monkeypatch: pytest.MonkeyPatch) -> None:
    """A verdict that always falls short."""

    def partial(*given: object, **named: object) -> GapFindings:
        return replace(findings(*given, **named), verdict=Verdict("partial", "", ""))  # type: ignore[arg-type]

    monkeypatch.setattr(module, "findings", partial)


def phases(work: Generator[Tick, None, GapFindings]) -> tuple[dict[str, int], GapFindings]:
    """Draws of the pilot and of each round, by name; and the findings."""
    totals: dict[str, int] = {}
    while True:
        try:
            tick = next(work)
        except StopIteration as stop:
            return totals, stop.value
        totals[tick.what] = tick.total


@pytest.mark.usefixtures("_never_resolved")
def test_a_round_that_falls_short_is_followed_by_a_longer_one() -> None:
    """Three at most, each with four times the draws or more, and all of them are counted."""
    model = CASES["crude"].build()
    settings = Settings(adaptive=True, tolerance=0.2, proposal="defensive")
    totals, found = phases(to_tolerance(model, split_of(model.data(8)), settings))
    assert list(totals) == ["pilot", "round 1", "round 2", "round 3"]
    assert totals["round 2"] >= 4 * totals["round 1"]
    assert totals["round 3"] >= 4 * totals["round 2"]
    assert found.decodes is not None
    assert 0 < found.decodes - sum(totals.values()) // 8 <= 4 * ELBO_DRAWS
    assert "was not met" in found.verdict.reason


@pytest.mark.parametrize(("proposal", "own"), [("posterior", 0), ("defensive", ELBO_DRAWS)])
def test_decodes_are_counted_as_they_happen(proposal: str, own: int) -> None:
    model = Watching("crude")
    x = model.data(40)
    found = finished(to_tolerance(model, split_of(x), Settings(adaptive=True, tolerance=0.05, proposal=proposal)))
    assert found.decodes == sum(z[..., 0].numel() for z in model.seen) // 40


class Stub:
    """A rival whose price is known."""

    def __init__(self, price: float) -> None:
        self.price, self.asked = price, 0

    def beats(self, decodes: float) -> Generator[Tick, None, bool]:
        self.asked += 1
        yield Tick(done=1, total=1, what="asked")
        return self.price < decodes


@pytest.mark.usefixtures("_never_resolved")
@pytest.mark.parametrize(("price", "rounds"), [(1.0, 1), (math.inf, 3)])
def test_a_rival_takes_over_only_after_a_round_and_only_where_it_is_cheaper(price: float, rounds: int) -> None:
    model = CASES["crude"].build()
    settings, rival = Settings(adaptive=True, tolerance=0.2), Stub(price)
    totals, _ = phases(to_tolerance(model, split_of(model.data(8)), settings, rival))
    assert sum(what.startswith("round") for what in totals) == rounds
    assert rival.asked == max(1, rounds - 1)
