"""From weights to what is said: means with two errors, certificates and intervals that cover as often as they claim."""

import math
import pickle
from collections.abc import Iterator
from dataclasses import fields
from functools import cache

import pytest
import torch
from torch import Tensor

from elbo_cli.bounds.upper import certified_lower
from elbo_cli.bounds.weights import WeightStream
from elbo_cli.gap import importance
from elbo_cli.gap.findings import Weighed, certificate, findings
from elbo_cli.gap.importance import weigh_blocks
from elbo_cli.gap.jobs import Job, blocks
from elbo_cli.gap.settings import Settings
from elbo_cli.records import Estimate, GapFindings
from elbo_cli.runtime import finished
from tests.gap.runs import columns, run, split_of
from tests.oracles import CASES, GapOracle


@pytest.fixture(scope="module", params=["auto", "posterior"])
def found(request: pytest.FixtureRequest) -> GapFindings:
    """37 data: a whole tile and a short one, whose data are unlike the others."""
    model = CASES["crude"].build()
    x = model.data(37)
    x[32:] += 5
    return run(model, x, K=200, proposal=request.param)


def test_means_are_over_data_and_not_over_blocks(found: GapFindings) -> None:
    """The commonest mistake is the mean of the blocks' means: the last block is short."""
    cells = columns(found)
    assert found.examples == len(found.rows) == 37
    for name, estimate in (("elbo", found.elbo), ("log_px", found.log_px), ("gap", found.gap)):
        assert estimate.mean == pytest.approx(cells[name].mean().item(), abs=1e-12)
        blocks = (cells[name][:32].mean() + cells[name][32:].mean()).item() / 2
        assert abs(estimate.mean - blocks) > 0.2, "blind"


def test_the_two_errors_are_those_of_data_and_of_draws(found: GapFindings) -> None:
    cells = columns(found)
    for name, estimate in (("elbo", found.elbo), ("log_px", found.log_px), ("gap", found.gap)):
        assert estimate.se_data == pytest.approx(cells[name].std().item() / math.sqrt(37))
        assert estimate.se_mc == pytest.approx(cells["se_" + name].square().sum().sqrt().item() / 37)
    assert found.log_px.se_data > 10 * (found.log_px.se_mc or 0)


def test_draws_of_their_own_add_their_errors_and_shared_draws_do_not() -> None:
    model = CASES["crude"].build()
    x = model.data(37)
    own = columns(run(model, x, K=200, proposal="auto"))
    both = (own["se_log_px"].square() + own["se_elbo"].square()).sqrt()
    torch.testing.assert_close(own["se_gap"], both)
    shared = columns(run(model, x, K=200, proposal="posterior"))
    assert (shared["se_gap"] < (shared["se_log_px"].square() + shared["se_elbo"].square()).sqrt()).all()


