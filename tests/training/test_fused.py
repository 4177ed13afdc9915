"""The fused step is the plain step: sums, gradients, weights and moments, whatever the sizes; and build knows where."""

import copy
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from elbo_cli import build, checkpoint
from elbo_cli import config as configs
from elbo_cli.models.architecture import ACTIVATIONS, Architecture
from elbo_cli.models.networks import KINDS
from elbo_cli.models.vae import VAE
from elbo_cli.presets import preset_text
from elbo_cli.runtime import noise
from elbo_cli.training.adam import Adam
from elbo_cli.training.experiment import Experiment, Objective, Progress
from elbo_cli.training.fused.latents import BACK
from elbo_cli.training.fused.networks import fits
from elbo_cli.training.fused.pixels import Pixels
from elbo_cli.training.fused.step import FusedStep
from elbo_cli.training.loop import records
from elbo_cli.training.step import PlainStep
from tests.experiments import stopped, timeless, weights

BASE = "data: {name: digits}\ntrain: {gap_every: 0}\n"


def model(hidden: tuple[int, ...] = (5, 4), D: int = 3, side: int = 3, activation: str = "tanh") -> VAE:
    size = f"hidden: {list(hidden)}, activation: {activation}"
    text = f"model: {{latent_dim: {D}, bias_from_data: false, encoder: {{{size}}}, decoder: {{{size}}}}}"
    return build.open_model(configs.loads(BASE + text), (1, side, side))


def pair(vae: VAE, objective: Objective, clip_norm: float | None = None) -> tuple[PlainStep, FusedStep]:
    """Both steps, each with a copy of the model. Without a large eps, a gradient of nothing moves as far as any."""
    plain, fused = copy.deepcopy(vae), copy.deepcopy(vae)
    one, two = (Adam(list(m.parameters()), lr=0.01, eps=1e-3) for m in (plain, fused))
    return PlainStep(plain, one, objective, clip_norm), FusedStep(fused, two, objective, clip_norm)


def pictures(n: int, side: int) -> Tensor:
    with noise(5, "pictures"):
        return (torch.rand(n, 1, side, side) < 0.3).float()


def step(of: PlainStep | FusedStep, x: Tensor, beta: float, number: int) -> Tensor:
    with noise(0, "z", number):
        return of(x, beta)


def gradients(plain: PlainStep) -> list[Tensor]:
    return [p.grad for p in plain.model.parameters() if p.grad is not None]


def held(found: Tensor, expected: Tensor, tolerance: float = 1e-5) -> None:
    """To 1e-5 of the largest number in there."""
    scale = expected.abs().max().clamp(min=1e-3)
    torch.testing.assert_close(found / scale, expected / scale, rtol=0, atol=tolerance)


@settings(max_examples=60, deadline=None)
@given(
    hidden=st.lists(st.integers(1, 20), max_size=3).map(tuple),
    D=st.integers(1, 6),
    side=st.integers(1, 6),
    N=st.integers(1, 9),
    K=st.integers(1, 4),
    climbed=st.sampled_from(list(BACK)),
    activation=st.sampled_from(list(ACTIVATIONS)),
    beta=st.sampled_from([1.0, 0.3, 0.0, 2.5]),
    clip_norm=st.sampled_from([None, 0.1, 1e6]),
)
def test_every_sum_and_every_gradient_is_the_plain_steps(  # type: ignore[no-untyped-def]
    hidden, D, side, N, K, climbed, activation, beta, clip_norm
) -> None:
    bound, gradient = climbed
    objective = Objective(bound, gradient=gradient, samples=K)
    plain, fused = pair(model(hidden, D, side, activation), objective, clip_norm)
    x = pictures(N, side)
    held(step(fused, x, beta, 1), step(plain, x, beta, 1))
    tolerance = 1e-5 if bound == "elbo" else 1e-4  # log w of a datum is rounded to 1e-5, and its weight is exp log w
    for ours, theirs in zip(fused.gradients.parts, gradients(plain), strict=True):
        held(ours, theirs, tolerance)


