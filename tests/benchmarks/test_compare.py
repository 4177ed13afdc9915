"""The one place that concludes: contenders in turn, ratios of medians, no conclusion that the spread will not bear."""

import sys
from pathlib import Path

import pytest

from benchmarks.compare import interleave, row
from benchmarks.worker import Timed, Worker


def test_contenders_take_turns_and_the_warm_up_does_not_count() -> None:
    order: list[str] = []
    ticks = iter(float(n) for n in range(100))

    def work(name: str) -> float:
        order.append(name)
        return next(ticks)

    seconds = interleave({"a": lambda: work("a"), "b": lambda: work("b")}, rounds=3)
    assert "".join(order) == "ab" * 4
    assert seconds == {"a": [2.0, 4.0, 6.0], "b": [3.0, 5.0, 7.0]}


def test_what_does_not_time_itself_is_timed() -> None:
    seconds = interleave({"a": lambda: sum(range(10_000))}, rounds=2)
    assert len(seconds["a"]) == 2
    assert all(0 < each < 1 for each in seconds["a"])


def test_a_difference_beyond_the_spread_is_a_conclusion() -> None:
    found = row("work", {"ours": [1.0, 1.1, 1.0, 0.9], "theirs": [2.0, 2.0, 2.1, 1.9]}, "ours", "theirs")
    assert found["ratio"] == pytest.approx(0.5)
    assert found["conclusion"] == "ours takes 0.50 x the time of theirs"
    assert found["median"] == {"ours": 1.0, "theirs": 2.0}


def test_a_spread_wider_than_the_difference_concludes_nothing() -> None:
    found = row("work", {"ours": [1.0, 2.0, 0.8, 1.6], "theirs": [1.2, 1.2, 1.5, 1.3]}, "ours", "theirs")
    assert found["conclusion"] is None
    assert found["ratio"] == pytest.approx(1.3 / 1.25, abs=1e-3)
    assert row("same", {"a": [1.0] * 4, "b": [1.0] * 4}, "a", "b")["conclusion"] is None


def test_cpu_seconds_are_compared_where_all_have_them() -> None:
    ours, theirs = [Timed(5.0, 1.0)] * 4, [Timed(5.0, 4.0)] * 4
    assert row("work", {"a": ours, "b": theirs}, "a", "b")["ratio_cpu"] == 0.25
    assert "ratio_cpu" not in row("work", {"a": ours, "b": [1.0] * 4}, "a", "b")


CHILD = """
from benchmarks.worker import serve, wanted
wants = wanted()
def work():
    print("no answer")
    if wants["fails"]: raise ValueError("a peer's own failure")
    return 0.25
serve(work)
"""


@pytest.fixture
def child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "child.py").write_text(CHILD)
    monkeypatch.setattr("benchmarks.worker.ROOT", tmp_path)
    (tmp_path / "benchmarks").symlink_to(Path(__file__).parents[2] / "benchmarks")
    return "child"


def test_a_worker_answers_with_its_seconds_whatever_it_prints(child: str) -> None:
    with Worker(child, python=sys.executable, fails=False) as work:
        assert [work(), work()] == [0.25, 0.25]


def test_a_worker_that_fails_is_told_with_its_words(child: str) -> None:
    with Worker(child, python=sys.executable, fails=True) as work, pytest.raises(RuntimeError, match="own failure"):
        work()
