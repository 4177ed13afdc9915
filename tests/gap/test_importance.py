"""`elbo gap` by importance sampling: what its answer depends on, and what it does not."""

import math
import time
from collections.abc import Callable
from dataclasses import replace
from threading import get_ident
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, MultivariateNormal, Normal

from elbo_cli.build import experiment
from elbo_cli.config import loads
from elbo_cli.data.split import Split
from elbo_cli.errors import RunError, UserError
from elbo_cli.gap import importance as module
from elbo_cli.gap.importance import ELBO_DRAWS, importance, workers
from elbo_cli.gap.proposals.recipes import PROPOSALS
from elbo_cli.gap.settings import DATA_TILE, DRAW_TILE, Settings
from elbo_cli.models.vae import VAE
from elbo_cli.records import GapFindings
from elbo_cli.runtime import finished
from tests.gap.runs import columns, run, split_of
from tests.oracles import CASES, Oracle, WithPosterior


def rows(found: GapFindings) -> Tensor:
    """[N, columns]."""
    return torch.stack(list(columns(found).values()), 1)


def same(found: GapFindings, other: GapFindings, rtol: float = 1e-9) -> None:
    torch.testing.assert_close(rows(found), rows(other), rtol=rtol, atol=1e-9, equal_nan=True)


@pytest.fixture(scope="module")
def probit() -> tuple[Oracle, Tensor]:
    model = CASES["probit"].build()
    return model, model.data(40)


@pytest.mark.parametrize("proposal", ["auto", "posterior"])
def test_the_answer_does_not_depend_on_how_many_rows_are_decoded_at_once(proposal: str) -> None:
    model = CASES["crude"].build()
    x = model.data(40)
    whole = run(model, x, K=130, proposal=proposal)
    for size in (1, 7, 100, 2048, 10**9):
        same(run(model, x, K=130, proposal=proposal, rows=size), whole)


def test_where_every_row_is_computed_alone_it_is_the_same_to_the_bit(probit: tuple[Oracle, Tensor]) -> None:
    model, x = probit
    whole = run(model, x[:33], K=70)
    for size in (1, 100, 2048):
        assert run(model, x[:33], K=70, rows=size) == whole


def test_fewer_data_leave_the_others_as_they_are(probit: tuple[Oracle, Tensor]) -> None:
    """To the bit for whole blocks of data; within a block that is cut short to rounding (test_streams.py)."""
    model, x = probit
    whole, limited = run(model, x, K=70), run(model, x[:DATA_TILE], K=70)
    assert limited.rows == whole.rows[:DATA_TILE]


def test_data_that_follow_are_not_seen(probit: tuple[Oracle, Tensor]) -> None:
    model, x = probit
    changed = x.clone()
    changed[DATA_TILE:] = 1 - changed[DATA_TILE:]
    before, after = run(model, x, K=70), run(model, changed, K=70)
    assert after.rows[:DATA_TILE] == before.rows[:DATA_TILE]
    assert after.rows[DATA_TILE:] != before.rows[DATA_TILE:]


@pytest.mark.parametrize("K", [1, 2, 63, 64, 65, 100, 130])
@pytest.mark.parametrize("proposal", ["auto", "posterior"])
def test_any_number_of_draws_is_drawn_and_counted(K: int, proposal: str) -> None:
    """At the exact posterior every weight is log p(x): a draw lost or counted twice in a ragged tile is log K off."""
    model = CASES["exact"].build()
    x = model.data(5)
    found = run(model, x, K=K, proposal="posterior")
    truth = model.log_px(x.float())
    torch.testing.assert_close(rows(found)[:, 1], truth, rtol=0, atol=1e-9)
    seen: list[int] = []
    run(_counting(model, seen), x, K=K, proposal=proposal, rows=10**9)
    # the first 5 rows decode the posterior's draws; q's own for the ELBO follow, where they are others
    assert found.samples == K
    assert sum(seen) >= K
    if proposal == "posterior":
        assert sum(seen) == K, "each draw is decoded once"


@pytest.mark.parametrize("proposal", ["auto", "posterior", "laplace"])
def test_no_draw_is_used_twice(proposal: str) -> None:
    """Not for two data, not in two tiles, and not to fill a ragged one."""
    model = CASES["crude"].build()
    seen: list[Tensor] = []

    class Watching(WithPosterior):
        def likelihood(self, z: Tensor) -> Distribution:
            seen.append(z)
            return super().likelihood(z)

    run(Watching(model, model.posterior), model.data(40), K=100, proposal=proposal)
    # by their number: pieces of a whole block have 64 or 36, of the short one 100 or 64; the fit's points are fewer
    drawn = torch.cat([z.flatten(0, 1) for z in seen if z.dim() == 3 and z.shape[0] in (36, 64, 100)])
    expected = 40 * (100 + (0 if proposal == "posterior" else ELBO_DRAWS))  # those of q for the ELBO are a whole tile
    assert len(drawn) == expected
    assert len(drawn.unique(dim=0)) == expected


