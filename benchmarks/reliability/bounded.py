"""A command in a folder of its own: a sentence or an answer, in bounded time and memory, and nothing outside."""

import os
from collections.abc import Callable
from pathlib import Path
from unicodedata import category

from benchmarks.reliability.child import elbo, fork, limit_memory, resident, unsaid

Words = list[str | Path]
GROWTH = 200.0  # MB over the harness's own: Optuna and SQLAlchemy are 60 of them
ROOM = 2**32  # bytes of address space more than the harness has, should that be wanted all the same
BUSY = 30.0  # seconds of the processor


def bounded(home: Path, lay: Callable[[Path], Words]) -> str | None:
    """What is wrong with how the command ended that `lay` prepares in a folder; None if nothing."""
    inside = home / "a" / "b"
    inside.mkdir(parents=True)
    words = lay(inside)
    before, mine = outside(home), resident(os.getpid())
    ended = fork(lambda: at(inside, words), home.with_suffix(".log")).wait(60)
    if ended.killed:
        return "hangs"
    if said := unsaid(ended):
        return said
    if ended.cpu > BUSY or ended.peak - mine > GROWTH:
        return f"took {ended.cpu:.0f} s and {ended.peak - mine:.0f} MB: {ended.said[-200:]}"
    if bad := obeyed(ended.said):
        return f"control characters reach the terminal: {bad[:5]}"
    return f"wrote outside: {outside(home) - before}" if outside(home) - before else None


def at(home: Path, words: Words) -> None:
    """The command, in a folder."""
    limit_memory(ROOM)
    os.chdir(home)
    elbo(*words)


def outside(home: Path) -> set[str]:
    """What there is around the folder a/b."""
    return {str(path) for path in home.rglob("*") if home / "a" / "b" not in path.parents}


def obeyed(said: str) -> list[str]:
    """The characters that a terminal would obey."""
    return [c for c in said if c != "\n" and category(c) == "Cc"]
