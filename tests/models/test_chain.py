"""Several stochastic layers: the order of their latents, what each is given, its curvature, units and configs."""

import pytest
import torch
from torch import Tensor
from torch.distributions import Independent, Normal
from torch.func import jacrev, vmap

from elbo_cli import config as configs
from elbo_cli.build_model import open_model
from elbo_cli.config import ConfigError
from elbo_cli.data.split import Split
from elbo_cli.evaluation import evaluate
from elbo_cli.gap.proposals.jacobian import jacobian
from elbo_cli.gap.proposals.prior import prior_precision
from elbo_cli.models.chain import Chain
from elbo_cli.models.normals import normal
from elbo_cli.models.vae import VAE
from tests.models.families import PIXELS, pixels, vae

THREE = "latent_dim: [4, 3, 2], between: {hidden: [6]}"
LINEAR = "latent_dim: [4, 3, 2], between: {hidden: []}"


def parts(z: Tensor) -> tuple[Tensor, ...]:
    """z1, z2, z3."""
    return z[..., :4], z[..., 4:7], z[..., 7:]


def given(link: torch.nn.Module, parent: Tensor) -> Independent:
    """The diagonal normal that a link gives."""
    mu, log_sigma = link.net(parent).chunk(2, -1)  # type: ignore[operator, union-attr]
    return normal(mu, log_sigma.exp())  # type: ignore[return-value]


def test_the_layers_densities_are_products_in_their_own_order() -> None:
    """q(z1|x) q(z2|z1) q(z3|z2), and p(z3) p(z2|z3) p(z1|z2), with z1 first in both."""
    model, x, z = vae(THREE), pixels(5), torch.randn(6, 5, 9, dtype=torch.float64)
    z1, z2, z3 = parts(z)
    up, down = model.family.links, model.latent.links
    q1 = model.family.first.distribution(model.encoder(x))
    q = q1.log_prob(z1) + given(up[0], z1).log_prob(z2) + given(up[1], z2).log_prob(z3)
    p = Normal(0, 1).log_prob(z3).sum(-1) + given(down[0], z3).log_prob(z2) + given(down[1], z2).log_prob(z1)
    torch.testing.assert_close(model.posterior(x).log_prob(z), q)
    torch.testing.assert_close(model.prior().log_prob(z), p)


def test_each_layer_is_drawn_given_the_one_before_it() -> None:
    """The same noise by hand, one layer at a time."""
    model, x = vae(THREE), pixels(5)
    torch.manual_seed(3)
    z = model.posterior(x).rsample((6,))
    torch.manual_seed(3)
    z1 = model.family.first.distribution(model.encoder(x)).rsample((6,))
    z2 = given(model.family.links[0], z1).rsample()
    z3 = given(model.family.links[1], z2).rsample()
    torch.testing.assert_close(z, torch.cat([z1, z2, z3], -1))


def test_the_likelihood_sees_the_first_layer_alone() -> None:
    model, z = vae(THREE), torch.randn(6, 5, 9, dtype=torch.float64)
    other = torch.cat([z[..., :4], torch.randn(6, 5, 5, dtype=torch.float64)], -1)
    x = pixels(5)
    torch.testing.assert_close(model.likelihood(z).log_prob(x), model.likelihood(other).log_prob(x), rtol=0, atol=0)
    assert not torch.allclose(model.likelihood(z).log_prob(x), model.likelihood(z + 0.1).log_prob(x))


def test_its_jacobian_by_hand_is_that_of_forward_mode() -> None:
    """Nothing of the upper layers comes through; the decoder's slice is part of what is differentiated."""
    model, z = vae(THREE), torch.randn(5, 9, dtype=torch.float64)
    J, _ = jacobian(model, z, torch.arange(9))
    expected = vmap(jacrev(lambda z: model.likelihood(z).logits))(z)
    torch.testing.assert_close(J.permute(1, 2, 0), expected)
    assert (J[4:] == 0).all()
    assert (J[:4] != 0).any()


@pytest.mark.parametrize("last", ["standard_normal", "mixture, components: 3"])
def test_the_precision_of_linear_layers_is_their_hessian(last: str) -> None:
    """With linear means and constant sigmas Gauss-Newton is exact; with a decoder's tanh it is positive and near."""
    model, z = vae(f"{LINEAR}, prior: {last}"), torch.randn(5, 9, dtype=torch.float64)
    with torch.no_grad():
        for link in model.latent.links:
            link.net.net[-1].weight[link.family.D :] = 0  # no log sigma moves
        if last != "standard_normal":
            model.latent.last.log_sigma.mul_(0.1)  # near enough to each other that no Hessian needs lifting
    found = prior_precision(model.prior(), z)
    expected = -vmap(jacrev(jacrev(model.prior().log_prob)))(z)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-9)
    bent = vae(THREE, scale=0.8)
    assert (torch.linalg.eigvalsh(prior_precision(bent.prior(), z)) > 0).all()


