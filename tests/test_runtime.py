"""Derived seeds, noise that leaves nothing behind, and devices."""

import pytest
import torch

from elbo_cli.errors import UserError
from elbo_cli.runtime import DEVICES, abreast, derive, noise, open_device, settle


def test_a_derived_seed_is_the_same_for_ever() -> None:
    """Literals: a change of them changes every result there is, and must be meant."""
    assert derive(0) == 2631537505891389924
    assert derive(0, "train", 1, 0) == 8371218875334489826
    assert derive(1, "train", 1, 0) == 3442312640796883437


def test_every_place_has_a_seed_of_its_own() -> None:
    places = [
        (0,),
        (1,),
        (0, "a"),
        (0, "b"),
        (0, "a", 1),
        (0, "a", 11),
        (0, "a", 1, 1),
        (0, "a1"),
        (0, "a", "1"),
        (0, 1),
    ]
    assert len({derive(*place) for place in places}) == len(places)  # type: ignore[arg-type]
    many = {derive(0, "tile", i, j) for i in range(60) for j in range(60)}
    assert len(many) == 3600
    assert all(0 <= seed < 2**63 for seed in many)


def test_noise_depends_on_its_place_and_on_nothing_before_it() -> None:
    def drawn(seed: int, *path: str | int) -> list[float]:
        with noise(seed, *path):
            values: list[float] = torch.randn(3).tolist()
            return values

    first = drawn(0, "a")
    torch.randn(100)
    torch.manual_seed(99)
    assert drawn(0, "a") == first
    assert drawn(0, "b") != first
    assert drawn(1, "a") != first


def test_noise_leaves_the_global_generator_as_it_was() -> None:
    torch.manual_seed(5)
    expected = torch.randn(4).tolist()
    torch.manual_seed(5)
    with noise(0, "a"):
        torch.randn(1000)
    assert torch.randn(4).tolist() == expected


def fail() -> None:
    torch.randn(3)
    raise ZeroDivisionError


def test_noise_leaves_it_so_even_after_an_error() -> None:
    state = torch.get_rng_state()
    with pytest.raises(ZeroDivisionError), noise(0, "a"):
        fail()
    assert (torch.get_rng_state() == state).all()


def test_noise_within_noise_is_its_own() -> None:
    with noise(0, "outer"):
        torch.randn(2)
        expected = torch.randn(2).tolist()
    with noise(0, "outer"):
        torch.randn(2)
        with noise(0, "inner"):
            torch.randn(7)
        assert torch.randn(2).tolist() == expected


def test_a_device_is_opened_by_name() -> None:
    assert open_device("cpu") == torch.device("cpu")
    assert open_device("auto").type in DEVICES


def test_a_device_that_is_none_is_a_mistake_of_the_users() -> None:
    with pytest.raises(UserError, match=r"No device is called 'gpu'.*There are: auto, cpu, cuda"):
        open_device("gpu")
    if not torch.cuda.is_available():
        with pytest.raises(UserError, match=r"no device 'cuda'.*--device cpu"):
            open_device("cuda")


def test_a_device_without_float64_is_never_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Apple's: log-weights are summed in float64."""
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert open_device("auto") == torch.device("cpu")
    with pytest.raises(UserError, match=r"'mps' has no float64.*Type --device cpu"):
        open_device("mps")


def test_settling_sets_the_threads_and_flushes_denormals() -> None:
    settle(2)
    assert torch.get_num_threads() == 2
    settle(1)
    assert torch.get_num_threads() == 1
    assert (torch.tensor([1e-310], dtype=torch.float64) * 1).item() == 0


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_work_abreast_comes_back_in_order_with_its_own_noise(workers: int) -> None:
    def work(item: int) -> tuple[int, float, int]:
        with noise(0, "abreast", item):
            return item, torch.rand(()).item(), torch.get_num_threads()

    before = torch.get_num_threads()
    found = list(abreast(work, range(40), workers))
    assert [item for item, _, _ in found] == list(range(40))
    assert [number for _, number, _ in found] == [number for _, number, _ in abreast(work, range(40), 1)]
    assert {threads for _, _, threads in found} == {1}
    assert torch.get_num_threads() == before


def test_a_failure_abreast_is_told_and_the_rest_is_left() -> None:
    done: list[int] = []

    def work(item: int) -> int:
        if item == 3:
            raise ArithmeticError("three")
        done.append(item)
        return item

    with pytest.raises(ArithmeticError, match="three"):
        list(abreast(work, range(10_000), 2))
    assert len(done) < 100
    assert torch.get_num_threads() == 1


def test_who_stops_listening_stops_the_work() -> None:
    done: list[int] = []
    results = abreast(lambda item: done.append(item) or item, range(10_000), 2)
    assert next(results) == 0
    results.close()  # type: ignore[attr-defined]
    assert len(done) < 100