@pytest.mark.parametrize(
    "objective",
    [
        Objective(),
        Objective(samples=3),
        Objective("elbo", "stl", 3),
        *(Objective("iwae", gradient, 5) for gradient in ("standard", "stl", "dreg")),
    ],
)
@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_after_many_steps_weights_and_moments_are_too(objective: Objective, activation: str) -> None:
    vae = model((20, 20), 4, 8, activation)
    plain, fused = pair(vae, objective)
    x = pictures(130, 8)
    for number, batch in enumerate([*x.split(50), *x.split(50)]):
        held(step(fused, batch, 1.0, number), step(plain, batch, 1.0, number))
    found, expected = weights_of(fused), weights(plain.model)
    assert (expected - weights(vae)).abs().max() > 0.03, "blind"
    held(found, expected)
    for ours, theirs in (
        (fused.optimizer.mean, plain.optimizer.mean),
        (fused.optimizer.square, plain.optimizer.square),
    ):  # type: ignore[attr-defined]
        held(ours.whole, theirs.whole)
    assert (fused.optimizer.steps == 6).all()


def weights_of(fused: FusedStep) -> Tensor:
    return torch.cat([p.detach().flatten() for p in fused.optimizer.parameters])


@pytest.mark.parametrize("objective", [Objective(), Objective("iwae", samples=5), Objective("iwae", "dreg", 5)])
def test_at_the_size_of_the_preset_it_is_the_plain_step_in_float64(
    objective: Objective, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To 1e-5, which the plain step in float32 comes to as well, and no nearer."""
    draw = torch.randn
    monkeypatch.setattr("torch.randn", lambda *shape, dtype, device: draw(*shape).to(dtype))  # the same noise
    vae = model((200, 200), 50, 28)
    _, fused = pair(vae, objective)
    exact = PlainStep(vae.double(), Adam(list(vae.parameters())), objective)
    x = pictures(60, 28)
    held(step(fused, x, 1.0, 0).double(), step(exact, x.double(), 1.0, 0), 1e-6)
    for ours, theirs in zip(fused.gradients.parts, gradients(exact), strict=True):
        held(ours.double(), theirs)


def test_the_model_is_trained_in_its_place() -> None:
    vae = model()
    fused = FusedStep(vae, Adam(list(vae.parameters())), Objective())
    before = weights(vae)
    step(fused, pictures(4, 3), 1.0, 0)
    assert (weights(vae) != before).sum() > len(before) / 2
    assert {p.untyped_storage().data_ptr() for p in vae.parameters()} == {fused.weights.whole.data_ptr()}


@pytest.mark.parametrize("size", [60.0, 300.0])
def test_pixels_that_are_all_but_impossible_have_their_logarithm(size: float) -> None:
    """A product of eight is 0 then in float32: log p is that of each factor."""
    pixels = Pixels(1, 1, 9, torch.empty(0))
    found = pixels.log_prob(torch.ones(1, 9), torch.full((1, 1, 9), -size))
    assert found.item() == pytest.approx(-9 * size, rel=1e-6)
    assert pixels.log_prob(torch.ones(1, 9), torch.full((1, 1, 9), size)).item() == pytest.approx(0.0, abs=1e-6)


def test_what_is_no_number_is_in_the_sums() -> None:
    _, fused = pair(model(), Objective())
    x = pictures(4, 3)
    x[1, 0, 2, 2] = math.nan
    assert not step(fused, x, 1.0, 0).isfinite().any()


# where it is for


def experiment(*overrides: str) -> Experiment:
    small = ("model.encoder.hidden=[6]", "model.decoder.hidden=[6]", "model.latent_dim=2", "train.epochs=3")
    return build.experiment(configs.loads(BASE, overrides=[*small, *overrides]))


@pytest.mark.parametrize(
    "overrides",
    [(), ("objective.samples=3",), ("objective.bound=iwae",), ("optim.name=adamw",), ("optim.clip_norm=1",)]
    + [("objective.gradient=stl",), ("objective.gradient=dreg", "objective.bound=iwae")]
    + [(f"model.encoder.activation={name}",) for name in ACTIVATIONS],
)
def test_build_chooses_it_where_it_applies(overrides: tuple[str, ...]) -> None:
    assert isinstance(experiment(*overrides).step, FusedStep)


@pytest.mark.parametrize(
    "overrides",
    [
        ("train.step=plain",),
        ("objective.free_bits=0.1",),
        ("model.likelihood=continuous_bernoulli",),
        ("model.likelihood=gaussian",),
        ("model.encoder.norm=layer",),
        ("model.decoder.kind=conv",),
    ],
)
def test_elsewhere_the_step_is_plain(overrides: tuple[str, ...]) -> None:
    assert isinstance(experiment(*overrides).step, PlainStep)


def test_a_network_with_another_way_through_it_is_none_of_ours() -> None:
    class Around(nn.Sequential):
        def forward(self, x: Tensor) -> Tensor:
            return x + super().forward(x)

    vae = model((4, 4))
    assert fits(vae, list(vae.parameters()), Objective())
    assert not fits(vae, list(vae.parameters())[2:], Objective()), "not all is trained"
    inner = KINDS["mlp"].encoder((9,), Architecture(hidden=(9,)), 9)
    vae.encoder = nn.Sequential(nn.Flatten(), Around(inner), nn.Tanh(), nn.Linear(9, 6))
    assert not fits(vae, list(vae.parameters()), Objective())


# one run in two ways


def test_an_epoch_says_the_same() -> None:
    fused, plain = (next(records(experiment(f"train.step={how}", "optim.eps=1e-3"))) for how in ("auto", "plain"))
    for name in ("train_elbo", "train_kl", "valid_elbo", "valid_kl"):
        assert getattr(fused, name) == pytest.approx(getattr(plain, name), rel=1e-5)


def whole_and_resumed(first: Experiment, second: Experiment) -> Progress:
    """One epoch of `first`, whose weights and moments `second` then has."""
    past = stopped(first, 1)
    second.model.load_state_dict(first.model.state_dict())
    checkpoint.unpack(second.optimizer, {k: v.clone() for k, v in checkpoint.pack(first.optimizer).items()})
    return past


def test_a_run_taken_up_again_is_the_run_that_went_through_to_the_bit() -> None:
    whole, second = experiment(), experiment("seed=0")
    expected = [timeless(record) for record in records(whole)]
    past = whole_and_resumed(experiment(), second)
    assert [timeless(record) for record in records(second, past)] == expected[1:]
    assert (weights(second.model) == weights(whole.model)).all()


@pytest.mark.parametrize(("one", "two"), [("auto", "plain"), ("plain", "auto")])
def test_a_checkpoint_of_one_step_is_a_checkpoint_of_the_other(one: str, two: str) -> None:
    first, second = experiment(f"train.step={one}", "optim.eps=1e-3"), experiment(f"train.step={two}", "optim.eps=1e-3")
    expected = list(records(experiment(f"train.step={one}", "optim.eps=1e-3")))[1:]
    found = list(records(second, whole_and_resumed(first, second)))
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.train_elbo == pytest.approx(theirs.train_elbo, rel=1e-5)
        assert ours.valid_elbo == pytest.approx(theirs.valid_elbo, rel=1e-5)


def test_the_presets_are_on_the_hot_path() -> None:
    for name in ("mnist-vae", "mnist-iwae50", "mnist-iwae50-dreg", "burda-vae", "digits"):
        config = configs.loads(preset_text(name))
        vae = build.open_model(config, (1, 28, 28))
        assert fits(vae, list(vae.parameters()), build._objective(config.objective)), name
