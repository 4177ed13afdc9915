"""Where Optuna keeps a sweep: a journal's file, or a database. The storage may be wrong, or a stranger's."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock

from elbo_cli.config.sweeps import Plan
from elbo_cli.data.files import first_line
from elbo_cli.errors import RunError, UserError
from elbo_cli.files import refuse_file

BEGINNING = b'{"op_code":'  # of every line of a journal
LARGEST = 2**30  # bytes; 10,000 runs take some 30 MB
LINE = 2**20  # bytes that a line may have
FORGETFUL = ("sqlite://", "sqlite:///:memory:")  # databases of one process alone


def named(plan: Plan) -> str:
    """A database's URL, or a journal's path."""
    return plan.sweep.storage or str(plan.folder / "journal.log")


def open_storage(optuna: Any, plan: Plan) -> Any:
    """A database by its URL; else a journal, whose lock no crash leaves behind."""
    where = named(plan)
    if "://" in where:
        return where
    backend = optuna.storages.journal.JournalFileBackend(where, lock_obj=_JournalLock(Path(where)))
    return optuna.storages.JournalStorage(backend)


def refuse_storage(plan: Plan) -> None:
    """Insist that a sweep can be kept where it is to be: Optuna would write to the end of any file.

    Raises:
        UserError: there is something else, or it would be forgotten.
    """
    where = named(plan)
    if where in FORGETFUL:
        raise UserError(f"storage: {where} is kept in memory, and no two workers share it. Give a file.")
    if "://" in where:
        return
    path = Path(where)
    if plan.sweep.storage:
        refuse_file(path, "storage:")
    if path.exists() and not path.is_file():
        raise UserError(f"storage: {path} is no file. Give the name of a file, which is made if it is not there.")
    if not path.is_file():
        return
    with path.open("rb") as file:
        head = file.read(len(BEGINNING))
    if not BEGINNING.startswith(head):
        raise UserError(f"storage: {path} is no journal of Optuna's, and nothing is written to it. Give another file.")
    if path.stat().st_size > LARGEST:
        raise UserError(f"storage: {path} has {path.stat().st_size:,} bytes, more than any sweep. Give another file.")


@contextmanager
def reached(plan: Plan, kind: type[UserError | RunError] = RunError) -> Iterator[None]:
    """Tell in a sentence what Optuna and the drivers below it meet in a storage that is none.

    Raises:
        UserError, RunError: `kind`, in the place of their exceptions; the system's own are let through.
    """
    try:
        yield
    except (UserError, RunError, OSError, MemoryError):
        raise
    except Exception as error:
        where = re.sub(r"//[^/@]*@", "//...@", named(plan))  # without the password
        raise kind(
            f"The storage {where} cannot be used: {first_line(error)}. It may be damaged, of another format or out of "
            "reach. Give another storage, or another folder."
        ) from error


class _JournalLock:
    """Optuna's own would stay behind for half a minute where a worker was killed in it."""

    def __init__(self, path: Path) -> None:
        self.path, self.lock = path, FileLock(f"{path}.lock")

    def acquire(self) -> bool:
        """Wait for it, and drop what a worker that was killed in a write has left."""
        self.lock.acquire()
        _drop_torn_line(self.path)
        return True

    def release(self) -> None:
        """Let go of it."""
        self.lock.release()


def _drop_torn_line(path: Path) -> None:
    """Cut a journal at its last newline: the next line would be glued to half a one, and neither could be read."""
    with path.open("rb+") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - 1))
        if file.read() in (b"", b"\n"):
            return
        file.seek(max(0, size - LINE))
        tail = file.read()
        file.truncate(size - len(tail) + tail.rfind(b"\n") + 1)
