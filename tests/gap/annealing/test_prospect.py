"""What pilots of annealing foretell, and `--method ais --tolerance` that rests on it."""

import math

import pytest

from elbo_cli.errors import UserError
from elbo_cli.gap.annealing.ais import ais
from elbo_cli.gap.annealing.prospect import LENGTHS, LONG, NUMBERS, SHORT, Spread, floor, prospects
from elbo_cli.gap.annealing.to_tolerance import annealed_to_tolerance
from elbo_cli.gap.settings import Settings
from elbo_cli.records import Certificate, Estimate, GapFindings, GapRow
from elbo_cli.runtime import finished
from tests.gap.runs import split_of
from tests.oracles import CASES

TOLERANT = Settings(adaptive=True, tolerance=0.05)


def pilot(cv2: float, C: int = 16) -> GapFindings:
    row = GapRow(index=0, elbo=0, log_px=0, gap=0, se_log_px=math.sqrt(cv2 / C))
    nothing = Estimate(0.0, 0.0, 0.0)
    return GapFindings(
        examples=1,
        samples=C,
        elbo=nothing,
        log_px=nothing,
        gap=nothing,
        certified=Certificate(0.0, 0.0, 0.05),
        rows=(row,),
    )


def law(variance: float, decay: float) -> Spread:
    """Weights whose log has variance `variance` at 100 temperatures, falling as T^-decay."""
    return Spread.between(
        *(pilot(math.expm1(variance * (LONG / T) ** decay)) for T in (SHORT, LONG))  # log-normal weights
    )


@pytest.mark.parametrize("decay", [0.4, 0.7, 1.0])
def test_a_law_is_found_from_its_two_pilots(decay: float) -> None:
    spread = law(0.5, decay)
    assert (spread.long, spread.decay) == (pytest.approx(0.5), pytest.approx(decay))
    cv2 = math.expm1(0.5 * (LONG / 800) ** decay)
    assert spread.left(800, 32, 50) == pytest.approx(cv2 / 64 + 2 * math.sqrt(cv2 / 1600))
    assert spread.trusted


def test_nothing_is_foretold_where_longer_chains_agree_no_better() -> None:
    assert not law(0.5, 0.1).trusted
    assert not law(3.0, 0.5).trusted  # sixteen chains of which one counts do not know their spread
    assert not Spread.between(pilot(1.0), pilot(1.5)).trusted
    assert Spread.between(pilot(0.0), pilot(0.0)).trusted  # where the start is the posterior


@pytest.mark.parametrize("name", ["missed_mode_10", "ring_spot"])
def test_what_is_foretold_comes_to_pass(name: str) -> None:
    """Bias and noise of the course that the pilots chose are what they said, to a factor of two."""
    model = CASES[name].build()
    split = split_of(model.data(64))
    (best, *_), _ = finished(prospects(model, split, TOLERANT, 0.025))
    found = finished(ais(model, split, best.settings))
    assert found.log_px.se_mc is not None
    left = found.samples * found.log_px.se_mc**2 * 64 / (2 * found.samples) + 2 * found.log_px.se_mc
    assert 0.025 / 2 < left < 0.025 * 2


def test_chains_that_begin_in_one_mode_are_not_trusted_and_those_from_the_prior_are() -> None:
    model = CASES["ring_spot"].build()
    found, _ = finished(prospects(model, split_of(model.data(32)), TOLERANT, 0.025))
    assert {p.settings.proposal: math.isfinite(p.decodes) for p in found} == {"prior": True, "auto": False}


def test_the_cheapest_of_all_courses_is_chosen_and_none_is_cheaper_than_the_floor() -> None:
    model = CASES["crude_50"].build()
    split = split_of(model.data(32))
    (best, *_), spent = finished(prospects(model, split, TOLERANT, 0.025))
    assert best.settings.temperatures in LENGTHS
    assert best.settings.K in NUMBERS
    assert floor(model, split, TOLERANT) <= best.decodes + spent


@pytest.mark.parametrize(("name", "start"), [("crude", "auto"), ("ring_spot", "prior")])
def test_annealing_takes_a_tolerance(name: str, start: str) -> None:
    model = CASES[name].build()
    x = model.data(64)
    found = finished(annealed_to_tolerance(model, split_of(x), Settings(adaptive=True, tolerance=0.05, proposal=start)))
    assert found.verdict.resolved, found.verdict
    assert abs(found.log_px.mean - model.log_px(x.float()).mean().item()) < 0.05
    assert found.certified.log_px_at_least == pytest.approx(found.log_px.mean - math.log(3 / 0.05) / 64)


def test_a_course_that_falls_short_is_followed_by_a_longer_one() -> None:
    model = CASES["spike"].build()
    settings = Settings(adaptive=True, tolerance=0.05, proposal="prior", temperatures=10, K=16)
    work = annealed_to_tolerance(model, split_of(model.data(8)), settings)
    totals = {tick.total for tick in work}
    assert len(totals) > 3  # two pilots, and rounds of growing length
    assert max(totals) > 5 * min(totals)


def test_a_blind_start_is_measured_once_and_never_resolves() -> None:
    model = CASES["missed_mode"].build()
    settings = Settings(adaptive=True, tolerance=0.05, proposal="laplace", temperatures=50, K=16)
    found = finished(annealed_to_tolerance(model, split_of(model.data(8)), settings))
    assert not found.verdict.resolved
    assert "was not met" in found.verdict.reason


def test_there_is_no_other_start() -> None:
    model = CASES["crude"].build()
    with pytest.raises(UserError, match="No start of annealing"):
        finished(annealed_to_tolerance(model, split_of(model.data(2)), Settings(adaptive=True, proposal="nowhere")))
