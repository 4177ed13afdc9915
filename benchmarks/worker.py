"""A contender in a process of its own, which waits for its turn: peers live in other environments than elbo.

The parent writes a line, the child does its work once and answers with the seconds that it took.
This file imports the standard library only: a peer's environment has no elbo in it.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

ROOT = Path(__file__).parent.parent


def serve(work: Callable[[], Any]) -> None:
    """The child's side: do `work` for every line that comes, and answer with its seconds."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints is no answer
    print("ready", file=answers, flush=True)
    for _ in sys.stdin:
        began, worked = time.perf_counter(), time.process_time()
        told = work()
        spent = told if isinstance(told, float) else time.perf_counter() - began
        print(json.dumps([spent, time.process_time() - worked]), file=answers, flush=True)


def wanted() -> dict[str, Any]:
    """The child's side: what the parent wants, as it was given to `Worker`."""
    return dict(json.loads(sys.argv[1]))


class Timed(float):
    """Seconds on the wall, and in `cpu` those of all cores: what a busy neighbour takes is in the first alone."""

    cpu: float

    def __new__(cls, wall: float, cpu: float) -> Self:
        timed = super().__new__(cls, wall)
        timed.cpu = cpu
        return timed


class Worker:
    """The parent's side: a contender whose every call is one run in the child, in seconds."""

    def __init__(self, module: str, *, python: Path | str = sys.executable, threads: int = 1, **wants: Any) -> None:
        counts = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(threads))
        self.said = tempfile.TemporaryFile("w+")  # noqa: SIM115  # open as long as the child is
        self.child = subprocess.Popen(
            [str(python), "-m", module, json.dumps({"threads": threads, **wants})],
            cwd=ROOT,
            env=os.environ | counts | {"PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.said,
            text=True,
        )
        assert self._line() == "ready"

    def __call__(self) -> Timed:
        assert self.child.stdin is not None
        self.child.stdin.write("go\n")
        self.child.stdin.flush()
        return Timed(*json.loads(self._line()))

    def _line(self) -> str:
        assert self.child.stdout is not None
        line = self.child.stdout.readline().strip()
        if not line:
            code = self.child.wait()
            self.said.seek(0)
            raise RuntimeError(f"{self.child.args} ended with {code}:\n{self.said.read()[-2000:]}")
        return line

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.child.__exit__(kind, error, at)  # closes the pipes, at which the child ends, and waits for it
        self.said.close()
