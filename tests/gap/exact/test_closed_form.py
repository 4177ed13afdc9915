"""A linear-Gaussian VAE against densities computed in other ways, and what is not to be taken for one."""

import math

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, MultivariateNormal, Normal, kl_divergence

from elbo_cli.gap.exact.closed_form import LinearGaussian, knows, linear_gaussian
from elbo_cli.models.architecture import Architecture
from elbo_cli.models.likelihoods import LIKELIHOODS, Options
from elbo_cli.models.perceptrons import mlp_decoder, mlp_encoder
from elbo_cli.models.posteriors import DiagonalNormal
from elbo_cli.models.priors import StandardNormal
from elbo_cli.models.vae import VAE
from tests.oracles import Spike, random_linear_gaussian
from tests.oracles.comparison import close
from tests.oracles.oracle import diagonal_normal

SHAPE = (2, 4)
NOTHING = Architecture(hidden=())


def linear_vae(D: int = 3, sigma: float | str = "per_pixel", *, bias: bool = True, likelihood: str = "gaussian") -> VAE:
    """A VAE with a linear decoder, its sigma set to something, in float64."""
    visible = LIKELIHOODS[likelihood](SHAPE, Options(sigma))
    decoder = mlp_decoder(D, NOTHING, (visible.outputs, *SHAPE))
    encoder = mlp_encoder(SHAPE, Architecture(hidden=(5,)), 2 * D)
    model = VAE(encoder, decoder, StandardNormal(D), DiagonalNormal(D), visible).double()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "log_sigma" in name and parameter.requires_grad:
                parameter.copy_(torch.linspace(-1.5, 0.3, parameter.numel()).view(parameter.shape))
        if not bias:
            model.decoder.net[0].bias = None
    return model


def density(model: VAE) -> MultivariateNormal:
    """p(x) over the flat pixels, from its moments."""
    layer = model.decoder.net[0]
    noise = (2 * model.visible.log_sigma).exp().expand(SHAPE).flatten()
    mean = layer.weight.new_zeros(8) if layer.bias is None else layer.bias
    return MultivariateNormal(mean.detach(), (layer.weight @ layer.weight.T + torch.diag(noise)).detach())


def data(N: int = 9) -> Tensor:
    return torch.randn(N, *SHAPE, dtype=torch.float64)


@pytest.mark.parametrize("D", [1, 3, 11])
@pytest.mark.parametrize("sigma", [0.3, "shared", "per_pixel"])
def test_log_px_is_the_density_of_its_moments(sigma: float | str, D: int) -> None:
    model, x = linear_vae(D, sigma), data()
    truth = linear_gaussian(model)
    assert truth is not None
    found, size = truth.log_px(x.flatten(1))
    close(found, density(model).log_prob(x.flatten(1)))
    assert (size > 0).all()


def test_a_decoder_without_a_bias_is_linear_too() -> None:
    model, x = linear_vae(bias=False), data()
    truth = linear_gaussian(model)
    assert truth is not None
    close(truth.log_px(x.flatten(1))[0], density(model).log_prob(x.flatten(1)))


@pytest.mark.parametrize("shift", [0.0, 0.4])
def test_an_oracle_agrees_on_everything(shift: float) -> None:
    oracle = random_linear_gaussian(12, 4, shift=shift, scale=1.3 if shift else 1.0)
    x, q = oracle.data(20), oracle.posterior(oracle.data(20))
    truth = LinearGaussian.of(oracle.W, oracle.mu, torch.full((12,), oracle.sigma**2, dtype=torch.float64))
    close(truth.posterior_mean(x), oracle.posterior_mean(x))
    close(truth.log_px(x)[0], oracle.log_px(x))
    gap, _ = truth.gap(x, q)
    close(gap, oracle.gap(x))
    close(truth.log_px(x)[0] - gap, oracle.elbo(x))
    assert math.isclose(truth.approximation_gap(q), oracle.approximation_gap, abs_tol=1e-12)
    close(gap - truth.approximation_gap(q), oracle.amortisation_gap(x))


def test_the_gap_is_zero_at_the_posterior_and_has_no_part_that_a_family_must_pay() -> None:
    oracle = random_linear_gaussian(12, 4, q="exact")
    x = oracle.data(20)
    truth = LinearGaussian.of(oracle.W, oracle.mu, torch.full((12,), oracle.sigma**2, dtype=torch.float64))
    gap, _ = truth.gap(x, oracle.posterior(x))
    close(gap, torch.zeros(20))
    assert (gap >= 0).all()
    assert truth.approximation_gap(oracle.posterior(x)) == 0.0


