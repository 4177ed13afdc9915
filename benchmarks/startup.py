"""What a command costs before it works: CPU seconds of the help pages, and from torch's import to the first step."""

import resource
import subprocess
import sys
from collections.abc import Callable, Iterator

from benchmarks.compare import Row, Setting, interleave, row

PAGES = ("", "train", "evaluate", "gap", "runs", "check", "init")
HELP, FIRST = 0.3, 1.0  # seconds that are promised


def study(setting: Setting) -> Iterator[Row]:
    """Each help page beside an empty Python, the first step beside the import of torch."""
    for page in PAGES:
        words = ("-m", "elbo_cli", *page.split(), "--help")
        name = " ".join(("elbo", *page.split(), "--help"))
        seconds = interleave({name: cpu(*words), "an empty Python": cpu("-c", "pass")}, rounds=5)
        yield row(f"start: {name}", seconds, name, "an empty Python", promised=HELP)
    seconds = interleave({"first step": first_step, "import torch": cpu("-c", "import torch")}, rounds=5)
    yield row("start: elbo train on digits, from torch's import", seconds, "first step", "import torch", promised=FIRST)


def cpu(*words: str) -> Callable[[], float]:
    """CPU seconds of a Python process."""

    def run() -> float:
        before = _children()
        subprocess.run([sys.executable, *words], check=True, stdout=subprocess.DEVNULL)
        return _children() - before

    return run


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def first_step() -> float:
    """From the import of torch to the first step, the gap before the first epoch included."""
    words = [sys.executable, "-m", "benchmarks.first_step"]
    ended = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False)
    return float(ended.stdout.split()[0])
