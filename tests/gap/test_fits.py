"""What was fitted to a datum is fitted once, and kept: it is no draw, and changes nothing that is said."""

from collections.abc import Generator
from dataclasses import replace
from typing import Any

import pytest
import torch

from elbo_cli.gap import fits as room
from elbo_cli.gap import tolerance as module
from elbo_cli.gap.findings import findings
from elbo_cli.gap.fits import Fits
from elbo_cli.gap.proposals import recipes
from elbo_cli.gap.proposals.normal import PrecisionNormal
from elbo_cli.gap.proposals.variational import variational
from elbo_cli.gap.settings import DATA_TILE, Settings
from elbo_cli.gap.tolerance import ROUNDS, to_tolerance
from elbo_cli.models.normals import FullNormal, normal
from elbo_cli.records import GapFindings, Tick, Verdict
from elbo_cli.runtime import finished
from tests.gap.runs import columns, split_of
from tests.oracles import CASES

N = 2 * DATA_TILE + 5


def normals(n: int, seed: int, kind: type = PrecisionNormal) -> Any:
    g = torch.Generator().manual_seed(seed)
    root = torch.randn(n, 3, 3, generator=g).tril() + 3 * torch.eye(3)
    return kind(torch.randn(n, 3, generator=g), root)


@pytest.mark.parametrize("kind", [PrecisionNormal, FullNormal])
def test_each_datum_has_its_own_again_in_any_company(kind: type) -> None:
    fits, all_of = Fits(3), [normals(32, 0, kind), normals(32, 1, kind), normals(5, 2, kind)]
    for number, near in enumerate(all_of):
        fits.keep(torch.arange(len(near.mean)) + 32 * number, near)
    index = torch.tensor([3, 31, 32, 40, 68])
    mixed = fits.near(index)
    assert mixed is not None
    z = torch.randn(4, 5, 3)
    alone = []
    for n, i in enumerate(index.tolist()):
        whole = all_of[i // 32]
        alone.append(whole.log_prob(z[:, n : n + 1].expand(-1, len(whole.mean), -1))[:, i % 32])
    torch.testing.assert_close(mixed.log_prob(z), torch.stack(alone, 1))


def test_what_is_not_there_is_not_given() -> None:
    fits = Fits(3)
    assert fits.near(torch.arange(4)) is None
    fits.keep(torch.arange(1, 33), normals(32, 0))  # no block
    fits.keep(torch.tensor([0, 2, 3]), normals(3, 0))
    fits.keep(torch.arange(32), normal(torch.zeros(32, 3), torch.ones(32, 3)))  # a family that is not known here
    assert fits.near(torch.tensor([2])) is None
    fits.keep(torch.arange(32), normals(32, 0))
    assert fits.near(torch.tensor([2, 33])) is None
    assert fits.near(torch.tensor([2, 31])) is not None


def test_memory_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "ROOM", 70 * 12)
    fits = Fits(3)
    assert fits.room == 64
    for number in range(3):
        fits.keep(torch.arange(32) + 32 * number, normals(32, number))
    assert fits.near(torch.tensor([63])) is not None
    assert fits.near(torch.tensor([64])) is None


@pytest.fixture
def _never_resolved(monkeypatch: pytest.MonkeyPatch) -> None:
    def partial(*given: object, **named: object) -> GapFindings:
        return replace(findings(*given, **named), verdict=Verdict("partial", "", ""))  # type: ignore[arg-type]

    monkeypatch.setattr(module, "findings", partial)


def work(seed: int = 0, tolerance: float = 0.5) -> Generator[Tick, None, GapFindings]:
    model = CASES["probit"].build()
    return to_tolerance(model, split_of(model.data(N)), Settings(adaptive=True, tolerance=tolerance, seed=seed))


@pytest.mark.usefixtures("_never_resolved")
def test_every_datum_is_fitted_once_for_all_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    fitted: list[int] = []

    def counting(model: Any, x: torch.Tensor, qz_x: Any) -> PrecisionNormal:
        fitted.append(len(x))
        return variational(model, x, qz_x)

    monkeypatch.setattr(recipes, "variational", counting)
    kept = finished(work())
    assert sum(fitted) == N
    fitted.clear()
    monkeypatch.setattr(room, "ROOM", 0)
    again = finished(work())
    assert sum(fitted) == N * (1 + ROUNDS)
    for name, column in columns(kept).items():  # to the rounding of a fit beside others
        torch.testing.assert_close(column, columns(again)[name], rtol=1e-6, atol=1e-6)
    cost = recipes.PROPOSALS["auto"].decodes(50)
    assert again.decodes is not None
    assert kept.decodes is not None
    assert abs(again.decodes - kept.decodes - ROUNDS * cost) <= 1


def test_a_fit_depends_on_no_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that it has seen no draw that is weighed, the pilot's or a round's."""
    seen: list[torch.Tensor] = []
    keep = Fits.keep

    def watching(self: Fits, index: torch.Tensor, near: Any) -> None:
        seen.append(near.root)
        keep(self, index, near)

    monkeypatch.setattr(Fits, "keep", watching)
    finished(work(seed=0))
    half = len(seen)
    finished(work(seed=1))
    assert half == 3
    assert all(torch.equal(a, b) for a, b in zip(seen[:half], seen[half:], strict=True))


def test_a_proposal_that_found_nothing_to_fit_keeps_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """`auto` is q with a tenth of the prior there: q must not come back as if it had been fitted."""
    monkeypatch.setattr(recipes, "applies", lambda model, x, qz_x: False)
    kept: list[Any] = []
    monkeypatch.setattr(Fits, "keep", lambda self, index, near: kept.append(near))
    found = finished(work())
    assert not kept
    assert found.proposal == "auto"
