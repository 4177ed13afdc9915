"""Where words go: a terminal, a pipe, or standard error while JSON has standard output; and how a command fails."""

import json
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from elbo_cli.errors import RunError, UserError

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

WIDE = 160  # a pipe has no width: nothing is cut there


class Screen:
    """Standard output for eyes, or for one JSON object with everything for eyes on standard error."""

    def __init__(self, as_json: bool) -> None:
        self.as_json = as_json
        self._console: Console | None = None

    @property
    def console(self) -> "Console":
        """Rich's console, made when it is first needed: its import would slow --help down."""
        if self._console is None:
            from rich.console import Console

            self._console = Console(stderr=self.as_json, highlight=False, markup=False, emoji=False)
            if not self._console.is_terminal:
                self._console.width = max(self._console.width, WIDE)
        return self._console

    def say(self, text: str) -> None:
        """A line for eyes; what the user typed is never read as markup."""
        self.console.print(text, soft_wrap=True)

    def show(self, what: "RenderableType") -> None:
        """A table or a picture for eyes."""
        self.console.print(what)

    def emit(self, answer: Mapping[str, Any]) -> None:
        """The answer as JSON, if JSON was asked for."""
        if self.as_json:
            sys.stdout.write(json.dumps(answer, allow_nan=False) + "\n")
            sys.stdout.flush()

    def presets(self, presets: Mapping[str, str]) -> None:
        """The presets and what they are for."""
        width = max(map(len, presets))
        for name, summary in presets.items():
            self.say(f"{name:<{width}}  {summary}")
        self.say("\nWrite one with: elbo init NAME")


class Stopped(Exception):
    """The user's Ctrl-C or the system's SIGTERM, with a sentence on how to go on."""


@contextmanager
def reporting_errors(screen: Screen) -> Iterator[None]:
    """Exit codes: 2 for a user's mistake, 1 for a failure, 130 for Ctrl-C, each with a sentence and no traceback."""
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    except UserError as error:
        _leave(f"Error: {error}", 2)
    except RunError as error:
        _leave(f"Failed: {error}", 1)
    except (KeyboardInterrupt, Stopped) as error:
        _leave(str(error) or "Stopped.", 130)
    except MemoryError:
        _leave("Failed: there is not enough memory for this.", 1)
    except BrokenPipeError:
        sys.stderr.close()  # the reader went away, and with it the use of a message
        raise SystemExit(1) from None


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _leave(sentence: str, code: int) -> None:
    sys.stderr.write(sentence + "\n")
    raise SystemExit(code) from None
