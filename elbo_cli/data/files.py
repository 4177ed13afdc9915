"""Paths that exist, and what is said of a file that cannot be read."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

from elbo_cli.errors import UserError, nearest


def existing(path: str | os.PathLike[str], option: str) -> Path:
    """The path, with ~ expanded, if there is something there.

    Raises:
        UserError: there is not; the message names the first folder or file that is missing and its nearest neighbour.
    """
    if not str(path):
        raise UserError(f"{option} is empty: type {option}=FILE (or a folder of images).")
    with opening(path, option):
        found = Path(path).expanduser()
        if found.exists():
            return found
        missing = next(place for place in (found, *found.parents) if place.parent.is_dir())
        names = [entry.name for entry in islice(missing.parent.iterdir(), 10_000)]
    where = "" if missing == found else f" There is no folder {missing}."
    raise UserError(f"{option}={path} does not exist.{where}{nearest(missing.name, names)}")


@contextmanager
def opening(path: str | os.PathLike[str], option: str) -> Iterator[None]:
    """Turn what the system says of a path into a sentence that names the option.

    Raises:
        UserError: in the place of its errors: a name too long, an unknown ~user, a NUL in it, no permission.
    """
    try:
        yield
    except (OSError, RuntimeError, ValueError) as error:
        raise UserError(f"{option}={str(path)!r} cannot be opened: {first_line(error)}.") from error


@contextmanager
def reading(source: str | Path) -> Iterator[None]:
    """Turn whatever a library raises on a broken file into a sentence that names the file.

    Raises:
        UserError: in the place of any other exception. A parser that fails on a user's file has met a fault of the
            file, whatever it calls that.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        raise UserError(
            f"{source} cannot be read: {first_line(error)}. It may be truncated, damaged or of another format."
        ) from error


def bounded(size: int, limit: int, source: str | Path, cure: str) -> None:
    """Refuse, before any of it is allocated, what would need more memory than `limit` bytes.

    Raises:
        UserError: it would; `cure` says what to do.
    """
    if size > limit:
        raise UserError(f"{source} needs {size:,} bytes of memory, over the limit of {limit:,}. {cure}")


def first_line(error: BaseException) -> str:
    """What an exception says, in one line and without its full stop."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0].rstrip(".")
