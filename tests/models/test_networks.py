"""Encoders and decoders of every kind: shapes at odd sizes, batches of any shape, and how they start."""

import math

import pytest
import torch
from torch import nn

from elbo_cli.errors import UserError
from elbo_cli.models.networks import ACTIVATIONS, INITS, KINDS, Architecture, glorot, last_linear

SHAPES = [(1, 28, 28), (3, 7, 9), (2, 1, 5), (1, 8, 8), (4, 13, 1)]


def small(kind: str, **other: object) -> Architecture:
    return Architecture(kind, (11,), (3, 5, 4), **other)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("batch", [(), (1,), (2, 3), (2, 1, 3)])
def test_any_picture_goes_in_and_comes_out(kind: str, shape: tuple[int, ...], batch: tuple[int, ...]) -> None:
    encoder = KINDS[kind].encoder(shape, small(kind), 6)
    decoder = KINDS[kind].decoder(6, small(kind), (2, *shape))
    code = encoder(torch.randn(*batch, *shape))
    assert code.shape == (*batch, 6)
    assert decoder(code).shape == (*batch, 2, *shape)


@pytest.mark.parametrize("shape", [(10,), (3, 4), (1, 6, 5)])
def test_a_perceptron_takes_data_of_any_shape(shape: tuple[int, ...]) -> None:
    encoder = KINDS["mlp"].encoder(shape, small("mlp"), 4)
    decoder = KINDS["mlp"].decoder(4, small("mlp"), (1, *shape))
    assert decoder(encoder(torch.randn(5, *shape))).shape == (5, 1, *shape)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("norm", ["none", "layer"])
def test_a_row_does_not_see_the_others(kind: str, norm: str) -> None:
    shape = (2, 7, 9)
    encoder = KINDS[kind].encoder(shape, small(kind, norm=norm), 6)
    decoder = KINDS[kind].decoder(6, small(kind, norm=norm), (1, *shape))
    x = torch.randn(4, *shape)
    for rows in (encoder(x), decoder(encoder(x))):
        assert rows.isfinite().all()
    torch.testing.assert_close(encoder(x)[[2, 0]], encoder(x[[2, 0]]))
    torch.testing.assert_close(decoder(encoder(x))[1:2], decoder(encoder(x[1:2])))


@pytest.mark.parametrize("kind", KINDS)
def test_leading_axes_are_rows(kind: str) -> None:
    decoder = KINDS[kind].decoder(6, small(kind), (1, 2, 7, 9))
    z = torch.randn(3, 4, 6)
    torch.testing.assert_close(decoder(z)[1, 2], decoder(z[1, 2]))
    torch.testing.assert_close(decoder(z), torch.stack([decoder(row) for row in z]))


@pytest.mark.parametrize("shape", SHAPES)
def test_a_convolutional_decoder_mirrors_its_encoder(shape: tuple[int, ...]) -> None:
    """Every size on the way down is met on the way up, whether it was odd or even."""
    encoder, decoder = (
        KINDS["conv"].encoder(shape, small("conv"), 6),
        KINDS["conv"].decoder(6, small("conv"), (1, *shape)),
    )
    down = _sizes(encoder, torch.randn(1, *shape), nn.Conv2d)
    up = _sizes(decoder, torch.randn(1, 6), nn.ConvTranspose2d)
    assert [*up[:-1]] == down[-2::-1]
    assert up[-1] == shape[1:]


def _sizes(net: nn.Module, x: torch.Tensor, kind: type[nn.Module]) -> list[tuple[int, ...]]:
    seen: list[tuple[int, ...]] = []
    hooks = [
        layer.register_forward_hook(lambda _, __, out: seen.append(tuple(out.shape[2:])))
        for layer in net.modules()
        if isinstance(layer, kind)
    ]
    net(x)
    for hook in hooks:
        hook.remove()
    return seen


def test_a_convolution_needs_a_picture() -> None:
    for shape in ((10,), (28, 28)):
        with pytest.raises(UserError, match=r"conv network needs pictures .* mlp"):
            KINDS["conv"].encoder(shape, small("conv"), 6)
        with pytest.raises(UserError, match=r"conv network needs pictures .* mlp"):
            KINDS["conv"].decoder(6, small("conv"), (1, *shape))


