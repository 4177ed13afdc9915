"""The harness of benchmarks/reliability with small counts, so that what it found stays mended."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# `disk` mounts, changes user and needs a folder that another user can enter: it is run by `make reliability`
SMALL = {
    "kill": 14,
    "corrupt": 40,
    "hostile": None,
    "surfaces": None,
    "sweep_files": None,
    "fuzz": 25,
    "numbers": 6,
    "load": 400,
}

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="it forks, mounts and reads /proc")


@pytest.mark.parametrize("subject", SMALL)
def test_nothing_is_lost_and_nothing_is_let_in(subject: str, tmp_path: Path) -> None:
    count = SMALL[subject]
    ended = subprocess.run(
        [sys.executable, "-m", "benchmarks.reliability", subject, *(["--count", str(count)] if count else [])],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1", "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=900,
    )
    lines = [json.loads(line) for line in ended.stdout.splitlines()]
    assert [line for line in lines if line["lost"]] == [], ended.stderr
    assert ended.returncode == 0, ended.stderr
    assert lines
    assert all(line["tried"] or line.get("skipped") for line in lines)
