"""The quick way to log p(x | z) of binary pixels, held to the plain one in float64 at any logit."""

import copy
import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn

from elbo_cli.bounds.draws import Quick, log_joint
from elbo_cli.build import experiment
from elbo_cli.config import loads
from elbo_cli.models import binary
from elbo_cli.models.architecture import ACTIVATIONS
from elbo_cli.models.perceptrons import Flat
from elbo_cli.models.plain import plain_layers
from elbo_cli.models.vae import VAE

D, PIXELS = 3, 21  # not a multiple of the group


def decoder(activation: str = "tanh", hidden: tuple[int, ...] = (6, 5), scale: float = 1.0) -> Flat:
    widths = [D, *hidden]
    net: list[nn.Module] = []
    for a, b in pairwise(widths):
        net += [nn.Linear(a, b), ACTIVATIONS[activation]()]
    last = nn.Linear(widths[-1], PIXELS)
    nn.init.normal_(last.weight, std=scale)
    return Flat(nn.Sequential(*net, last), [D], [1, 3, 7])


def plainly(model: Flat, x: Tensor, z: Tensor) -> Tensor:
    """One term of one sign for each pixel, in float64."""
    logits = copy.deepcopy(model).double()(z.double())
    return torch.nn.functional.logsigmoid((2 * x.double() - 1) * logits).flatten(-3).sum(-1)


def quickly(model: Flat, x: Tensor, z: Tensor) -> Tensor:
    layers = plain_layers(model)
    assert layers is not None

    def exact(x: Tensor, z: Tensor) -> Tensor:
        return torch.nn.functional.logsigmoid((2 * x - 1) * model(z)).flatten(-3).sum(-1)

    with torch.no_grad():
        return binary.log_likelihood(layers, x, exact)(z)


def pixels(N: int) -> Tensor:
    return torch.randint(0, 2, (N, 1, 3, 7)).float()


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("hidden", [(), (4,), (6, 5)])
def test_it_is_the_plain_one(activation: str, hidden: tuple[int, ...]) -> None:
    model, x, z = decoder(activation, hidden), pixels(7), torch.randn(150, 7, D)
    torch.testing.assert_close(quickly(model, x, z).double(), plainly(model, x, z), rtol=3e-6, atol=1e-6)


def test_in_float64_it_is_exact() -> None:
    model, x, z = decoder().double(), pixels(7).double(), torch.randn(150, 7, D).double()
    torch.testing.assert_close(quickly(model, x, z), plainly(model, x, z), rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 10.0, 100.0, 1e4])
def test_it_is_exact_at_any_logit(scale: float) -> None:
    """Far beyond the range of a product of eight exponentials, on both sides; float32 logits are what they are."""
    model, x, z = decoder(scale=scale), pixels(7), torch.randn(90, 7, D)
    spread = max(1.0, scale) * 2**-24 * PIXELS * 30
    torch.testing.assert_close(quickly(model, x, z).double(), plainly(model, x, z), rtol=3e-6, atol=spread)


@pytest.mark.parametrize("logit", [20.0, 40.0, 80.0])
def test_pixels_that_are_all_but_certain_keep_what_is_left(logit: float) -> None:
    """log(1 + e) of an e far below the rounding of 1: x l - softplus(l) would leave nothing of it."""
    layer = nn.Linear(D, PIXELS)
    nn.init.zeros_(layer.weight)
    nn.init.constant_(layer.bias, logit)
    model = Flat(nn.Sequential(layer), [D], [1, 3, 7])
    found = quickly(model, torch.ones(2, 1, 3, 7), torch.randn(3, 2, D))
    torch.testing.assert_close(found, torch.full((3, 2), -PIXELS * math.log1p(math.exp(-logit))), rtol=1e-5, atol=0)


def test_rows_beyond_the_range_are_the_ones_computed_again() -> None:
    model, x = decoder(scale=60.0), pixels(4)
    layers = plain_layers(model)
    seen: list[int] = []

    def exact(x: Tensor, z: Tensor) -> Tensor:
        seen.append(len(z))
        return torch.full((len(z),), -1.0)

    assert layers is not None
    with torch.no_grad():
        found = binary.log_likelihood(layers, x, exact)(torch.randn(400, 4, D))
    assert 0 < sum(seen) < found.numel()
    assert max(seen) <= binary.ROWS
    assert int((found == -1).sum()) == sum(seen)


def test_no_row_sees_the_cut() -> None:
    model, x, z = decoder(), pixels(7), torch.randn(2 * binary.ROWS, 7, D)
    torch.testing.assert_close(quickly(model, x, z)[-5:], quickly(model, x, z[-5:]), rtol=1e-6, atol=1e-6)
    wide = pixels(binary.ROWS + 3)
    z = torch.randn(2, len(wide), D)
    torch.testing.assert_close(quickly(model, wide, z).double(), plainly(model, wide, z), rtol=3e-6, atol=1e-6)


def test_what_is_not_plain_has_no_layers() -> None:
    assert plain_layers(Flat(nn.Sequential(nn.Linear(D, 8), nn.LayerNorm(8), nn.Linear(8, 4)), [D], [4])) is None
    assert plain_layers(Flat(nn.Sequential(nn.Linear(D, 8, bias=False)), [D], [8])) is None
    assert plain_layers(nn.Linear(D, 8)) is None


def vae(*overrides: str) -> VAE:
    model = experiment(loads("data: {name: digits}", overrides=["model.latent_dim=3", *overrides])).model
    assert isinstance(model, VAE)
    return model


@pytest.mark.parametrize("likelihood", ["bernoulli", "continuous_bernoulli", "gaussian"])
def test_a_model_takes_it_where_it_applies_and_no_gradient_is_asked_for(
    likelihood: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = "none" if likelihood != "bernoulli" else "dynamic"
    model = vae(f"model.likelihood={likelihood}", f"data.binarize={kept}")
    x, z = torch.randint(0, 2, (5, *model.visible.shape)).float(), torch.randn(9, 5, 3)
    assert isinstance(model, Quick)
    taken: list[int] = []
    quick = binary.log_likelihood
    monkeypatch.setattr(binary, "log_likelihood", lambda *a: taken.append(1) or quick(*a))
    with torch.no_grad():
        plain = model.likelihood(z).log_prob(x)
        torch.testing.assert_close(log_joint(model, x, z)[0], plain, rtol=1e-5, atol=1e-4)
    assert bool(taken) == (likelihood == "bernoulli")
    taken.clear()
    assert log_joint(model, x, z)[0].requires_grad
    assert not taken