def test_where_sigma_moves_the_precision_is_the_mean_of_minus_the_hessian() -> None:
    """Fisher's information: over draws of p(z1|z2) the Hessian's block of z2 averages to it."""
    model = vae("latent_dim: [4, 3], between: {hidden: [5]}", scale=0.4)
    z2 = torch.randn(3, dtype=torch.float64)
    z1 = given(model.latent.links[0], z2).sample((20_000,))
    z = torch.cat([z1, z2.expand(20_000, -1)], -1)
    bend = -vmap(jacrev(jacrev(model.prior().log_prob)))(z)
    found = prior_precision(model.prior(), z[:1])[0]
    se = bend.std(0) / len(z) ** 0.5
    curved = bend.mean(0) - found  # the means' own curvature has no mean either
    assert ((curved.abs() < 5 * se + 1e-9) | (se > 0.2)).all()
    assert se.max() < 0.2, "blind"


def test_units_are_counted_layer_by_layer() -> None:
    """z1 follows x in two of four units, z2 follows z1 in one of three, and z3 nothing."""
    model = vae(THREE)
    with torch.no_grad():
        last = model.encoder.net[1][-1]
        last.weight.mul_(3)
        last.weight[2:4], last.bias[4:8] = 0, -3
        for link, alive in zip(model.family.links, (1, 0), strict=True):
            link.net.net[-1].weight[alive:] = 0
    x = (torch.rand(400, PIXELS) > 0.5).float()
    found = evaluate(model.float(), Split("test", x, "pixels"), data="x", samples=1, seed=0, device=torch.device("cpu"))
    assert (found.layers, found.active_per_layer, found.active_units) == ((4, 3, 2), (2, 1, 0), 3)
    assert found.kl_per_latent is None


def test_the_mean_of_a_layer_averages_over_the_one_before_it() -> None:
    q = vae(THREE).posterior(pixels(2))
    assert isinstance(q, Chain)
    means, z = q.average_mean(20_000), q.sample((20_000,))
    assert ((means - z.mean(0)).abs() < 6 * z.std(0) / 20_000**0.5).all()
    with pytest.raises(NotImplementedError):
        _ = q.mean


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        (
            "latent_dim: [4, 3]",
            r"latent_dim \[4, 3\] means 2 stochastic layers.*Write between: \{hidden: \[",
        ),
        ("between: {hidden: [9]}", r"between joins stochastic layers, and latent_dim 50 means one\. Remove between"),
        (f"{THREE}, prior: vamp", r"prior vamp needs q\(z3\|x\) as a density.*Choose prior mixture or flow"),
        ("latent_dim: [4, 3], between: {kind: conv}", r"between\.kind conv needs pictures, and latents are none"),
        ("latent_dim: []", r"model\.latent_dim: found a list of 0, allowed: a whole number from 1 to 4096 or a list"),
        ("rank: 3", "found 3, allowed only with posterior: lowrank_normal, but posterior is diagonal_normal"),
        ("flow: maf", "allowed only with posterior or prior: flow, but posterior is .* and prior is .*Remove it"),
    ],
)
def test_a_config_that_joins_no_layers_is_told_what_to_type(model: str, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        configs.loads(f"model: {{{model}}}")


def test_free_bits_want_a_kl_for_each_latent() -> None:
    with pytest.raises(ConfigError, match=r"objective\.free_bits 0\.5 needs a KL for each latent"):
        configs.loads(f"model: {{{THREE}}}\nobjective: {{free_bits: 0.5}}")
    configs.loads("objective: {free_bits: 0.5}")


def test_one_layer_in_a_list_is_one_layer() -> None:
    one, other = (open_model(configs.loads(f"model: {{latent_dim: {D}}}"), (PIXELS,)) for D in ("3", "[3]"))
    assert isinstance(other, VAE)
    assert one.state_dict().keys() == other.state_dict().keys()


def test_layers_can_be_asked_for_over_a_preset_of_one() -> None:
    over = ["model.latent_dim=[9, 4]", "model.between.hidden=[7]"]
    config = configs.loads("model: {between: null}", overrides=over)
    assert config.model.layers == (9, 4)
    assert config.model.between is not None
    assert config.model.between.hidden == (7,)


def test_the_noise_of_drawn_means_makes_no_unit_active() -> None:
    """A flow does not tell its mean; 64 draws of an idle unit vary by 1/64 on average, which is above the threshold."""
    model = vae("latent_dim: 5, posterior: flow, flow_transforms: 1, flow_hidden: [4]", scale=0.0)
    with torch.no_grad():
        model.encoder.net[1][-1].bias[5:10] = 0.0  # sigma is 1
        model.encoder.net[1][-1].weight[0, 0], model.encoder.net[1][0].weight[0, 0] = 2.0, 1.0
    x = (torch.rand(600, PIXELS) > 0.5).float()
    found = evaluate(model.float(), Split("test", x, "pixels"), data="x", samples=1, seed=0, device=torch.device("cpu"))
    assert (found.active_per_layer, found.layers) == ((1,), (5,))
