"""Decoders of a user's own that torch cannot follow: `auto` does without the fit, and nobody sees torch's internals."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributions import Distribution

from elbo_cli.errors import UserError
from elbo_cli.gap.importance import ELBO_DRAWS
from elbo_cli.gap.methods import sampling
from elbo_cli.gap.pilot import Annealing, by_the_cheapest, trials
from elbo_cli.gap.proposals.laplace import applies
from elbo_cli.gap.proposals.recipes import PROPOSALS, had
from elbo_cli.gap.sandwich import sandwich
from elbo_cli.gap.settings import Settings
from elbo_cli.gap.tolerance import PILOT
from elbo_cli.runtime import finished
from tests.gap.runs import run, split_of
from tests.oracles import CASES, WithPosterior


class Opaque(torch.autograd.Function):
    """Knows its gradient, and nothing of forward mode."""

    @staticmethod
    def forward(ctx: Any, z: Tensor) -> Tensor:
        return 1.0 * z

    @staticmethod
    def backward(ctx: Any, *grad: Tensor) -> Tensor:
        return grad[0]


def through_numpy(z: Tensor) -> Tensor:
    return torch.from_numpy(1.0 * z.detach().numpy())


def by_an_if(z: Tensor) -> Tensor:
    return 1.0 * z if bool((z.abs() < 1e6).all()) else 0 * z


def by_item(z: Tensor) -> Tensor:
    return z * (1.0 if z.sum().item() < 1e9 else 0.0)


STRANGE: dict[str, Callable[[Tensor], Tensor]] = {
    "detach": lambda z: z.detach(),
    "numpy": lambda z: torch.from_numpy(1.0 * z.numpy()),
    "detached numpy": through_numpy,
    "no forward mode": Opaque.apply,
}
FOLLOWED: dict[str, Callable[[Tensor], Tensor]] = {"if": by_an_if, "item": by_item}


class Strange(WithPosterior):
    """A linear-Gaussian model whose decoder goes a strange way."""

    def __init__(self, way: Callable[[Tensor], Tensor]) -> None:
        inner = CASES["crude"].build()
        super().__init__(inner, inner.posterior)
        self.way = way

    def likelihood(self, z: Tensor) -> Distribution:
        return self.model.likelihood(self.way(z))


def parts(model: WithPosterior, x: Tensor, name: str) -> list[type]:
    return [type(c.distribution) for c in PROPOSALS[name](model, x, model.posterior(x))]


@pytest.mark.parametrize("name", STRANGE)
def test_auto_is_q_and_the_prior_where_torch_cannot_follow_the_decoder(name: str) -> None:
    model = Strange(STRANGE[name])
    x = model.data(4)
    assert parts(model, x, "auto") == parts(model, x, "defensive")
    found = run(model, x, K=4000)
    assert found.log_px.mean == pytest.approx(model.log_px(x.float()).mean().item(), abs=0.1)


@pytest.mark.parametrize("name", FOLLOWED)
def test_a_decoder_that_torch_can_follow_keeps_its_fit(name: str) -> None:
    model = Strange(FOLLOWED[name])
    x = model.data(4)
    assert parts(model, x, "auto") == parts(model.model, x, "auto")  # type: ignore[arg-type]
    assert len(parts(model, x, "auto")) == 3


def test_asking_takes_none_of_the_noise() -> None:
    """A decoder that draws, which forward mode refuses: what follows has the noise that it would have had."""
    model = Strange(lambda z: z + 0 * torch.randn(3).sum())
    x, before = model.data(2), torch.get_rng_state()
    model.likelihood(model.posterior(x).mean)
    once = torch.get_rng_state()
    torch.set_rng_state(before)
    assert not applies(model, x, model.posterior(x))
    assert torch.equal(torch.get_rng_state(), once), "one look at the family, and no more"


@pytest.mark.parametrize("name", STRANGE)
def test_laplace_alone_says_what_it_needs(name: str) -> None:
    model = Strange(STRANGE[name])
    with pytest.raises(UserError, match=r"--proposal laplace does not apply.*--proposal auto, or --proposal refined"):
        run(model, model.data(4), K=10, proposal="laplace")


@pytest.mark.parametrize("name", ["detach", "numpy"])
def test_a_tolerance_does_without_what_such_a_decoder_has_not(name: str) -> None:
    """Nobody asked for `refined`, which would win here: that it is refused is no end of the command."""
    model = Strange(STRANGE[name])
    x = model.data(8)
    found = finished(by_the_cheapest(model, split_of(x), Settings(adaptive=True, tolerance=0.05)))
    assert "not tried, as dearer or not to be had: refined" in found.why
    assert found.log_px.mean == pytest.approx(model.log_px(x.float()).mean().item(), abs=0.1)


def test_a_decoder_through_numpy_is_not_annealed() -> None:
    model = Strange(STRANGE["numpy"])
    rival = Annealing(model, split_of(model.data(2)), Settings(adaptive=True))
    assert not finished(rival.beats(math.inf))


@pytest.mark.parametrize("name", ["numpy", "if"])
def test_a_fit_that_never_was_is_not_counted(name: str) -> None:
    """Nor is `auto` said to have made the draws that `defensive` made."""
    model = Strange((STRANGE | FOLLOWED)[name])
    x = model.data(4)
    found = finished(sampling(model, split_of(x), Settings(K=200)))
    between = finished(sandwich(model, 2, Settings(K=10), "importance"))
    _, trying = finished(trials(model, split_of(x), Settings(adaptive=True)))
    if name in STRANGE:
        assert (found.proposal, found.decodes) == ("defensive", 200 + ELBO_DRAWS)
        assert (between.proposal, between.decodes) == ("defensive", 10 + 1)
        assert trying == PILOT
    else:
        fit = PROPOSALS["auto"].decodes(3)
        assert (found.proposal, found.decodes) == ("auto", fit + 200 + ELBO_DRAWS)
        assert (between.proposal, between.decodes) == ("auto", fit + 10 + 1)
        assert trying >= fit + PILOT


def test_under_either_name_the_draws_are_the_same() -> None:
    model = Strange(STRANGE["numpy"])
    x = model.data(4)
    auto, defensive = (run(model, x, K=50, proposal=name) for name in ("auto", "defensive"))
    assert auto.log_px == defensive.log_px
    assert had("auto", model, x) == "defensive"
    assert had("posterior", model, x) == "posterior"
