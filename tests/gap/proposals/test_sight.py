"""What a fit sees of log p(x, z), by hand and by automatic differentiation: the same."""

import pytest
import torch
from torch import Tensor

from elbo_cli.build import experiment
from elbo_cli.config import loads
from elbo_cli.gap.proposals import sight as sights
from elbo_cli.gap.proposals.block import Block, Felt
from elbo_cli.gap.proposals.sight import AnySight, PlainSight, sight
from elbo_cli.gap.proposals.variational import directions, variational
from elbo_cli.models.likelihoods import LIKELIHOODS, Options
from elbo_cli.models.vae import VAE
from tests.oracles import CASES
from tests.oracles.comparison import close


def vae(*overrides: str) -> tuple[VAE, Tensor]:
    made = experiment(loads("data: {name: digits}", overrides=["model.latent_dim=4", *overrides]))
    assert isinstance(made.model, VAE)
    x = torch.randint(0, 2, (6, *made.model.visible.shape)).double()
    return made.model.double(), x


def both(*overrides: str) -> tuple[PlainSight, AnySight, Tensor]:
    model, x = vae(*overrides)
    ours = sight(model, x)
    assert isinstance(ours, PlainSight)
    return ours, AnySight(model, x), torch.randn(3, 6, 4).double()


@pytest.mark.parametrize("hidden", ["[]", "[7]", "[7, 5]", "[7, 5, 6]"])
@pytest.mark.parametrize("likelihood", ["bernoulli", "continuous_bernoulli", "gaussian", "poisson"])
def test_by_hand_it_is_what_differentiation_sees(likelihood: str, hidden: str) -> None:
    model, x = vae(f"model.decoder.hidden={hidden}")
    model.visible = LIKELIHOODS[likelihood](model.visible.shape, Options()).double()
    ours, theirs, z = sight(model, x), AnySight(model, x), torch.randn(3, 6, 4).double()
    assert isinstance(ours, PlainSight)
    one, other = ours.look(z), theirs.look(z)
    close(one.value, other.value)
    close(one.slope, other.slope, atol=1e-8)
    for latents in ([0, 1, 2, 3], [1, 3], [2], []):
        kept = torch.tensor(latents, dtype=torch.long)
        for first in (1, 2, 3):
            close(one.information(kept, first), other.information(kept, first))


@pytest.mark.parametrize("activation", ["relu", "gelu", "softplus"])
def test_so_it_is_for_any_activation(activation: str) -> None:
    ours, theirs, z = both(f"model.decoder.activation={activation}")
    one, other = ours.look(z), theirs.look(z)
    close(one.slope, other.slope)
    close(one.information(torch.arange(4), 3), other.information(torch.arange(4), 3))


def test_narrowed_it_sees_most_of_the_curvature_and_all_of_the_slope(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sights, "PIXELS", 30)
    ours, theirs, z = both()
    ours.narrow(ours.look(z))
    assert ours.pixels is not None
    assert ours.pixels.shape == (6, 30)
    one, other = ours.look(z), theirs.look(z)
    close(one.slope, other.slope)
    found, whole = one.information(torch.arange(4), 3), other.information(torch.arange(4), 3)
    off = (_trace(found) / _trace(whole) - 1).abs()
    assert ours.share is not None
    assert (off < 0.3 * (1 - ours.share)).all(), "the pixels left out are counted"


def _trace(matrix: Tensor) -> Tensor:
    return matrix.diagonal(dim1=1, dim2=2).sum(1)


def test_where_nothing_is_known_by_hand_it_is_differentiated() -> None:
    model, x = vae("model.likelihood=categorical", "model.levels=2", "data.binarize=threshold")
    assert isinstance(sight(model, x), AnySight)
    conv, x = vae("model.decoder.kind=conv")
    assert isinstance(sight(conv, x), AnySight)
    assert isinstance(sight(CASES["probit"].build(), CASES["probit"].build().data(2)), AnySight)


def test_a_block_is_the_whole_matrix() -> None:
    A = torch.randn(3, 2, 2).double()
    P, information, latents = torch.diag(torch.tensor([1.0, 2.0, 3.0, 4.0]).double()), A @ A.mT, torch.tensor([1, 3])
    full = P.repeat(3, 1, 1)
    full[:, latents[:, None], latents] += information
    block = Block.of(P, information, latents)
    close(block.whole() @ block.whole().mT, full)
    g = torch.randn(3, 4).double()
    close(block.solve(g), torch.linalg.solve(full, g))
    e = torch.randn(5, 4).double()
    close(block.shifts(e), torch.linalg.solve(block.whole().mT, e.unsqueeze(1).unsqueeze(-1)).squeeze(-1))
    damping = torch.tensor([0.0, 0.5, 2.0]).double()
    damped = block.damped(damping).root @ block.damped(damping).root.mT
    close(damped.diagonal(dim1=1, dim2=2), (1 + damping[:, None]) * full.diagonal(dim1=1, dim2=2)[:, latents])


def test_what_nobody_feels_is_left_to_the_prior_and_what_others_feel_is_not_kept() -> None:
    model = CASES["crude"].build()
    seen = torch.tensor([[0.0, 0.03, 0.06, 0.0], [0.0, 0.0, 0.2, 0.3]], dtype=torch.float64)
    block = Block.of(torch.eye(4).double(), torch.diag_embed(seen) + 0.01, torch.arange(4))
    felt = Felt.of(block, model.prior())
    assert felt.latents.tolist() == [2, 3]
    own = torch.tensor([[[0.07, 0.0], [0.0, 0.0]], [[0.21, 0.01], [0.01, 0.31]]], dtype=torch.float64)
    close(block.keep(felt).information, own)
    close(felt.only(block.information[:, 2:, 2:]), own)
    tied = torch.distributions.MultivariateNormal(torch.zeros(4), torch.eye(4))
    assert Felt.of(block, tied).latents.tolist() == [0, 1, 2, 3]


def test_a_latent_without_information_keeps_the_prior_exactly() -> None:
    """Of fifty latents most are unused: a variance a fifth too large in each would cost half of the sample."""
    model, x = vae()
    with torch.no_grad():
        model.decoder.net[0].weight[:, 2:] = 0  # type: ignore[union-attr,index]
        q = variational(model, x, model.posterior(x))
    close(q.root[:, 2:, 2:], torch.eye(2).double().expand(6, 2, 2))
    close(q.mu[:, 2:], torch.zeros(6, 2).double(), atol=1e-12)
    assert (q.root[:, 0, 0] > 1).any()


def test_points_are_mirrored_and_at_right_angles() -> None:
    e = directions(torch.zeros(1, 20).double(), 1)
    close(e.sum(0), torch.zeros(20).double(), atol=1e-12)
    close(e[0], -e[1])
    close(e[[0, 2, 3, 4]] @ e[[0, 2, 3, 4]].T, 20 * torch.eye(4).double(), atol=1e-9)
    others = directions(torch.zeros(1, 20).double(), 0)
    assert (e[0] @ others[0]).abs() < 1e-9, "every round looks elsewhere"


def test_a_fit_is_that_of_its_datum_alone_and_draws_nothing() -> None:
    model, x = vae()
    state = torch.get_rng_state()
    together = variational(model, x, model.posterior(x))
    assert (torch.get_rng_state() == state).all()
    alone = variational(model, x[2:3], model.posterior(x[2:3]))
    close(alone.mu, together.mu[2:3], atol=1e-9)
    close(alone.root, together.root[2:3], atol=1e-9)
