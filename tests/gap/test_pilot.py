"""`--method auto --tolerance`: proposals and annealing are priced, the cheapest is taken, and the answer is right."""

import math
from dataclasses import replace
from functools import cache

import pytest
import torch
from torch import Tensor
from torch.distributions import Distribution

from elbo_cli.gap import pilot
from elbo_cli.gap.annealing.to_tolerance import annealed_to_tolerance
from elbo_cli.gap.pilot import Annealing, Trial, by_the_cheapest, trials, why
from elbo_cli.gap.proposals.recipes import PROPOSALS
from elbo_cli.gap.settings import Settings
from elbo_cli.gap.tolerance import PILOT, ROUNDS
from elbo_cli.records import GapFindings
from elbo_cli.runtime import finished
from tests.gap.runs import split_of
from tests.oracles import CASES, Oracle, WithPosterior

N = 64


def measured(model: Oracle, x: Tensor, **given: object) -> GapFindings:
    settings = Settings(adaptive=True, **({"tolerance": 0.05} | given))  # type: ignore[arg-type]
    return finished(by_the_cheapest(model, split_of(x), settings))


@cache
def met(name: str) -> tuple[GapFindings, float]:
    model = CASES[name].build()
    x = model.data(N)
    found = measured(model, x)
    return found, found.log_px.mean - model.log_px(x.float()).mean().item()


@pytest.mark.parametrize("name", ["ring_spot", "missed_mode_10"])
def test_annealing_is_taken_where_no_normal_reaches_all_of_the_posterior(name: str) -> None:
    """And from the prior: chains that begin in one mode stay in it, and longer ones agree no better."""
    found, error = met(name)
    assert (found.method, found.proposal, found.verdict.word) == ("ais", "prior", "resolved")
    assert abs(error) < 0.05
    assert "chains of" in found.why
    assert "from 'prior'" in found.why


@pytest.mark.parametrize("name", ["hopeless", "probit_crude", "diagonal_20x10"])
def test_sampling_is_taken_where_a_normal_fits(name: str) -> None:
    found, error = met(name)
    assert (found.method, found.verdict.word) == ("importance", "resolved")
    assert abs(error) < 0.05
    assert f"{found.proposal} about" in found.why
    assert "annealing" in found.why
    assert "at least" in found.why  # its pilots were not even run


def test_where_nothing_can_be_trusted_it_says_so() -> None:
    """The spike: chains from the prior agree no better for being longer, and no proposal's weights look harmless."""
    model = CASES["spike"].build()
    split, settings = split_of(model.data(32)), Settings(adaptive=True, tolerance=0.05)
    rival = Annealing(model, split, settings)
    assert not finished(rival.beats(math.inf))
    said = why([Trial("auto", math.inf)], rival, 0.05)
    assert "no way's pilot could be trusted" in said
    assert "annealing shows nothing" in said


def test_annealing_takes_over_where_a_trusted_pilot_was_wrong() -> None:
    """The pilot's 64 draws of the refined normal look harmless: it holds one mode of the two."""
    found, _ = met("missed_mode_10")
    assert "fell short, and so annealing" in found.why


def test_it_costs_less_than_the_other_way() -> None:
    model = CASES["diagonal_20x10"].build()
    annealed = finished(annealed_to_tolerance(model, split_of(model.data(N)), Settings(adaptive=True, tolerance=0.05)))
    assert (met("diagonal_20x10")[0].decodes or 0) < (annealed.decodes or 0)


# the guarantee


@pytest.mark.parametrize("name", ["ring_spot", "diagonal_20x10"])
def test_the_certificate_pays_for_the_rounds_of_both_ways(name: str) -> None:
    found, error = met(name)
    sure = found.certified.log_px_at_least
    assert sure == pytest.approx(found.log_px.mean - math.log(2 * ROUNDS / 0.05) / N)
    assert sure < found.log_px.mean - error


class Watching(WithPosterior):
    """Counts decoder rows, a gradient as two more, and keeps the z of those that have none."""

    def __init__(self, inner: Oracle) -> None:
        super().__init__(inner, inner.posterior)
        self.rows, self.seen = 0, list[Tensor]()

    def likelihood(self, z: Tensor) -> Distribution:
        self.rows += z[..., 0].numel() * (3 if z.requires_grad else 1)
        if not z.requires_grad:
            self.seen.append(z.detach().reshape(-1, z.shape[-1]).clone())
        return self.model.likelihood(z)