@pytest.mark.parametrize("proposal", ["auto", "posterior"])
def test_blocks_that_are_kept_as_one_say_the_same_to_the_last_bit(
    proposal: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As they must, for processes and shards keep them apart."""
    model = CASES["crude"].build()
    x, found = model.data(150), []
    for together in (1, 3, 64):
        monkeypatch.setattr(importance, "TOGETHER", together)
        found.append(run(model, x, K=70, proposal=proposal))
    assert found[0] == found[1] == found[2]


def held(weighed: list[Weighed]) -> int:
    """Bytes of the numbers, each storage once, and 500 for every tensor."""
    objects = [each for w in weighed for each in (w.proposal, w.own)]
    tensors = [t for each in objects for f in fields(each) if isinstance(t := getattr(each, f.name), Tensor)]
    tensors += [w.index for w in weighed]
    storages = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}
    return sum(storages.values()) + 500 * len(tensors)


def test_a_datum_takes_few_bytes() -> None:
    """21 columns of its weights and 13 cells of its row, not some thirty objects for each block and each row."""
    model = CASES["crude"].build()
    jobs = [Job(number, 4, index) for number, index in enumerate(blocks(2048))]
    split, settings = split_of(model.data(2048)), Settings(K=4, proposal="posterior")
    weighed = finished(weigh_blocks(model, split, settings, jobs, together=64))
    found = findings(weighed, defended=False, delta=0.05, tolerance=0.05)
    assert held(weighed) < 2048 * 250
    assert len(pickle.dumps(found.rows)) < 2048 * 120


def test_rows_are_the_data_in_their_order(found: GapFindings) -> None:
    assert [row.index for row in found.rows] == list(range(37))
    assert {row.samples for row in found.rows} == {200}
    cells = columns(found)
    assert cells["log_px"][32:].max() < cells["log_px"][:32].min(), "the last five are far off"


def test_the_curve_ends_at_the_bound(found: GapFindings) -> None:
    assert [point.k for point in found.curve] == [1, 4, 16, 64, 200]
    assert found.curve[-1].bound == pytest.approx(found.log_px.mean)
    assert found.curve[-1].se == pytest.approx(found.log_px.se_mc)


def test_from_qs_own_draws_the_curve_starts_at_the_elbo() -> None:
    model = CASES["crude"].build()
    own = run(model, model.data(37), K=200, proposal="posterior")
    assert own.curve[0].bound == pytest.approx(own.elbo.mean)
    bounds = [point.bound for point in own.curve]
    assert bounds == sorted(bounds)


def test_the_certificate_of_findings_is_that_of_their_means(found: GapFindings) -> None:
    assert found.certified == certificate(found.log_px, found.elbo, 37, 0.05)


def test_the_certificate_is_markovs() -> None:
    made = certificate(Estimate(-90.0, 1.0, 0.1), Estimate(-95.0, 1.0, 0.0), 100, 0.05)
    assert made.log_px_at_least == pytest.approx(-90 - math.log(20) / 100)
    assert made.gap_at_least == pytest.approx(5 - math.log(40) / 100)
    assert made.delta == 0.05


def test_a_certified_gap_is_never_negative_and_pays_for_the_noise_of_the_elbo() -> None:
    assert certificate(Estimate(-90.0, 1.0, 0.1), Estimate(-89.0, 1.0, 0.0), 100, 0.05).gap_at_least == 0
    sharp, noisy = (
        certificate(Estimate(-90.0, 1.0, 0.1), Estimate(-95.0, 1.0, se), 100, 0.05).gap_at_least for se in (0.0, 0.5)
    )
    assert sharp is not None
    assert noisy is not None
    assert sharp - noisy == pytest.approx(0.5 * 1.95996, rel=1e-4)  # half of delta, on one side


SEEDS, N, DELTA = 200, 8, 0.05


@cache
def cells_of(name: str, proposal: str, K: int) -> dict[str, Tensor]:
    model = CASES[name].build()
    return columns(run(model, model.data(N).repeat(SEEDS, 1), K=K, proposal=proposal))


def experiments(name: str, proposal: str, K: int) -> Iterator[dict[str, Tensor]]:
    """The same N data measured SEEDS times, the repeats on the N axis: every datum of every one has its own noise."""
    cells = cells_of(name, proposal, K)
    for seed in range(SEEDS):
        yield {name: column[seed * N : (seed + 1) * N] for name, column in cells.items()}


def truths(name: str) -> tuple[float, float]:
    """Mean log p(x) and mean gap."""
    model = CASES[name].build()
    assert isinstance(model, GapOracle)
    x = model.data(N).float()
    return model.log_px(x).mean().item(), model.gap(x).mean().item()


def measured(cells: dict[str, Tensor], name: str) -> Estimate:
    return Estimate(cells[name].mean().item(), math.nan, cells["se_" + name].square().sum().sqrt().item() / N)


@pytest.mark.parametrize(
    ("name", "proposal", "K"),
    [("slightly_crude", "posterior", 2), ("crude", "posterior", 50), ("infinite_variance", "posterior", 20)],
)
def test_the_certificate_fails_no_oftener_than_it_says(name: str, proposal: str, K: int) -> None:
    """5 % of 200 are 10; Markov's inequality is far from tight, so it may fail on no more than that."""
    truth, gap = truths(name)
    made = [
        certificate(measured(cells, "log_px"), measured(cells, "elbo"), N, DELTA)
        for cells in experiments(name, proposal, K)
    ]
    assert sum((c.log_px_at_least or 0.0) > truth for c in made) <= DELTA * SEEDS
    assert sum((c.gap_at_least or 0.0) > gap for c in made) <= DELTA * SEEDS


def test_without_its_slack_the_certificate_would_fail() -> None:
    """The negative control: from a good proposal the bound itself is above log p(x) about half of the time."""
    truth, _ = truths("slightly_crude")
    bounds = [measured(cells, "log_px").mean for cells in experiments("slightly_crude", "laplace", 50)]
    assert 0.3 < sum(bound > truth for bound in bounds) / SEEDS < 0.7
    assert sum(certified_lower(bound, N, DELTA) > truth for bound in bounds) == 0


@pytest.mark.parametrize(("name", "proposal"), [("slightly_crude", "auto"), ("crude", "laplace")])
@pytest.mark.parametrize("what", ["log_px", "gap"])
def test_the_monte_carlo_interval_covers_as_often_as_it_says(name: str, proposal: str, what: str) -> None:
    """95 % of 200 is 190, with a standard deviation of 3: four of them below is 178. One that never misses is wide."""
    log_px, gap = truths(name)
    truth = {"log_px": log_px, "gap": gap}[what]
    covered = narrow = 0
    for cells in experiments(name, proposal, 200):
        estimate = measured(cells, what)
        assert estimate.se_mc is not None
        covered += abs(estimate.mean - truth) < 1.96 * estimate.se_mc
        narrow += abs(estimate.mean - truth) < 0.98 * estimate.se_mc
    assert 178 <= covered < SEEDS
    assert narrow < 178, "half of the error would be seen"


# the interval of log p(x)


def of_many_data(seed: int) -> GapFindings:
    """4,000 data with 64 weights each, log w ~ N(-sd^2 / 2, sd^2): log p(x) is 0, and the bias outweighs the noise."""
    K, N, sd = 64, 4000, 0.4
    noise = torch.Generator().manual_seed(seed)
    stream = WeightStream(K, N)
    stream.add(torch.randn(K, N, dtype=torch.float64, generator=noise) * sd - sd**2 / 2)
    weights = stream.summary()
    return findings([Weighed(torch.arange(N), weights, weights)], defended=True, delta=0.05, tolerance=0.05)


def test_the_interval_holds_log_px_where_many_data_leave_the_bias_and_little_noise() -> None:
    """Monte Carlo error alone does not: the bias is 1.7 of them."""
    made = [of_many_data(seed) for seed in range(20)]
    assert all(found.verdict.resolved for found in made)
    bare = sum(abs(found.log_px.mean) < 1.96 * (found.log_px.se_mc or 0.0) for found in made)
    assert bare < 17, "blind: the error alone would have been seen to cover"
    assert sum(found.interval is not None and found.interval.low < 0 < found.interval.high for found in made) >= 19


def test_there_is_no_interval_where_nothing_is_resolved() -> None:
    model = CASES["crude"].build()
    assert run(model, model.data(37), K=200, proposal="posterior").interval is None
    found = run(model, model.data(37), K=200, proposal="auto")
    assert found.verdict.resolved
    assert found.interval is not None
    assert found.interval.low < found.log_px.mean < found.interval.high
