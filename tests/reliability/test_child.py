"""The harness's own children."""

import signal
from pathlib import Path

from benchmarks.reliability.child import fork


def test_a_child_killed_before_its_first_word_has_said_nothing(tmp_path: Path) -> None:
    """On a busy machine it may not even have opened its log: that is an end like any other, and no failure of ours."""
    for i in range(20):
        child = fork(lambda: None, tmp_path / f"{i}.log")
        child.signal(signal.SIGKILL)
        assert child.wait().said == ""