def _counting(model: Oracle, seen: list[int]) -> Oracle:
    class Counting(WithPosterior):
        def likelihood(self, z: Tensor) -> Distribution:
            if z.dim() == 3:
                seen.append(len(z))
            return super().likelihood(z)

    return Counting(model, model.posterior)


def test_a_seed_has_its_numbers_and_another_seed_has_others(probit: tuple[Oracle, Tensor]) -> None:
    model, x = probit
    first = run(model, x[:5], K=70, seed=3)
    torch.manual_seed(12345)
    assert run(model, x[:5], K=70, seed=3) == first
    assert run(model, x[:5], K=70, seed=4).log_px != first.log_px


def test_equal_data_in_one_block_have_draws_of_their_own() -> None:
    model = CASES["crude"].build()
    x = model.data(1).repeat(40, 1)
    values = rows(run(model, x, K=20))[:, 1]
    assert values.unique().numel() == 40


@pytest.mark.parametrize("proposal", ["auto", "posterior", "defensive", "laplace"])
def test_the_global_generator_is_left_as_it_was(proposal: str) -> None:
    model = CASES["crude"].build()
    state = torch.get_rng_state()
    run(model, model.data(3), K=70, proposal=proposal)
    assert (torch.get_rng_state() == state).all()


def test_a_covariance_that_cannot_be_factored_is_told_with_its_data() -> None:
    inner = CASES["crude"].build()

    def flat(x: Tensor) -> Distribution:
        return MultivariateNormal(torch.zeros(len(x), 3), -torch.eye(3), validate_args=False)

    with pytest.raises(RunError, match="Among data 0 to 2: a covariance is not positive definite"):
        run(WithPosterior(inner, flat), inner.data(3), K=10)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_number_that_is_none_is_refused_with_its_datum(bad: float) -> None:
    class Broken(WithPosterior):
        def likelihood(self, z: Tensor) -> Distribution:
            class Bad(Wrapper):
                def log_prob(self, value: Tensor) -> Tensor:
                    log_p = self.base.log_prob(value).clone()
                    if log_p.shape[-1] > 2:
                        log_p[..., 2] = bad
                    return log_p

            return Bad(super().likelihood(z))

    model = CASES["crude"].build()
    broken = Broken(model, model.posterior)
    with pytest.raises(RunError, match=r"datum 2 .*(nan|inf)"):
        run(broken, model.data(5), K=20, proposal="posterior")


class Wrapper(Distribution):
    def __init__(self, base: Distribution) -> None:
        super().__init__(base.batch_shape, base.event_shape, validate_args=False)
        self.base = base


@pytest.fixture(scope="module")
def digits() -> tuple[VAE, Split]:
    made = experiment(loads("data: {name: digits}", overrides=["model.latent_dim=5"]))
    assert isinstance(made.model, VAE)
    return made.model, made.data.test.first(110)


@pytest.mark.parametrize("proposal", PROPOSALS)
def test_with_several_threads_it_is_the_same_to_the_last_bit(proposal: str, digits: tuple[VAE, Split]) -> None:
    """Blocks of data are worked on side by side, each by one thread and with its own noise."""
    model, split = digits
    settings = Settings(K=70, proposal=proposal)
    alone = finished(importance(model, split, settings))
    torch.set_num_threads(3)
    assert workers(model, torch.device("cpu")) == 3
    state = torch.get_rng_state()
    assert finished(importance(model, split, settings)) == alone
    assert (torch.get_rng_state() == state).all()
    assert torch.get_num_threads() == 3


