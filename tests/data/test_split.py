from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from elbo_cli.data import split as module
from elbo_cli.data.shards import open_shards
from elbo_cli.data.split import Dataset, Split, assemble, binarised
from elbo_cli.errors import UserError
from elbo_cli.runtime import noise
from tests.statistics import outside, within

SHAPE = (1, 3, 5)
N = 23


@pytest.fixture
def pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (N, *SHAPE), dtype=np.uint8)


@pytest.fixture(params=["memory", "file", "rows of a file"])
def split(request: pytest.FixtureRequest, pixels: np.ndarray, tmp_path: Path) -> Split:
    """The same data in three ways."""
    if request.param == "memory":
        return Split("train", torch.from_numpy(pixels), "pixels", scale=255)
    rows = None
    if request.param == "rows of a file":
        rows = np.arange(N)[::-1] * 2
        pixels = np.repeat(pixels[::-1], 2, axis=0)
    np.save(tmp_path / "x.npy", pixels)
    return Split("train", open_shards([tmp_path / "x.npy"]), "pixels", scale=255, rows=rows)


def whole(split: Split) -> Tensor:
    return torch.cat(list(split.blocks(1000)))


def test_a_batch_is_the_scaled_values_at_its_index(split: Split, pixels: np.ndarray) -> None:
    index = torch.tensor([22, 0, 3, 3])
    x = split.batch(index)
    assert x.dtype == torch.float32
    assert (len(split), split.shape, x.shape) == (N, SHAPE, (4, *SHAPE))
    torch.testing.assert_close(x, torch.from_numpy(pixels[index.numpy()]).float() / 255, rtol=0, atol=0)


def test_a_batch_is_a_copy(split: Split) -> None:
    before = whole(split)
    split.batch(torch.arange(N)).zero_()
    assert torch.equal(whole(split), before)


@pytest.mark.parametrize("size", [1, 7, N, 1000])
def test_blocks_are_all_data_in_order_with_a_short_last_one(split: Split, size: int) -> None:
    blocks = list(split.blocks(size))
    assert [len(block) for block in blocks[:-1]] == [size] * (len(blocks) - 1)
    assert torch.equal(torch.cat(blocks), split.batch(torch.arange(N)))


@pytest.mark.parametrize("how", ["none", "threshold", "fixed"])
def test_what_is_not_dynamic_is_the_same_at_every_visit_in_every_batch(split: Split, how: str) -> None:
    split = binarised(split, how, 11)
    once = whole(split)
    for size in (1, 4, 9):
        assert torch.equal(torch.cat(list(split.blocks(size))), once)
    order = torch.randperm(N, generator=torch.Generator().manual_seed(1))
    assert torch.equal(split.batch(order), once[order])
    assert torch.equal(whole(split.first(6)), once[:6])
    if how != "none":
        assert set(once.unique().tolist()) == {0.0, 1.0}


def test_a_memory_map_has_the_values_and_the_digest_that_memory_has(split: Split, pixels: np.ndarray) -> None:
    memory = Split("train", torch.from_numpy(pixels), "pixels", scale=255)
    for how in ("none", "threshold", "fixed", "dynamic"):
        here, there = binarised(split, how, 11), binarised(memory, how, 11)
        with noise(0, "test"):
            mine = whole(here)
        with noise(0, "test"):
            assert torch.equal(mine, whole(there))
        assert here.digest() == there.digest()
        torch.testing.assert_close(here.mean(), there.mean(), rtol=0, atol=1e-12)
        assert here.extent()[0] >= 0


def test_dynamic_data_are_drawn_afresh_from_the_global_generator(split: Split) -> None:
    split = binarised(split, "dynamic", 11)
    with noise(0, "epoch", 1):
        first, second = whole(split), whole(split)
    assert not torch.equal(first, second)
    with noise(0, "epoch", 1):
        assert torch.equal(whole(split), first)


def test_dynamic_data_have_the_mean_of_x(pixels: np.ndarray) -> None:
    split = binarised(Split("train", torch.from_numpy(pixels), "pixels", scale=255), "dynamic", 11)
    with noise(0, "test"):
        visits = split.batch(torch.zeros(40_000, dtype=torch.long)).double()
    p = torch.from_numpy(pixels[0]).double() / 255
    within(visits, p, resolve=0.02)
    outside(visits, (p > 0.5).double())


def test_frozen_draws_once_what_is_dynamic_and_leaves_the_rest(split: Split) -> None:
    assert split.frozen() is split
    frozen = binarised(split, "dynamic", 11).frozen()
    assert torch.equal(whole(frozen), whole(frozen))
    assert torch.equal(whole(frozen), whole(binarised(split, "fixed", 11)))


def test_a_binarised_split_in_memory_is_stored_as_bytes(pixels: np.ndarray) -> None:
    split = binarised(Split("test", torch.from_numpy(pixels), "pixels", scale=255), "fixed", 11)
    assert isinstance(split.values, Tensor)
    assert (split.values.dtype, split.pending, split.scale) == (torch.uint8, "none", 1.0)