def test_no_draw_of_a_trial_is_used_again() -> None:
    model = Watching(CASES["crude"].build())
    x = model.data(8)
    settings = Settings(adaptive=True, tolerance=0.05)
    finished(trials(model, split_of(x), settings))
    tried = torch.cat(model.seen)
    model.seen.clear()
    measured(model, x)
    again = torch.cat(model.seen)[len(tried) :]
    both = torch.cat([tried.unique(dim=0), again.unique(dim=0)])
    drawn = both.unique(dim=0)
    # the modes that Laplace climbs to are the same, and no draw is
    assert len(both) - len(drawn) <= 8 * 40


def test_pilots_are_counted() -> None:
    """What trying costs is part of what the answer cost: the pilots of every proposal, and those of annealing."""
    model = CASES["ring_spot"].build()
    split, settings = split_of(model.data(N)), Settings(adaptive=True, tolerance=0.05)
    rival = Annealing(model, split, settings)
    assert finished(rival.beats(math.inf))
    assert rival.found
    _, spent = finished(trials(model, split, settings))
    assert (met("ring_spot")[0].decodes or 0) >= spent + rival.spent + rival.price


def test_proposals_that_cannot_end_in_resolved_are_not_tried() -> None:
    model = CASES["crude"].build()
    ranked, _ = finished(trials(model, split_of(model.data(8)), Settings(adaptive=True)))
    assert {trial.name for trial in ranked} == {name for name, proposal in PROPOSALS.items() if proposal.defended}
    assert [trial.decodes for trial in ranked] == sorted(trial.decodes for trial in ranked)


@pytest.mark.parametrize(
    ("D", "prices", "tried"),
    [
        (50, {"auto": 1500.0, "defensive": 9000.0}, ["auto", "defensive"]),
        (50, {"auto": 1700.0, "defensive": 9000.0, "refined": 1600.0}, ["auto", "defensive", "refined"]),
        (50, {"auto": math.inf, "defensive": math.inf, "refined": 1600.0}, ["auto", "defensive", "refined"]),
        (600, {"auto": math.inf, "defensive": math.inf}, ["auto", "defensive"]),
    ],
)
def test_what_cannot_win_is_not_tried(
    monkeypatch: pytest.MonkeyPatch, D: int, prices: dict[str, float], tried: list[str]
) -> None:
    """A fit of 50 latents costs `refined` 1,523 before its first weighed draw; one of 600, half an hour."""
    seen: list[str] = []

    def trial(name: str, *_: object) -> Trial:
        seen.append(name)
        return Trial(name, prices[name])

    monkeypatch.setattr(pilot, "_trial", trial)
    monkeypatch.setattr(pilot, "latent_size", lambda model: D)
    model = CASES["crude"].build()
    ranked, spent = finished(trials(model, split_of(model.data(8)), Settings(adaptive=True)))
    assert seen == tried
    assert spent == sum(PROPOSALS[name].decodes(D) + PILOT for name in tried)
    assert ranked[0] == min((Trial(name, price) for name, price in prices.items()), key=lambda trial: trial.decodes)
    assert {trial.name for trial in ranked if not trial.tried} == {"auto", "defensive", "refined"} - set(tried)


def test_heavy_tails_are_priced_by_what_it_takes_to_see_them() -> None:
    """The weights of q with a tenth of the prior vary little in 64 draws of ten latents, and need thousands."""
    model = CASES["diagonal_20x10"].build()
    ranked, _ = finished(trials(model, split_of(model.data(N)), Settings(adaptive=True)))
    assert ranked[0].name == "auto"
    assert {t.name: t.decodes for t in ranked}["defensive"] > 5000


class Rounded(WithPosterior):
    """Log-densities that are no differentiable function of z."""

    def prior(self) -> Distribution:
        return Still(self.model.prior())

    def likelihood(self, z: Tensor) -> Distribution:
        return self.model.likelihood(z.detach())


class Still(Distribution):
    """A distribution whose density has no gradient."""

    def __init__(self, base: Distribution) -> None:
        super().__init__(base.batch_shape, base.event_shape, validate_args=False)
        self.base = base

    def sample(self, shape: torch.Size = torch.Size()) -> Tensor:  # noqa: B008
        return self.base.sample(shape)

    def log_prob(self, value: Tensor) -> Tensor:
        return self.base.log_prob(value.detach())


def test_a_model_without_a_gradient_is_not_annealed_and_does_not_fail() -> None:
    inner = CASES["missed_mode_10"].build()
    model = Rounded(inner, inner.posterior)
    split, settings = split_of(model.data(4)), Settings(adaptive=True)
    rival = Annealing(model, split, replace(settings, proposal="prior"))
    assert not finished(rival.beats(math.inf))
    assert rival.price == math.inf
