"""What is said of a machine that has more to do than cores."""

from pathlib import Path

import pytest

from elbo_cli import cores
from elbo_cli.cores import crowded


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """Four cores, idle, and no container."""
    monkeypatch.setattr("os.sched_getaffinity", lambda process: {0, 1, 2, 3}, raising=False)
    monkeypatch.setattr("os.cpu_count", lambda: 4)
    monkeypatch.setattr("os.getloadavg", lambda: (0.0, 9.0, 9.0), raising=False)
    monkeypatch.setattr(cores, "QUOTA", tmp_path / "none")
    return monkeypatch


@pytest.mark.parametrize(("threads", "processes"), [(1, 1), (4, 1), (2, 2), (1, 4)])
def test_where_there_is_room_nothing_is_said(threads: int, processes: int, machine: pytest.MonkeyPatch) -> None:
    assert crowded(threads, processes) is None


@pytest.mark.parametrize(("threads", "processes", "cure"), [(5, 1, 4), (4, 2, 2), (2, 3, 1), (1, 9, 1)])
def test_more_threads_than_cores_are_told(threads: int, processes: int, cure: int, machine: pytest.MonkeyPatch) -> None:
    said = crowded(threads, processes)
    assert said is not None
    assert said.startswith(f"{threads * processes} threads are to share 4 cores")
    assert said.endswith(f"Type threads={cure}.")


@pytest.mark.parametrize(
    ("load", "threads", "told"), [(3.4, 1, False), (3.6, 1, True), (2.4, 2, False), (2.6, 2, True)]
)
def test_a_busy_neighbour_is_told(load: float, threads: int, told: bool, machine: pytest.MonkeyPatch) -> None:
    machine.setattr("os.getloadavg", lambda: (load, 0.0, 0.0))
    said = crowded(threads)
    assert (said is not None) == told
    if said:
        assert f"has work for {load:.1f} already, beside {threads} of ours" in said
        assert ("threads=1" in said) == (threads > 1)


def test_the_load_of_a_machine_of_which_we_have_a_part_is_not_ours(machine: pytest.MonkeyPatch) -> None:
    machine.setattr("os.getloadavg", lambda: (60.0, 0.0, 0.0))
    machine.setattr("os.cpu_count", lambda: 64)
    assert crowded(1) is None
    assert crowded(5) is not None


@pytest.mark.parametrize(
    ("quota", "room"), [("200000 100000", 2), ("150000 100000", 2), ("10000 100000", 1), ("max 100000", 4), ("", 4)]
)
def test_a_containers_quota_counts(quota: str, room: int, machine: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "cpu.max").write_text(quota)
    machine.setattr(cores, "QUOTA", tmp_path / "cpu.max")
    assert cores.cores() == room


def test_a_system_that_tells_no_load_and_no_affinity_is_taken_at_its_word(machine: pytest.MonkeyPatch) -> None:
    machine.delattr("os.getloadavg")
    machine.delattr("os.sched_getaffinity")
    assert cores.cores() == 4
    assert crowded(4) is None