def test_the_mean_is_that_of_x_and_under_dynamic_its_expectation(split: Split, pixels: np.ndarray) -> None:
    expected = torch.from_numpy(pixels).double().mean(0) / 255
    for how in ("none", "dynamic"):
        mean = binarised(split, how, 11).mean()
        assert mean.dtype == torch.float64
        torch.testing.assert_close(mean, expected, rtol=1e-7, atol=0)
    once = binarised(split, "fixed", 11)
    torch.testing.assert_close(once.mean(), whole(once).double().mean(0), rtol=0, atol=1e-12)


def test_streaming_in_small_blocks_changes_nothing(split: Split, monkeypatch: pytest.MonkeyPatch) -> None:
    before = [binarised(split, how, 11) for how in ("none", "fixed", "dynamic")]
    digests = [each.digest() for each in before]
    mean, extent = split.mean(), split.extent()
    monkeypatch.setattr(module, "CELLS", 30)
    after = [binarised(split, how, 11) for how in ("none", "fixed", "dynamic")]
    assert [each.digest() for each in after] == digests
    torch.testing.assert_close(split.mean(), mean, rtol=0, atol=1e-12)
    assert split.extent() == extent


def test_the_digest_sees_one_value_the_order_and_the_shape(pixels: np.ndarray) -> None:
    split = Split("train", torch.from_numpy(pixels), "pixels", scale=255)
    changed = pixels.copy()
    changed[5, 0, 1, 1] ^= 1
    variants = [changed, pixels[::-1].copy(), pixels[:-1], pixels.reshape(N, 15)]
    digests = {replace(split, values=torch.from_numpy(v)).digest() for v in variants} | {split.digest()}
    assert len(digests) == 5
    assert all(len(digest) == 16 for digest in digests)
    assert binarised(split, "fixed", 1).digest() != binarised(split, "fixed", 2).digest()


def test_the_extent_is_of_x_as_it_is_fed(split: Split, pixels: np.ndarray) -> None:
    low, high = split.extent()
    assert low == np.float32(pixels.min() / 255)
    assert high == np.float32(pixels.max()) / np.float32(255)


@pytest.mark.parametrize("scale", [3, 7, 49, 103, 255])
def test_the_largest_value_over_itself_is_one_and_not_a_little_more(scale: int) -> None:
    split = Split("train", torch.tensor([[0.0], [float(scale)]]), "x", scale=scale)
    assert split.extent() == (0.0, 1.0)
    assert binarised(split, "dynamic", 0).batch(torch.tensor([0, 1, 1])).tolist() == [[0.0], [1.0], [1.0]]


def test_a_split_moves_to_a_device(split: Split) -> None:
    moved = split.to(torch.device("meta")) if isinstance(split.values, Tensor) else split.to(torch.device("cpu"))
    assert moved.device.type == ("meta" if isinstance(split.values, Tensor) else "cpu")
    assert len(moved) == N


@pytest.mark.parametrize("how", ["threshold", "fixed", "dynamic"])
@pytest.mark.parametrize("bad", [-0.1, 1.1, 255.0])
def test_binarising_needs_x_from_0_to_1(split: Split, how: str, bad: float) -> None:
    with pytest.raises(UserError, match=r"needs x in \[0, 1\]") as told:
        binarised(Split("train", torch.tensor([[0.5, bad]]), "mine.npy"), how, 0)
    assert "mine.npy" in str(told.value)
    assert "data.scale" in str(told.value)


def three(binarize: str, seed: int = 0) -> Dataset:
    x = torch.rand(200, 4, generator=torch.Generator().manual_seed(3))
    return assemble("x", *(Split(name, x, "x") for name in ("train", "valid", "test")), binarize, seed)


def test_dynamic_means_afresh_in_training_and_once_elsewhere() -> None:
    data = three("dynamic")
    assert (data.train.pending, data.valid.pending, data.test.pending) == ("dynamic", "none", "none")
    assert torch.equal(whole(data.test), whole(data.test))
    assert torch.equal(whole(data.test), whole(three("fixed").test))


def test_splits_have_noise_of_their_own_which_depends_on_the_seed() -> None:
    data, again, other = three("fixed"), three("fixed"), three("fixed", seed=1)
    assert torch.equal(whole(data.test), whole(again.test))
    assert not torch.equal(whole(data.test), whole(other.test))
    assert not torch.equal(whole(data.test), whole(data.valid))
    assert not torch.equal(whole(data.train), whole(data.valid))


def test_a_dataset_hands_out_its_splits_by_name() -> None:
    data = three("none")
    assert data.split("valid") is data.valid
    assert data.shape == (4,)
    assert data.to(torch.device("meta")).test.device.type == "meta"
    with pytest.raises(UserError, match="Did you mean 'test'"):
        data.split("tset")


def test_splits_of_two_shapes_are_refused() -> None:
    splits = [Split(name, torch.rand(5, width), f"{name}.npy") for name, width in TWO_SHAPES.items()]
    with pytest.raises(UserError, match=r"train.npy \(train\) has shape \(4,\), but one of test.npy \(test\) has"):
        assemble("x", *splits, "none", 0)


TWO_SHAPES = {"train": 4, "valid": 4, "test": 3}
