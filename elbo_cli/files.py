"""The one place that writes files, whole or not at all; and that reads those of a run, which may be a stranger's."""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from elbo_cli.errors import RunError, UserError

SMALL = 2**20  # bytes
HEADER = 2**24  # bytes of a checkpoint's header, at most; one of a thousand tensors has 100 kB
NAME, FOLDER, PLACE = 240, 255, 4000  # bytes: systems take 255 of a name, 4,096 of a path; a temporary name is longer


@contextmanager
def sentences(path: Path, what: str) -> Iterator[None]:
    """Turn the system's refusal to touch a file into a sentence with its name."""
    try:
        yield
    except OSError as error:
        raise RunError(f"Cannot {what} {path}: {error.strerror or error}.") from error


@contextmanager
def looking(path: Path | str) -> Iterator[None]:
    """Ask the system what is at a path that a user named; pathlib raises where it will not say.

    Raises:
        UserError: it will not: no permission, or a name too long.
    """
    try:
        yield
    except OSError as error:
        raise UserError(f"Cannot look at {path}: {error.strerror or error}. Give another place.") from error


def write_whole(path: Path, content: bytes | str) -> None:
    """Write to a temporary name beside `path`, flush to the disk, rename: a reader sees the old file or the new one.

    Raises:
        RunError: the system refuses (a full disk, no permission); the old file is as it was.
    """
    write_pieces(path, [content.encode() if isinstance(content, str) else content])


def write_pieces(path: Path, pieces: Iterable[bytes]) -> None:
    """`write_whole` for what need not be in memory at once.

    Raises:
        RunError: as there.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with sentences(path, "write"):
        try:
            with temporary.open("wb") as file:
                for piece in pieces:
                    file.write(piece)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
            _flush_folder(path.parent)
        finally:
            temporary.unlink(missing_ok=True)


def read_small(path: Path) -> bytes:
    """A file that elbo writes in a few kB, or a user by hand; no more is read, for there may be no end.

    Raises:
        OSError: it cannot be read.
        ValueError: it has more than a megabyte.
    """
    with path.open("rb") as file:
        content = file.read(SMALL + 1)
    if len(content) > SMALL:
        raise ValueError(f"{path} has more than {SMALL:,} bytes")
    return content


def append(path: Path, line: bytes | str) -> None:
    """Add a line, or bytes, to the end of a file and flush it to the disk.

    Raises:
        RunError: the system refuses.
    """
    with sentences(path, "write"), path.open("ab") as file:
        file.write(line.encode() if isinstance(line, str) else line)
        file.flush()
        os.fsync(file.fileno())


def make_folder(path: Path) -> None:
    """Make a folder and those above it.

    Raises:
        RunError: the system refuses.
    """
    with sentences(path, "make the folder"):
        path.mkdir(parents=True, exist_ok=True)


def sweep(folder: Path) -> None:
    """Remove what a killed `write_whole` left in a folder; call it only where nobody else is writing.

    Raises:
        RunError: the system refuses.
    """
    with sentences(folder, "clear"):
        for left in folder.glob(".*.tmp"):
            left.unlink(missing_ok=True)


def refuse_place(path: Path, option: str) -> None:
    """Insist that a new file or folder can be made at `path`, before the long work begins.

    Raises:
        UserError: it has no possible name, or what would hold it is no folder or may not be written to.
    """
    if "\0" in str(path):
        raise UserError(f"{option} {path}: a name has no NUL in it. Give another place.")
    _refuse_long(path, option)
    above = next((folder for folder in path.absolute().parents if os.path.lexists(folder)), path.absolute())
    with looking(path):
        if not above.is_dir():
            raise UserError(f"{option} {path}: {above} is no folder. Give another place.")
    if not os.access(above, os.W_OK | os.X_OK):
        raise UserError(f"{option} {path}: the folder {above} may not be written to. Give another place.")


def refuse_file(path: Path, option: str) -> None:
    """Insist that a file can be written at `path`, before the long work begins.

    Raises:
        UserError: it is a folder, or its folder is not there or may not be written to.
    """
    refuse_place(path, option)
    with looking(path):
        if path.is_dir():
            raise UserError(f"{option} {path} is a folder: give a file's name.")
        if not path.parent.is_dir():
            raise UserError(f"{option} {path}: there is no folder {path.parent}. Make it first, or give another place.")


def _refuse_long(path: Path, option: str) -> None:
    folders = ((part, FOLDER) for part in path.parts[:-1])
    for part, longest in (*folders, (path.name, NAME), (str(path.absolute()), PLACE)):
        size = len(os.fsencode(part))
        if size > longest:
            raise UserError(f"{option} {part[:40]}... has {size:,} bytes, {longest:,} at most. Give a shorter name.")


def _flush_folder(folder: Path) -> None:
    """A rename is on the disk only once its folder is."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
