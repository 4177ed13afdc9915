"""Work in forked children: torch is imported once, and what a case does to its process hurts no other.

The parent never trains and never starts a thread, so that a fork is safe.
"""

import json
import os
import resource
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch

from benchmarks.reliability.tally import Tally
from elbo_cli.cli import app
from elbo_cli.commands import evaluation, gap, training  # noqa: F401  # with all that they import, once

torch.optim.Adam([torch.zeros(1, requires_grad=True)])  # its first use imports a compiler
T = TypeVar("T")

REMARK = "~"  # begins what is no loss, and is counted
UNCAUGHT = 70  # the exit code of a child whose exception nobody told in a sentence
FAULT = "This is a fault of elbo's"  # how the command says that it did not foresee something


@dataclass(frozen=True, slots=True)
class Ended:
    """How a child ended, and what it said."""

    code: int  # negative: the signal that ended it, as in subprocess
    said: str  # standard error and output
    seconds: float
    cpu: float = 0.0  # seconds of the processor: what a busy neighbour does not lengthen
    peak: float = 0.0  # MB of memory at its largest; from the harness's own size on, of which it is a copy

    @property
    def killed(self) -> bool:
        """Whether SIGKILL ended it."""
        return self.code == -signal.SIGKILL


@dataclass(slots=True)
class Child:
    """A forked child that runs, with its words going to a file."""

    pid: int
    log: Path
    began: float

    def signal(self, number: int) -> None:
        """Send it a signal."""
        os.kill(self.pid, number)

    @property
    def cpu(self) -> float:
        """Seconds of the processor that it has used."""
        user, system = Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")

    def says(self, word: str, limit: float = 60.0) -> bool:
        """Wait until it has said a word, and tell whether it did."""
        end = time.perf_counter() + limit
        while word not in self.log.read_text(errors="replace"):
            if time.perf_counter() > end:
                return False
            time.sleep(0.002)
        return True

    def wait(self, limit: float = 120.0) -> Ended:
        """Wait for its end; one that takes longer than `limit` seconds is killed, which its code then tells."""
        end = time.perf_counter() + limit
        while True:
            pid, status, used = os.wait4(self.pid, os.WNOHANG)
            if pid:
                code, seconds = os.waitstatus_to_exitcode(status), time.perf_counter() - self.began
                said = self.log.read_text(errors="replace")
                return Ended(code, said, seconds, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)
            if time.perf_counter() > end:
                os.kill(self.pid, signal.SIGKILL)
                end = float("inf")
            time.sleep(0.002)


def fork(work: Callable[[], object], log: Path) -> Child:
    """Do `work` in a child; its words go to `log`."""
    sys.stdout.flush()
    sys.stderr.flush()
    began = time.perf_counter()
    log.write_text("")
    pid = os.fork()
    if pid:
        return Child(pid, log, began)
    code = UNCAUGHT
    try:
        words = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND)
        os.dup2(words, 1)
        os.dup2(words, 2)
        os.close(words)
        work()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def elbo(*words: str | Path) -> None:
    """The command, in this process; it ends with SystemExit."""
    app(args=[str(word) for word in words], prog_name="elbo")


def unsaid(ended: Ended, codes: Sequence[int] = (0, 1, 2)) -> str | None:
    """What is wrong with how a command ended: another code, a traceback, no sentence; None if nothing."""
    tail = ended.said[-300:]
    if ended.code not in codes:
        return f"ended with {ended.code}: {tail}"
    if "Traceback" in ended.said or FAULT in ended.said:
        return f"not told in a sentence: {tail}"
    if ended.code in (1, 2) and not ended.said.strip():
        return "no sentence at all"
    return None


def resident(pid: int) -> float:
    """Resident memory of a process, MB; 0 once it has ended."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize() / 2**20
    except (OSError, IndexError):
        return 0.0


def limit_memory(extra: int) -> None:
    """Let this process have so many bytes of address space more than it has."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    size = pages * resource.getpagesize() + extra
    resource.setrlimit(resource.RLIMIT_AS, (size, size))


def trials(
    tally: Tally,
    cases: Sequence[tuple[str, T]],
    attempt: Callable[[T], str | None],
    *,
    seconds: float = 20.0,
    memory: int | None = None,
) -> None:
    """Try every case in a child that is made anew after each that ends or hangs it.

    Args:
        tally: where they are counted.
        cases: names with what `attempt` takes.
        attempt: None where the case survives, else what went wrong; `~words` survives and is counted under the words.
        seconds: a case that takes longer is a hang, and lost.
        memory: bytes of address space that a child may take more than the harness has.
    """
    start = 0
    while start < len(cases):
        start = _series(tally, cases, attempt, start, seconds, memory)


def _series(
    tally: Tally,
    cases: Sequence[tuple[str, T]],
    attempt: Callable[[T], str | None],
    start: int,
    seconds: float,
    memory: int | None,
) -> int:
    """Cases from `start` on, until one ends the child; returns where to go on."""
    inlet, outlet = os.pipe()
    pid = os.fork()
    if not pid:
        os.close(inlet)
        _attempts(outlet, [case for _, case in cases[start:]], attempt, memory)
    os.close(outlet)
    answers = Answers(inlet)
    while start < len(cases):
        said, why = answers.next(seconds)
        if said and said.startswith(REMARK):
            tally.notes[said[1:]] = int(tally.notes.get(said[1:], 0)) + 1
            said = None
        tally.count(cases[start][0], why or said)
        start += 1
        if why:
            os.kill(pid, signal.SIGKILL)
            break
    os.close(inlet)
    os.waitpid(pid, 0)
    return start


@dataclass(slots=True)
class Answers:
    """What a child says of its cases, a line of JSON for each."""

    pipe: int
    text: bytes = b""

    def next(self, seconds: float) -> tuple[str | None, str]:
        """Of the next case; and why there is nothing, where the child is silent."""
        while b"\n" not in self.text:
            if not select.select([self.pipe], [], [], seconds)[0]:
                return None, f"hangs: no answer in {seconds:g} s"
            if not (read := os.read(self.pipe, 65536)):
                return None, "the process ended"
            self.text += read
        line, _, self.text = self.text.partition(b"\n")
        said: str | None = json.loads(line)
        return said, ""


def _attempts(pipe: int, cases: Sequence[T], attempt: Callable[[T], str | None], memory: int | None) -> None:
    """In the child: an answer for each case, then the end."""
    try:
        if memory is not None:
            limit_memory(memory)
        for case in cases:
            try:
                said = attempt(case)
            except BaseException as error:
                last = traceback.extract_tb(error.__traceback__)[-1]
                said = f"{type(error).__name__}: {str(error)[:300]} ({last.filename}:{last.lineno})"
            os.write(pipe, json.dumps(said).encode() + b"\n")
    finally:
        os._exit(0)