def test_any_normal_q_has_the_gap_that_torch_gives_it() -> None:
    oracle = random_linear_gaussian(12, 4)
    x = oracle.data(20)
    truth = LinearGaussian.of(oracle.W, oracle.mu, torch.full((12,), oracle.sigma**2, dtype=torch.float64))
    loc, sd = torch.randn(20, 4, dtype=torch.float64), torch.rand(20, 4, dtype=torch.float64) + 0.1
    root = torch.diag_embed(sd) + torch.randn(20, 4, 4, dtype=torch.float64).tril(-1)
    for q in (diagonal_normal(loc, sd), MultivariateNormal(loc, scale_tril=root)):
        dense = MultivariateNormal(loc, q.variance.diag_embed() if isinstance(q, Independent) else q.covariance_matrix)
        close(truth.gap(x, q)[0], kl_divergence(dense, oracle.true_posterior(x)), atol=1e-9)


@pytest.mark.parametrize("sigma", [1e-3, 1e3])
def test_a_sum_of_squares_does_not_cancel(sigma: float) -> None:
    """Held to the density of the moments, which is well-conditioned in the orthogonal coordinates of W."""
    W = torch.zeros(5, 2, dtype=torch.float64)
    W[0, 0], W[1, 1] = 2.0, 0.5
    truth = LinearGaussian.of(W, torch.zeros(5).double(), torch.full((5,), sigma**2, dtype=torch.float64))
    x = sigma * torch.randn(6, 5, dtype=torch.float64) + torch.randn(6, 2, dtype=torch.float64) @ W.T
    total = (W.square().sum(1) + sigma**2).sqrt()
    close(truth.log_px(x)[0], Normal(0.0, total).log_prob(x).sum(-1), atol=1e-9)


class Spiked(VAE):
    """Linear, but for a spike that one has to know of."""

    def likelihood(self, z: Tensor) -> Distribution:
        spike = torch.exp(-1e4 * (z - 1.2345).square().sum(-1))
        return self.visible.distribution(self.decoder(z) + spike[..., None, None, None])


class Doubled(nn.Linear):
    def forward(self, value: Tensor) -> Tensor:
        return super().forward(value.abs())


def not_linear() -> dict[str, object]:
    hidden = linear_vae()
    hidden.decoder = mlp_decoder(3, Architecture(hidden=(4,), activation="relu"), (1, *SHAPE)).double()
    bent, derived, learned = linear_vae(), linear_vae(), linear_vae()
    bent.decoder.net.append(nn.ReLU())
    derived.__class__ = Spiked
    replaced = linear_vae()
    replaced.decoder.net[0] = Doubled(3, 8).double()
    learned.latent = nn.Identity()
    return {
        "a hidden layer": hidden,
        "something behind the layer": bent,
        "a VAE with a likelihood of its own": derived,
        "a layer that is no Linear": replaced,
        "another prior": learned,
        "another likelihood": linear_vae(likelihood="bernoulli"),
        "a foreign model, linear as it is": random_linear_gaussian(8, 3),
        "a foreign model that is flat wherever one looks": Spike(2, width=1e-4),
    }


@pytest.mark.parametrize("name", not_linear())
def test_what_is_not_certain_to_be_linear_gaussian_is_not_taken_for_it(name: str) -> None:
    assert linear_gaussian(not_linear()[name]) is None  # type: ignore[arg-type]
    assert linear_gaussian(linear_vae()) is not None


def test_a_likelihood_that_parts_from_the_formula_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    model = linear_vae()
    inner = type(model.visible).distribution
    monkeypatch.setattr(type(model.visible), "distribution", lambda self, mean: inner(self, 1.01 * mean))
    assert linear_gaussian(model) is None


def test_a_normal_is_known_and_nothing_that_only_looks_like_one() -> None:
    class Other(Normal):
        pass

    zero, one = torch.zeros(2, 3), torch.ones(2, 3)
    assert knows(diagonal_normal(zero, one))
    assert knows(MultivariateNormal(zero, torch.eye(3)))
    assert not knows(Independent(Other(zero, one), 1))
    assert not knows(Normal(zero, one))