def test_with_no_hidden_layers_a_perceptron_is_a_linear_map() -> None:
    for net, wide in (
        (KINDS["mlp"].encoder((2, 3), Architecture(hidden=()), 4), (2, 3)),
        (KINDS["mlp"].decoder(6, Architecture(hidden=()), (1, 4)), (6,)),
    ):
        a, b = torch.randn(5, *wide), torch.randn(5, *wide)
        nothing = net(torch.zeros(1, *wide))
        torch.testing.assert_close(net(2 * a - b), 2 * net(a) - net(b), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(net(a + b) - nothing, net(a) + net(b) - 2 * nothing, rtol=1e-4, atol=1e-5)


def test_with_hidden_layers_it_is_none() -> None:
    net = KINDS["mlp"].encoder((3,), small("mlp"), 4)
    a = torch.randn(5, 3)
    assert (net(2 * a) - 2 * net(a)).abs().max() > 1e-3


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_activation_is_in_the_network_that_names_it(activation: str) -> None:
    net = KINDS["mlp"].encoder((3,), Architecture(hidden=(4, 4), activation=activation), 2)
    kind = type(ACTIVATIONS[activation]())
    assert sum(isinstance(layer, kind) for layer in net.modules()) == 2
    x = torch.randn(5, 3, requires_grad=True)
    net(x).sum().backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()


def test_hidden_widths_are_those_that_were_asked_for() -> None:
    net = KINDS["mlp"].encoder((3,), Architecture(hidden=(7, 5)), 2)
    linear = [(m.in_features, m.out_features) for m in net.modules() if isinstance(m, nn.Linear)]
    assert linear == [(3, 7), (7, 5), (5, 2)]


def test_an_unknown_activation_or_norm_is_a_mistake_of_the_users() -> None:
    with pytest.raises(UserError, match="Did you mean 'tanh'"):
        Architecture(activation="tahn")
    with pytest.raises(UserError, match="There are: none, layer"):
        KINDS["mlp"].encoder((3,), Architecture(norm="batch"), 2)


@pytest.mark.parametrize("kind", KINDS)
def test_glorot_has_the_spread_it_is_known_for(kind: str) -> None:
    """Uniform within sqrt(6 / (fan in + fan out)), and no bias."""
    net = KINDS[kind].encoder((3, 17, 16), Architecture(kind, (300,), (40, 50)), 60)
    glorot(net)
    layers = [layer for layer in net.modules() if isinstance(layer, nn.Linear | nn.Conv2d)]
    for layer in layers:
        receptive = math.prod(layer.weight.shape[2:])
        fan = receptive * (layer.weight.shape[0] + layer.weight.shape[1])
        limit = math.sqrt(6 / fan)
        assert layer.weight.abs().max() <= limit
        assert layer.weight.std().item() == pytest.approx(limit / math.sqrt(3), rel=0.06)
        assert (layer.bias == 0).all()


@pytest.mark.parametrize("kind", KINDS)
def test_torchs_own_start_is_left_alone(kind: str) -> None:
    net = KINDS[kind].decoder(6, small(kind), (1, 2, 7, 9))
    before = {name: value.clone() for name, value in net.state_dict().items()}
    INITS["torch"](net)
    assert all((value == before[name]).all() for name, value in net.state_dict().items())


@pytest.mark.parametrize("kind", KINDS)
def test_the_last_layer_is_the_one_that_gives_the_outputs(kind: str) -> None:
    decoder = KINDS[kind].decoder(6, small(kind), (2, 1, 8, 8))
    before = decoder(torch.randn(1, 6))
    with torch.no_grad():
        last_linear(decoder).bias.add_(1.0)  # type: ignore[union-attr]
    torch.manual_seed(0)
    z = torch.randn(1, 6)
    with torch.no_grad():
        after = decoder(z)
        last_linear(decoder).bias.sub_(1.0)  # type: ignore[union-attr]
        torch.testing.assert_close(after, decoder(z) + 1)
    assert before.shape == after.shape
