"""Where words go: a terminal, a pipe, or standard error while JSON has standard output; and how a command fails."""

import io
import json
import math
import os
import re
import signal
import sys
import threading
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext, redirect_stdout, suppress
from typing import TYPE_CHECKING, Any, NoReturn

from elbo_cli.errors import RunError, UserError, shown

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

# what torch says of a size that it cannot have
BEYOND = r"out of memory|allocate memory|Storage size calculation overflow|Overflow when unpacking"
WIDE = 160  # a pipe has no width: nothing is cut there


class Screen:
    """Standard output for eyes, or for one JSON object with everything for eyes on standard error."""

    def __init__(self, as_json: bool, silent: bool = False) -> None:
        self.as_json = as_json
        self._silent = silent
        self._answers = sys.stdout  # the true one: while JSON has it, what user code prints goes elsewhere
        self._console: Console | None = None

    @property
    def console(self) -> "Console":
        """Rich's console, made when it is first needed: its import would slow --help down."""
        if self._console is None:
            from rich.console import Console

            if isinstance(sys.stdout, io.TextIOWrapper):
                sys.stdout.reconfigure(errors="replace")  # a pipe that knows no Greek gets a question mark
            nowhere = open(os.devnull, "w") if self._silent else None  # noqa: PTH123, SIM115  # as long as the process
            self._console = Console(file=nowhere, stderr=self.as_json, highlight=False, markup=False, emoji=False)
            if not self._console.is_terminal:
                self._console.width = max(self._console.width, WIDE)
        return self._console

    def of(self, first: bool) -> "Screen":
        """The screen of one of several processes: the first one's is this, the others' shows nothing."""
        return self if first else Screen(self.as_json, silent=True)

    def say(self, text: str) -> None:
        """A line for eyes; what the user typed is never read as markup, nor as a terminal's commands."""
        self.console.print(shown(text), soft_wrap=True)

    def show(self, what: "RenderableType") -> None:
        """A table or a picture for eyes."""
        self.console.print(what)

    def write(self, text: str) -> None:
        """Text for other programs, as it is, on standard output."""
        if not self._silent:
            self._answers.write(text)
            self._answers.flush()

    def emit(self, answer: Mapping[str, Any]) -> None:
        """The answer as JSON, if JSON was asked for."""
        if self.as_json:
            self.write(json.dumps(_sayable(answer), allow_nan=False) + "\n")

    def presets(self, presets: Mapping[str, str]) -> None:
        """The presets and what they are for."""
        width = max(map(len, presets))
        for name, summary in presets.items():
            self.say(f"{name:<{width}}  {summary}")
        self.say("\nWrite one with: elbo init NAME")


def _sayable(answer: Any) -> Any:
    """An answer in which null stands for what JSON cannot say: nan and the infinities."""
    if isinstance(answer, Mapping):
        return {key: _sayable(value) for key, value in answer.items()}
    if isinstance(answer, list | tuple):
        return [_sayable(value) for value in answer]
    return None if isinstance(answer, float) and not math.isfinite(answer) else answer


class Stopped(Exception):
    """The user's Ctrl-C or the system's SIGTERM, with a sentence on how to go on."""


@contextmanager
def reporting_errors(screen: Screen) -> Iterator[None]:
    """Exit codes: 2 for a user's mistake, 1 for a failure, 130 for Ctrl-C, each with a sentence and no traceback."""
    quiet = redirect_stdout(sys.stderr) if screen.as_json else nullcontext()
    with quiet, _terminable():
        try:
            yield
        except UserError as error:
            _leave(f"Error: {error}", 2)
        except RunError as error:
            _leave(f"Failed: {error}", 1)
        except (KeyboardInterrupt, Stopped) as error:
            _leave(("\n" if sys.stderr.isatty() else "") + (str(error) or "Stopped."), 130)
        except BrokenPipeError:
            _leave_quietly()
        except Exception as error:
            _leave(f"Failed: {told(error)}", 1)


@contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM is Ctrl-C meanwhile: a scheduler that ends a job sends it."""
    if threading.current_thread() is not threading.main_thread():  # the only one that signals come to
        yield
        return
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def told(error: Exception) -> str:
    """What is said of an error: its own sentence, or one for what nothing expected (ELBO_TRACEBACK=1 shows it)."""
    if isinstance(error, RunError | UserError):
        return str(error)
    if os.environ.get("ELBO_TRACEBACK"):
        traceback.print_exception(error)
    if isinstance(error, MemoryError) or re.search(BEYOND, str(error)):
        return "there is not enough memory. A smaller model, train.batch_size, --tile or --limit needs less."
    what = " ".join(f"{type(error).__name__}: {error}".split())[:300]
    if isinstance(error, OSError):
        return f"the system refuses: {what}."
    return f"{what}. This is a fault of elbo's: please report it, with what ELBO_TRACEBACK=1 shows."


def _leave(sentence: str, code: int) -> NoReturn:
    rank = os.environ.get("RANK", "0")  # of the processes that torchrun started; the first speaks for itself
    sys.stderr.write(shown(sentence if rank == "0" else f"[process {rank}] {sentence}") + "\n")
    raise SystemExit(code) from None


def _leave_quietly() -> NoReturn:
    """The reader went away, and with it the use of a message: also of Python's own, when it closes the stream."""
    with suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.__stdout__.fileno())  # type: ignore[union-attr]  # then it is None
    raise SystemExit(1) from None