@pytest.mark.parametrize("proposal", ["auto", "posterior"])
def test_the_tiles_of_few_data_are_weighed_side_by_side_to_the_same_bits(
    proposal: str, digits: tuple[VAE, Split], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twenty data are no block for each of three threads: their draws are shared out, seven tiles of them."""
    model, split = digits[0], digits[1].first(20)
    settings = Settings(K=400, proposal=proposal, rows=20 * DRAW_TILE)
    alone, asked = finished(importance(model, split, settings)), set[int]()
    torch.set_num_threads(3)
    weigh = module.weigher

    def watched(*of: Any) -> Callable[[Tensor], Tensor]:
        inner = weigh(*of)

        def told(z: Tensor) -> Tensor:
            asked.add(get_ident())
            time.sleep(0.01)  # long enough for another thread to take the next tile
            return inner(z)

        return told

    monkeypatch.setattr(module, "weigher", watched)
    assert finished(importance(model, split, settings)) == alone
    assert len(asked) > 1, "one thread did it all"
    assert torch.get_num_threads() == 3


def test_a_model_that_may_not_be_asked_by_two_threads_is_asked_by_one(digits: tuple[VAE, Split]) -> None:
    torch.set_num_threads(3)
    assert workers(CASES["crude"].build(), torch.device("cpu")) == 1
    assert workers(digits[0], torch.device("cuda")) == 1


def test_there_is_no_other_proposal() -> None:
    model = CASES["crude"].build()
    with pytest.raises(UserError, match="Did you mean 'posterior'"):
        run(model, model.data(2), K=20, proposal="posteriour")


@pytest.mark.parametrize("proposal", ["auto", "laplace", "defensive", "posterior"])
@pytest.mark.parametrize("name", ["crude", "hopeless", "probit_crude"])
def test_the_elbo_is_that_of_q_whatever_the_proposal(name: str, proposal: str) -> None:
    model = CASES[name].build()
    x = model.data(50)
    found = run(model, x, K=200, proposal=proposal)
    truth = model.elbo(x.float()).mean().item()  # type: ignore[attr-defined]
    assert found.elbo.se_mc is not None
    assert abs(found.elbo.mean - truth) < 4 * found.elbo.se_mc
    assert 4 * found.elbo.se_mc < 0.25 * model.gap(x.float()).mean().item(), "blind"  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "name", ["exact", "crude", "infinite_variance", "missed_mode", "ring_spot", "funnel_5", "student"]
)
def test_on_the_same_draws_no_gap_is_negative(name: str) -> None:
    model = CASES[name].build()
    for K in (1, 2, 50):
        found = run(model, model.data(40), K=K, proposal="posterior")
        assert all(row.gap > -1e-12 for row in found.rows)  # but for rounding, where q is the posterior
        assert found.gap.mean > -1e-12
        assert found.gap.mean == pytest.approx(found.log_px.mean - found.elbo.mean, abs=1e-9)


def test_the_gap_is_log_px_less_the_elbo_for_every_proposal() -> None:
    model = CASES["crude"].build()
    for proposal in ("auto", "laplace", "defensive", "posterior"):
        found = run(model, model.data(40), K=50, proposal=proposal)
        assert found.gap.mean == pytest.approx(found.log_px.mean - found.elbo.mean, abs=1e-9)
        for row in found.rows:
            assert row.gap == pytest.approx(row.log_px - row.elbo, abs=1e-9)


def test_the_gap_is_found() -> None:
    model = CASES["crude"].build()
    x = model.data(200)
    found = run(model, x, K=500)
    assert found.gap.se_mc is not None
    assert 4 * found.gap.se_mc < 0.1
    assert abs(found.gap.mean - model.gap(x.float()).mean().item()) < 4 * found.gap.se_mc  # type: ignore[attr-defined]
    assert found.log_px.mean == pytest.approx(model.log_px(x.float()).mean().item(), abs=0.01)


def test_progress_counts_the_data() -> None:
    model = CASES["crude"].build()
    ticks = list(importance(model, split_of(model.data(70)), Settings(K=5)))
    assert all(tick.total == 70 for tick in ticks)
    assert [tick.done for tick in ticks] == sorted(tick.done for tick in ticks)
    assert ticks[-1].done == 70


def test_a_model_in_float32_gives_its_number_too(probit: tuple[Oracle, Tensor]) -> None:
    """A foreign model with float32 everywhere: float64 begins at the log-weights."""

    class Single:
        def prior(self) -> Distribution:
            return Independent(Normal(torch.zeros(2), torch.ones(2)), 1)

        def posterior(self, x: Tensor) -> Distribution:
            return Independent(Normal(0.4 * x, torch.full_like(x, 0.2**0.5)), 1)

        def likelihood(self, z: Tensor) -> Distribution:
            return Independent(Normal(2 * z, 1.0), 1)

    x = torch.randn(5, 2)
    truth = Independent(Normal(torch.zeros(2), 5**0.5), 1).log_prob(x)
    for proposal in ("auto", "posterior", "laplace"):
        found = run(Single(), x, K=100, proposal=proposal)  # type: ignore[arg-type]
        torch.testing.assert_close(rows(found)[:, 1].float(), truth, rtol=0, atol=0.1)


def test_settings_are_the_guarantees_conditions() -> None:
    """What decides the answer is in Settings, and how it is computed changes nothing."""
    model = CASES["crude"].build()
    x = model.data(5)
    base = Settings(K=20)
    make: Callable[[Settings], GapFindings] = lambda s: run(  # noqa: E731
        model, x, K=s.K, seed=s.seed, proposal=s.proposal, delta=s.delta, rows=s.rows
    )
    assert make(replace(base, delta=0.01)).log_px == make(base).log_px
    assert make(replace(base, K=21)).log_px != make(base).log_px
