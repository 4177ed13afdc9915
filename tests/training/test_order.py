"""The order in which an epoch visits the training data: what it promises, and that training keeps to it."""

import pytest
import torch
from torch import Tensor

from elbo_cli.data.split import Split
from elbo_cli.runtime import noise
from elbo_cli.training import loop
from elbo_cli.training.order import BLOCKS, visiting
from tests.experiments import experiment, stopped, trained

WINDOWS = [None, 1, 7, 64, 100, 640, 10**6]


def order(N: int, window: int | None, epoch: int = 1, seed: int = 0) -> Tensor:
    with noise(seed, "order", epoch):
        return visiting(N, window)


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("N", [1, 2, 63, 64, 65, 1000, 4097])
def test_every_datum_is_visited_once(N: int, window: int | None) -> None:
    assert order(N, window).sort().values.tolist() == list(range(N))


@pytest.mark.parametrize("window", WINDOWS)
def test_the_order_is_the_seeds_and_the_epochs_alone(window: int | None) -> None:
    assert torch.equal(order(1000, window), order(1000, window))
    assert not torch.equal(order(1000, window), order(1000, window, epoch=2))
    assert not torch.equal(order(1000, window), order(1000, window, seed=1))


def places(rows: Tensor, size: int) -> int:
    """How many blocks of neighbours the rows lie in."""
    return len(rows.div(size, rounding_mode="floor").unique())


def test_what_is_read_in_a_window_lies_in_few_places() -> None:
    N, window = 64_100, 6_400
    for rows in torch.split(order(N, window), window):
        assert places(rows, window // BLOCKS) <= BLOCKS + 1  # the short block moves the later windows by a part of one
    everywhere = order(N, None)[:window]
    assert places(everywhere, window // BLOCKS) > 600, "the negative control: 641 there are"


def test_within_a_window_neighbours_part() -> None:
    """Of two neighbours of a block, as many come next to each other as chance has it: 2 in a window of N data."""
    N = window = 64 * 64
    together = sum(int((order(N, window, epoch).diff().abs() == 1).sum()) for epoch in range(100))
    assert 150 < together < 250  # 200 and five standard errors of 14, less the ends of blocks; unshuffled 400,000


def test_blocks_come_in_any_order() -> None:
    """A block's place is uniform over the epoch: over 400 epochs its mean is the middle, within 4 standard errors."""
    N, window = 1_000, 320
    first = torch.stack([(order(N, window, epoch) < 5).nonzero().double().mean() for epoch in range(400)])
    assert (first.mean() - N / 2).abs() < 4 * N / 12**0.5 / 400**0.5


@pytest.mark.parametrize("window", [None, 64])
def test_training_visits_the_data_in_that_order(window: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Epoch after epoch, and after it was taken up again."""
    visits: list[Tensor] = []
    batch = Split.batch

    def noted(split: Split, index: Tensor) -> Tensor:
        if split.name == "train":
            visits.append(index)
        return batch(split, index)

    monkeypatch.setattr(Split, "batch", noted)
    trained(experiment(epochs=3, seed=5, shuffle_window=window))
    wanted = torch.cat([order(130, window, epoch, seed=5) for epoch in (1, 2, 3)])
    assert torch.equal(torch.cat(visits), wanted)
    past = stopped(experiment(epochs=3, seed=5, shuffle_window=window), 1)
    visits.clear()
    list(loop.fit(experiment(epochs=3, seed=5, shuffle_window=window), past))
    assert torch.equal(torch.cat(visits), wanted[130:])
