"""The command `elbo` as a test types it: in this process, for speed, or in one of its own."""

import os
import signal
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

from elbo_cli.cli import app

ROOT = Path(__file__).parents[2]
TINY = """\
data: {name: digits, binarize: dynamic}
model: {latent_dim: 2, encoder: {hidden: [16]}, decoder: {hidden: [16]}}
train: {epochs: 2, batch_size: 200, gap_samples: 4, gap_examples: 20}
"""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a command ended with."""

    code: int
    out: str
    err: str


def elbo(*words: str | Path) -> Answer:
    """The command, in this process and this folder."""
    out, err = StringIO(), StringIO()
    code: object = 0
    with redirect_stdout(out), redirect_stderr(err):
        try:
            app(args=[str(word) for word in words], prog_name="elbo")
        except SystemExit as end:
            code = end.code or 0
    assert isinstance(code, int), code
    return Answer(code, out.getvalue(), err.getvalue())


def start(*words: str | Path, cwd: Path, **environment: str) -> "subprocess.Popen[str]":
    """The command as a process of its own, running."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # behind nohup or &: a child would inherit that and be deaf
        signal.signal(signal.SIGINT, signal.default_int_handler)
    return subprocess.Popen(
        [sys.executable, "-m", "elbo_cli", *map(str, words)],
        cwd=cwd,
        env=os.environ
        | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
        | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def process(*words: str | Path, cwd: Path, **environment: str) -> Answer:
    """The command as a process of its own, to its end."""
    running = start(*words, cwd=cwd, **environment)
    out, err = running.communicate(timeout=120)
    return Answer(running.returncode, out, err)
