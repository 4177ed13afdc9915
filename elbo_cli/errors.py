"""What a user is told when something cannot be done. No imports beyond the standard library."""

from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")


class UserError(Exception):
    """A mistake of the user's: one sentence that says what was found, what is allowed and what to type. Exit code 2."""


class RunError(Exception):
    """A failure of ours or of the numbers (a NaN, a full disk): one sentence. Exit code 1."""


def nearest(name: str, names: Iterable[str]) -> str:
    """`" Did you mean 'x'?"` for the closest of `names`, or nothing where none is close."""
    close = get_close_matches(name, list(names), n=1)
    return f" Did you mean '{close[0]}'?" if close else ""


def choose(table: Mapping[str, T], name: str, what: str) -> T:
    """The entry of a family by its name.

    Raises:
        UserError: the family has no such name; the message gives the nearest and all there are.
    """
    if name not in table:
        raise UserError(f"No {what} is called '{name}'.{nearest(name, table)} There are: {', '.join(table)}.")
    return table[name]


def need_extra(package: str, extra: str, purpose: str) -> UserError:
    """The error for an optional package that is not installed; it names the extra to install."""
    return UserError(f"{purpose} needs the package '{package}': pip install 'elbo-cli[{extra}]'.")


def called(paths: str | Path | Sequence[str | Path]) -> str:
    """What messages and tables call files: as they were given, and of a list the first."""
    if isinstance(paths, str | Path):
        return str(paths)
    return str(paths[0]) if len(paths) == 1 else f"{paths[0]} and {len(paths) - 1} more"


def printable(text: str, width: int = 300) -> str:
    """`text` on one line, without control characters or lone surrogates, cut at `width`: safe for any terminal."""
    safe = _escaped(text[: width + 1])
    return safe if len(safe) <= width else safe[: width - 3] + "..."


def shown(text: str) -> str:
    """Lines for a terminal or a log: what the user named may hold escape sequences, and none of them is obeyed."""
    return "\n".join(_escaped(line) for line in text.split("\n"))


def _escaped(text: str) -> str:
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
