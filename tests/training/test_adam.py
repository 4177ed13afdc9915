"""Our Adam is torch's, number for number, and each takes up where the other stopped."""

import pytest
import torch
from torch import Tensor

from elbo_cli.checkpoint import pack, unpack
from elbo_cli.training.adam import Adam, AdamW, Flat
from elbo_cli.training.experiment import Optimizer

SHAPES = [(7, 5), (7,), (3, 7), ()]
SETTINGS = {"lr": 0.03, "betas": (0.8, 0.95), "eps": 1e-4}
PAIRS = [(Adam, torch.optim.Adam, {}), (AdamW, torch.optim.AdamW, {"weight_decay": 0.1})]


def parameters() -> list[Tensor]:
    draw = torch.Generator().manual_seed(1)
    return [torch.randn(shape, generator=draw).requires_grad_() for shape in SHAPES]


def steps(weights: list[Tensor], optimizer: Optimizer, seeds: range, skipped: tuple[int, ...] = ()) -> None:
    for seed in seeds:
        draw = torch.Generator().manual_seed(seed)
        for i, weight in enumerate(weights):
            gradient = torch.randn(weight.shape, generator=draw)
            weight.grad = None if i in skipped else gradient
        optimizer.step()


def same(a: list[Tensor], b: list[Tensor], tolerance: float = 0.0) -> None:
    for ours, theirs in zip(a, b, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(("ours", "theirs", "more"), PAIRS)
@pytest.mark.parametrize("skipped", [(), (1, 2)])
def test_it_moves_as_torchs_does(ours, theirs, more, skipped) -> None:  # type: ignore[no-untyped-def]
    a, b = parameters(), parameters()
    one, two = ours(a, **SETTINGS, **more), theirs(b, **SETTINGS, **more, fused=True)
    steps(a, one, range(4), skipped)
    steps(b, two, range(4), skipped)
    same(a, b)
    assert pack(one).keys() == pack(two).keys()
    assert all((pack(one)[name] == pack(two)[name]).all() for name in pack(one))


@pytest.mark.parametrize(("ours", "theirs", "more"), PAIRS)
def test_moments_go_from_one_to_the_other_and_back(ours, theirs, more) -> None:  # type: ignore[no-untyped-def]
    whole, handed = parameters(), parameters()
    steps(whole, ours(whole, **SETTINGS, **more), range(6))
    optimizer: Optimizer = ours(handed, **SETTINGS, **more)
    for number, make in enumerate((theirs, ours, ours)):
        steps(handed, optimizer, range(2 * number, 2 * number + 2))
        kept = {name: value.clone() for name, value in pack(optimizer).items()}
        optimizer = make(handed, **SETTINGS, **more, **({"fused": True} if make is theirs else {}))
        unpack(optimizer, kept)
    same(whole, handed)


def test_one_kernel_for_all_is_a_kernel_for_each() -> None:
    a, b = parameters(), parameters()
    one, each = Adam(a, **SETTINGS), Adam(b, **SETTINGS)  # type: ignore[arg-type]
    weights, gradients = Flat(a), Flat(a)
    for place, weight in zip(weights.parts, a, strict=True):
        place.copy_(weight.detach())
    for seed in range(3):
        steps(b, each, range(seed, seed + 1))
        for place, weight in zip(gradients.parts, b, strict=True):
            place.copy_(weight.grad)  # type: ignore[arg-type]
        one.step_flat(weights, gradients)
    same(weights.parts, [weight.detach() for weight in b], 1e-6)  # the ends of a buffer are rounded in another way
    same([one.state_dict()["state"][i]["exp_avg_sq"] for i in range(4)], each.square.parts, 1e-6)


def test_what_never_moved_has_no_state_and_gradients_are_forgotten() -> None:
    weights = parameters()
    optimizer = Adam(weights)
    assert optimizer.state_dict()["state"] == {}
    steps(weights, optimizer, range(1), skipped=(0, 3))
    assert set(optimizer.state_dict()["state"]) == {1, 2}
    optimizer.zero_grad()
    assert all(weight.grad is None for weight in weights)


def test_parts_lie_apart_and_begin_at_a_cache_line() -> None:
    flat = Flat(parameters())
    for number, part in enumerate(flat.parts):
        part.fill_(number + 1)
        assert part.data_ptr() % 64 == flat.whole.data_ptr() % 64
    assert [part.unique().tolist() for part in flat.parts] == [[1.0], [2.0], [3.0], [4.0]]
