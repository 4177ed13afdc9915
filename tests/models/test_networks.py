"""Encoders and decoders of every kind: shapes at odd sizes, batches of any shape, and how they start."""

import copy
import math

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrize import is_parametrized

from elbo_cli.errors import UserError
from elbo_cli.gap.proposals.jacobian import jacobian
from elbo_cli.models.architecture import ACTIVATIONS, NORMS, Architecture
from elbo_cli.models.likelihoods import LIKELIHOODS, Options
from elbo_cli.models.networks import INITS, KINDS, glorot, last_linear
from elbo_cli.models.perceptrons import Residual
from elbo_cli.models.posteriors import DiagonalNormal
from elbo_cli.models.priors import StandardNormal
from elbo_cli.models.vae import VAE

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
@pytest.mark.parametrize("norm", NORMS)
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


@pytest.mark.parametrize("kind", ["conv", "res_conv"])
def test_a_convolution_needs_a_picture(kind: str) -> None:
    for shape in ((10,), (28, 28)):
        with pytest.raises(UserError, match=rf"A {kind} network needs pictures .* mlp"):
            KINDS[kind].encoder(shape, small(kind), 6)
        with pytest.raises(UserError, match=rf"A {kind} network needs pictures .* mlp"):
            KINDS[kind].decoder(6, small(kind), (1, *shape))


@pytest.mark.parametrize("kind", ["res_mlp", "res_conv"])
def test_a_residual_block_whose_layers_give_nothing_is_the_way_around_it(kind: str) -> None:
    net = KINDS[kind].encoder((1, 8, 8), Architecture(kind, (6, 6), (3, 3)), 4)
    blocks = [block for block in net.modules() if isinstance(block, Residual)]
    assert len(blocks) == 2
    for block in blocks:
        h = torch.randn(2, 6) if kind == "res_mlp" else torch.randn(2, 3, 8, 8)
        before = block(h)
        for parameter in block.across[-1].parameters():  # type: ignore[index, union-attr]
            nn.init.zeros_(parameter)
        torch.testing.assert_close(block(h), block.around(h), rtol=0, atol=0)
        assert (before - block(h)).abs().max() > 0.01
    assert isinstance(blocks[0].around, nn.Identity) == (kind == "res_mlp")


def test_a_residual_perceptron_widens_on_the_way() -> None:
    net = KINDS["res_mlp"].encoder((3,), Architecture("res_mlp", (7, 5)), 2)
    linear = [(m.in_features, m.out_features) for m in net.modules() if isinstance(m, nn.Linear)]
    assert linear == [(3, 7), (7, 7), (7, 7), (7, 5), (5, 5), (7, 5), (5, 2)]
    with pytest.raises(UserError, match="has no block: give hidden a size, or use kind: mlp"):
        KINDS["res_mlp"].encoder((3,), Architecture("res_mlp", ()), 2)


@pytest.mark.parametrize("kind", KINDS)
def test_weight_normalised_weights_start_as_others_do_and_scale_by_their_lengths(kind: str) -> None:
    """The directions alone are Glorot's; a row's length is a number of its own, and every other kind of map is kept."""
    net = KINDS[kind].encoder((3, 8, 8), Architecture(kind, (30,), (20, 20), norm="weight"), 4)
    glorot(net)
    normed = [m for m in net.modules() if is_parametrized(m)]
    assert normed
    for layer in normed:
        receptive = math.prod(layer.weight.shape[2:])
        assert layer.weight.std().item() == pytest.approx(
            math.sqrt(2 / (receptive * (layer.weight.shape[0] + layer.weight.shape[1]))), rel=0.15
        )
        before, length = layer.weight.detach().clone(), layer.parametrizations.weight.original0  # type: ignore[union-attr]
        with torch.no_grad():
            length.mul_(2.0)
        torch.testing.assert_close(layer.weight, 2 * before)
    twin = copy.deepcopy(net).double()
    x = torch.randn(2, 3, 8, 8)
    torch.testing.assert_close(twin(x.double()).float(), net(x), rtol=1e-4, atol=1e-5)
    assert not any(is_parametrized(m) for m in KINDS[kind].encoder((3, 8, 8), small(kind), 4).modules())


@pytest.mark.parametrize("width", [2, 3, 4, 16, 200])
def test_a_group_has_two_units_at_least(width: int) -> None:
    group, _ = Architecture(norm="group").activate(width)
    assert isinstance(group, nn.GroupNorm)
    assert group.num_groups == {2: 1, 3: 1, 4: 2, 16: 8, 200: 8}[width]
    rows = group(torch.randn(50, width)).view(50, group.num_groups, -1)
    torch.testing.assert_close(rows.mean(-1), torch.zeros(50, group.num_groups), rtol=0, atol=1e-4)


@pytest.mark.parametrize("norm", ["layer", "group"])
def test_one_unit_cannot_be_normalised(norm: str) -> None:
    with pytest.raises(UserError, match=f"norm: {norm} makes a layer of one unit constant"):
        Architecture(norm=norm).activate(1)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("kind", KINDS)
def test_every_network_has_the_jacobian_that_the_proposals_take(kind: str, norm: str) -> None:
    """By hand or by forward mode, it is what reverse mode finds, row by row."""
    body = Architecture(kind, (6,), (4,), norm=norm)
    visible = LIKELIHOODS["bernoulli"]((1, 5, 6), Options())
    encoder, decoder = KINDS[kind].encoder((1, 5, 6), body, 6), KINDS[kind].decoder(3, body, (1, 1, 5, 6))
    model = VAE(encoder, decoder, StandardNormal(3), DiagonalNormal(3), visible).double()
    z = torch.randn(4, 3, dtype=torch.float64)
    J, _ = jacobian(model, z, torch.arange(3))
    expected = torch.autograd.functional.jacobian(lambda z: model.likelihood(z).logits.flatten(1).sum(0), z)
    torch.testing.assert_close(J.permute(2, 1, 0), expected)
    nothing, f = jacobian(model, z, torch.arange(0))
    assert nothing.shape == (0, *f.shape) == (0, 4, 30)


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
        assert layer.bias is None or (layer.bias == 0).all()


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
