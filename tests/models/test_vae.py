"""The VAE behind the three methods of the waist, and its families of q(z | x) and p(z)."""

import pytest
import torch
from torch.distributions import MultivariateNormal

from elbo_cli.bounds.draws import closed_form_kl, draw, kl_per_latent
from elbo_cli.models.architecture import Architecture
from elbo_cli.models.choices import Choices
from elbo_cli.models.likelihoods import LIKELIHOODS, Options
from elbo_cli.models.networks import KINDS
from elbo_cli.models.posteriors import POSTERIORS, DiagonalNormal
from elbo_cli.models.priors import PRIORS, StandardNormal
from elbo_cli.models.vae import VAE
from tests.oracles.comparison import close

SHAPE, D = (1, 5, 6), 3


def vae(likelihood: str = "bernoulli", kind: str = "mlp", posterior: str = "diagonal_normal") -> VAE:
    family, body = POSTERIORS[posterior](D, Choices()), Architecture(kind, (8,), (4,))
    visible = LIKELIHOODS[likelihood](SHAPE, Options(levels=4))
    encoder = KINDS[kind].encoder(SHAPE, body, family.size)
    decoder = KINDS[kind].decoder(D, body, (visible.outputs, *SHAPE))
    return VAE(encoder, decoder, PRIORS["standard_normal"](D, Choices()), family, visible)


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
@pytest.mark.parametrize("kind", KINDS)
def test_every_combination_makes_draws(likelihood: str, kind: str) -> None:
    model = vae(likelihood, kind)
    x = torch.zeros(4, *SHAPE)
    draws = draw(model, x, 2)
    assert draws.log_w.shape == (2, 4)
    assert draws.log_w.isfinite().all()
    draws.log_w.sum().backward()
    trained = [p for p in model.parameters() if p.requires_grad]
    assert all(p.grad is not None and p.grad.isfinite().all() for p in trained)


def test_its_three_distributions_have_the_shapes_of_the_waist() -> None:
    model = vae()
    assert (model.prior().batch_shape, model.prior().event_shape) == ((), (D,))
    q = model.posterior(torch.zeros(4, *SHAPE))
    assert (q.batch_shape, q.event_shape) == ((4,), (D,))
    px_z = model.likelihood(torch.zeros(7, 4, D))
    assert (px_z.batch_shape, px_z.event_shape) == ((7, 4), SHAPE)


def test_the_standard_normal_is_what_torch_has() -> None:
    z = torch.randn(4, D)
    expected = MultivariateNormal(torch.zeros(D), torch.eye(D)).log_prob(z)
    torch.testing.assert_close(vae().prior().log_prob(z), expected)


def test_the_standard_normal_has_nothing_to_learn_and_nothing_to_save() -> None:
    prior = StandardNormal(D)
    assert not list(prior.parameters())
    assert not prior.state_dict()
    assert prior.double()(vae().posterior).mean.dtype == torch.float64


@pytest.mark.parametrize("name", POSTERIORS)
def test_every_posterior_takes_as_many_numbers_as_it_asks_for(name: str) -> None:
    family = POSTERIORS[name](D, Choices())
    q = family.distribution(torch.randn(4, family.size))
    assert (q.batch_shape, q.event_shape) == ((4,), (D,))
    assert q.rsample((2,)).shape == (2, 4, D)


def test_a_diagonal_normal_reads_mu_and_then_log_sigma() -> None:
    q = DiagonalNormal(2).distribution(torch.tensor([[0.5, -1.0, 0.0, 1.0]]).double())
    close(q.mean, [[0.5, -1.0]])
    close(q.stddev, torch.tensor([[0.0, 1.0]]).double().exp())


def test_q_at_the_prior_has_no_kl() -> None:
    q, p = DiagonalNormal(D).distribution(torch.zeros(4, 2 * D)), vae().prior()
    assert closed_form_kl(q, p).tolist() == [0.0] * 4  # type: ignore[union-attr]
    assert kl_per_latent(q, p).tolist() == [[0.0] * D] * 4  # type: ignore[union-attr]


def test_a_bad_number_is_not_refused_where_it_cannot_be_named() -> None:
    """torch's own checks would raise a ValueError amid training; the trainer says which epoch and batch."""
    q = DiagonalNormal(D).distribution(torch.full((1, 2 * D), torch.nan))
    assert q.log_prob(torch.zeros(1, D)).isnan().all()


def test_its_weights_are_those_of_its_parts() -> None:
    model = vae("gaussian")
    names = set(model.state_dict())
    assert {name.split(".")[0] for name in names} == {"encoder", "decoder", "visible"}
    twin = vae("gaussian")
    twin.load_state_dict(model.state_dict())
    x = torch.rand(2, *SHAPE)
    torch.testing.assert_close(twin.posterior(x).mean, model.posterior(x).mean)
