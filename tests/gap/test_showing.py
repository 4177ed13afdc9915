"""How many k-hats of so many draws alarm is foretold as it happens, and the least K is the least."""

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from elbo_cli.bounds.pareto import khat, tail_size, threshold
from elbo_cli.gap.showing import LARGEST, alarms, draws_to_show, edge
from elbo_cli.gap.verdict import EXCUSED


def pareto(k: float, K: int, N: int) -> torch.Tensor:
    """K log-weights of N data whose tail index is k: w = U^-k."""
    return -k * torch.rand(K, N, dtype=torch.float64).log()


def khats(k: float, K: int, N: int) -> torch.Tensor:
    largest = pareto(k, K, N).sort(0, descending=True).values[: tail_size(K) + 1]
    return khat(largest, K)


def weighed(values: torch.Tensor, K: int = 64) -> list[Any]:
    """What a pilot found, as far as it is looked at."""
    return [SimpleNamespace(proposal=SimpleNamespace(K=K, khat=values))]


@pytest.mark.parametrize("k", [0.3, 0.5, 0.65])
@pytest.mark.parametrize("K", [64, 256, 1000])
def test_the_share_of_alarms_is_what_pareto_tails_give(k: float, K: int) -> None:
    """To 0.06; without the pull of k-hat's prior a share of 64 draws would be 0.1 or more off."""
    seen = (khats(k, K, 3000) > threshold(K)).double().mean().item()
    assert abs(seen - alarms(k, K)) < 0.06


@pytest.mark.parametrize("k", [0.3, 0.45, 0.5])
def test_a_pilot_foretells_the_least_number_that_shows(k: float) -> None:
    K = draws_to_show(weighed(khats(k, 64, 4000)), 4000)
    assert 64 <= K < LARGEST
    assert (khats(k, K, 3000) > threshold(K)).double().mean() < EXCUSED + 0.02
    assert K == 64 or alarms(k, K - 64) > EXCUSED - 0.06, "fewer would have shown it too"


def test_heavier_tails_take_more() -> None:
    found = [draws_to_show(weighed(torch.full((10_000,), k)), 10_000) for k in (0.3, 0.45, 0.5, 0.54)]
    assert found == sorted(found)
    assert found[-1] > 2 * found[0]


def test_what_a_pilot_does_not_show_is_not_planned_for() -> None:
    assert draws_to_show(weighed(torch.full((1000,), 0.9)), 1000) == 0  # no K helps
    assert draws_to_show(weighed(torch.full((1000,), math.inf)), 1000) == 0
    assert draws_to_show(weighed(torch.full((1000,), 0.5), K=8), 1000) == 0  # two weights have no tail
    few = draws_to_show(weighed(torch.full((4,), 0.5)), 10_000)
    assert few < draws_to_show(weighed(torch.full((4000,), 0.5)), 10_000), "the k-hats of four data are no median"


def test_noise_of_k_hats_makes_no_heavy_tail_and_a_spread_of_data_does() -> None:
    """Where every datum has a tail index of 0.4, the quantile of the k-hats themselves is above 0.6."""
    alike, mixed = khats(0.4, 64, 4000), torch.cat([khats(k, 64, 1000) for k in (0.1, 0.3, 0.5, 0.9)])
    assert edge(weighed(alike)) < 0.57
    assert alike.quantile(0.8) > 0.6
    assert 0.6 < edge(weighed(mixed)) < 0.95
    assert edge(weighed(torch.tensor([0.3, math.inf]))) == math.inf
