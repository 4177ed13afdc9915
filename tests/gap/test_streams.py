"""The draws of a datum depend on the seed and on its place in the split, and on nothing that is measured beside it."""

import pytest
import torch
from torch import Tensor
from torch.distributions import Distribution

from elbo_cli.gap.importance import Plan, tiles_of_draws
from elbo_cli.gap.jobs import Job
from elbo_cli.gap.proposals.from_noise import from_noise
from elbo_cli.gap.proposals.mixture import Component, Mixture
from elbo_cli.gap.proposals.recipes import PROPOSALS
from elbo_cli.gap.settings import DATA_TILE
from elbo_cli.gap.streams import Streams
from elbo_cli.models.normals import normal
from tests.gap.runs import columns, run
from tests.models.families import ALL, pixels, vae
from tests.oracles import CASES


def standard(n: int) -> Distribution:
    return normal(torch.zeros(n, 3), torch.ones(n, 3))


def drawn(index: list[int], K: int, seed: int = 0, name: str = "draws", number: int = 0) -> Tensor:
    """[K, n, 3] of N(0, I), as `importance` draws them."""
    mixture, plan = Mixture((Component(standard(len(index)), 1.0),)), Plan(K, PROPOSALS["posterior"], seed)
    return torch.cat(list(tiles_of_draws(mixture, K, plan, Job(number, K, torch.tensor(index)), name)))


def test_a_datum_has_its_draws_whoever_is_beside_it() -> None:
    whole = drawn(list(range(40)), 70)
    assert torch.equal(drawn([39, 3], 70)[:, 1], whole[:, 3])
    assert torch.equal(drawn([17], 70, number=5)[:, 0], whole[:, 17])
    assert len(whole.flatten(0, 1).unique(dim=0)) == 40 * 70


def test_another_seed_another_name_and_another_datum_are_other_noise() -> None:
    tables = [drawn([3], 16), drawn([3], 16, seed=1), drawn([3], 16, name="elbo"), drawn([4], 16)]
    assert len(torch.cat(tables).unique()) == 4 * 16 * 3


@pytest.mark.parametrize(("few", "many"), [(1, 2), (5, 64), (64, 65), (70, 500), (128, 500)])
def test_the_first_draws_of_more_are_those_of_fewer(few: int, many: int) -> None:
    assert torch.equal(drawn([0, 7], few), drawn([0, 7], many)[:few])


def test_no_two_data_share_a_stream() -> None:
    """torch keeps 32 bits of a seed: hashes of 300,000 places would meet ten times over."""
    made = from_noise(standard(1))
    assert made is not None
    streams = Streams(0, "draws", torch.arange(300_000), made)
    seeds = {each.initial_seed() % 2**32 for each in streams.generators}
    assert len(seeds) == 300_000


def test_numbers_of_neighbouring_data_are_not_alike() -> None:
    """Streams whose seeds follow each other: correlations over data, draws and latents are those of chance."""
    made = from_noise(normal(torch.zeros(2000, 2), torch.ones(2000, 2)))
    assert made is not None
    e = Streams(0, "draws", torch.arange(2000), made).draw(32)
    for a, b in ((e[:, 1:], e[:, :-1]), (e[1:], e[:-1]), (e[..., :1], e[..., 1:])):
        products = (a * b).flatten()
        assert abs(products.mean() / products.std() * len(products) ** 0.5) < 4
    assert abs(e.mean()) < 4 / e.numel() ** 0.5
    assert abs(e.square().mean() - 1) < 4 * (2 / e.numel()) ** 0.5


@pytest.mark.parametrize("n", [1, 5, DATA_TILE, DATA_TILE + 1])
@pytest.mark.parametrize("proposal", ["auto", "posterior", "defensive"])
def test_limit_changes_no_datum(n: int, proposal: str) -> None:
    """Also within a block that is cut short."""
    model = CASES["probit"].build()
    x = model.data(DATA_TILE + 8)
    whole, limited = (columns(run(model, few, K=70, proposal=proposal)) for few in (x, x[:n]))
    for name, column in limited.items():  # to rounding: sums may be taken in another order beside others
        torch.testing.assert_close(column, whole[name][:n], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", ALL)
def test_limit_changes_no_datum_of_any_family(name: str) -> None:
    """To rounding: a product of matrices may add up in another order for other companies."""
    model, x = vae(ALL[name]).float().eval(), pixels(7)
    whole, limited = run(model, x, K=70, proposal="posterior"), run(model, x[:3], K=70, proposal="posterior")
    for row, other in zip(whole.rows, limited.rows, strict=False):
        assert row.log_px == pytest.approx(other.log_px, abs=1e-3)


def test_a_family_that_is_not_known_is_drawn_by_its_block() -> None:
    """What is left of the company: draws that a distribution makes for all of its batch together."""
    model = CASES["student"].build()
    x = model.data(6)
    assert run(model, x, K=70, proposal="posterior").rows[:3] != run(model, x[:3], K=70, proposal="posterior").rows
