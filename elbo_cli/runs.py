"""The run folder: config.yaml, manifest.json, metrics.csv and the checkpoints."""

import csv
import hashlib
import io
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields
from datetime import datetime
from pathlib import Path
from types import NoneType
from typing import Any, get_args, get_origin

from filelock import FileLock, Timeout

from elbo_cli import events
from elbo_cli.columns import csv_text
from elbo_cli.errors import RunError, UserError
from elbo_cli.files import append, looking, make_folder, read_small, refuse_place, sweep, write_whole
from elbo_cli.records import EpochRecord


@dataclass(frozen=True, slots=True)
class RunFolder:
    """Where everything of one training lies."""

    path: Path

    @property
    def config(self) -> Path:
        """The resolved config."""
        return self.path / "config.yaml"

    @property
    def manifest(self) -> Path:
        """Versions, machine, data digests: what it takes to repeat the run."""
        return self.path / "manifest.json"

    @property
    def metrics(self) -> Path:
        """One row per epoch."""
        return self.path / "metrics.csv"

    @property
    def last(self) -> Path:
        """The checkpoint of the last whole epoch, from which a run resumes."""
        return self.path / "last.safetensors"

    @property
    def best(self) -> Path:
        """The weights of the epoch with the best validation bound."""
        return self.path / "best.safetensors"

    @property
    def events(self) -> Path:
        """The same rows for TensorBoard, where they were asked for."""
        return self.path / "tensorboard" / events.FILE

    def files(self) -> list[Path]:
        """The files that are there."""
        paths = (self.config, self.manifest, self.metrics, self.events, self.last, self.best)
        return [path for path in paths if path.exists()]

    def create(self, config: str, manifest: dict[str, Any]) -> None:
        """Write config and manifest.

        Raises:
            RunError: the system refuses.
        """
        write_whole(self.config, config)
        write_whole(self.manifest, json.dumps(manifest, indent=2) + "\n")

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Make the folder and hold it for this process; the system lets go of it however the process ends.

        Raises:
            UserError: another process holds it.
            RunError: the system refuses.
        """
        make_folder(self.path)
        lock = FileLock(self.path / ".lock")
        try:
            lock.acquire(timeout=0)
        except Timeout as error:
            raise UserError(
                f"Another process is training in {self.path}. Wait for it, or train into another folder with --out."
            ) from error
        except OSError as error:
            raise RunError(f"Cannot lock {self.path}: {error.strerror or error}.") from error
        try:
            sweep(self.path)
            yield
        finally:
            lock.release()

    def log(self, record: EpochRecord) -> None:
        """Add the epoch's row to metrics.csv.

        Raises:
            RunError: the system refuses.
        """
        append(self.metrics, csv_text([record], None if self.metrics.exists() else EpochRecord))

    def begin_events(self) -> float:
        """Write the events of all rows anew, the same bytes as before: so they are never apart, whatever was killed.

        Returns:
            when the run began, seconds since 1970.

        Raises:
            RunError: the system refuses.
        """
        started = self._started()
        make_folder(self.events.parent)
        sweep(self.events.parent)
        write_whole(self.events, events.beginning(started) + events.events(self.records(), started))
        return started

    def _started(self) -> float:
        """What the manifest says; where somebody has changed it, its own time."""
        try:
            return datetime.fromisoformat(json.loads(read_small(self.manifest))["started"]).timestamp()
        except (OSError, ValueError, KeyError, TypeError):
            return self.metrics.stat().st_mtime if self.metrics.exists() else 0.0

    def mend(self, last: EpochRecord) -> None:
        """Bring metrics.csv to the epoch of the last checkpoint, which is written first: a row at most is missing.

        A line that a kill cut short is dropped; whole lines are never touched, unless a version of elbo wrote them that
        had other columns: they get those of this one.

        Raises:
            UserError: the run has moved since the checkpoint was read.
            RunError: the system refuses.
        """
        self.refuse_other_rows(last)
        whole = self._whole_lines()
        if whole and not whole.startswith(csv_text([], EpochRecord).encode()):
            whole = csv_text(self.records(), EpochRecord).encode()
        if not whole:
            self.metrics.unlink(missing_ok=True)
        elif whole != self.metrics.read_bytes():
            write_whole(self.metrics, whole)
        if self.reached() < last.epoch:
            self.log(last)

    def refuse_other_rows(self, last: EpochRecord, reached: int | None = None) -> None:
        """Insist that metrics.csv is of the same past as a checkpoint.

        Args:
            last: the checkpoint's.
            reached: the epoch that the rows had come to when they were read; None: as they are now.

        Raises:
            UserError: a row is not elbo's, or the rows go on where the checkpoint ends.
        """
        reached = self.reached() if reached is None else reached
        if reached > last.epoch:
            raise UserError(
                f"{self.metrics} goes to epoch {reached}, but the checkpoint that was read to epoch {last.epoch}."
                " If another process was training here, type the command again; if not, remove the later rows."
            )

    def reached(self) -> int:
        """The last epoch that has a row; 0 where there is none."""
        return max((record.epoch for record in self.records()), default=0)

    def _whole_lines(self) -> bytes:
        """Metrics.csv without a last line that a kill cut short."""
        text = self.metrics.read_bytes() if self.metrics.is_file() else b""
        return text[: text.rfind(b"\n") + 1]

    def records(self) -> list[EpochRecord]:
        """The rows of metrics.csv, equal to what was logged to the last bit.

        Raises:
            UserError: a row is not one that elbo wrote.
        """
        try:
            return [_record(row) for row in csv.DictReader(io.StringIO(self._whole_lines().decode()))]
        except (csv.Error, KeyError, ValueError) as error:
            raise UserError(f"{self.metrics} is not as elbo wrote it: {error}. Mend that row, or remove it.") from error


def new_folder(out: Path | None, name: str, config: str) -> RunFolder:
    """The folder of a new run: `out`, or runs/DATE_NAME_HASH. It is not made yet.

    Raises:
        UserError: there is something at `out` already, or nothing can be made there.
    """
    now = datetime.now().astimezone()
    mark = hashlib.sha256(f"{config}{now.isoformat()}{os.getpid()}".encode()).hexdigest()[:4]
    path = out or Path("runs") / f"{now:%Y-%m-%d}_{name}_{mark}"
    refuse_place(path, "--out")
    with looking(path):
        if path.exists() and not path.is_dir():
            raise UserError(f"--out {path} is a file; give a folder that does not exist yet.")
        if path.is_dir() and any(not inside.name.startswith(".") for inside in path.iterdir()):
            hint = f"continue it with --resume {path}, or give" if (path / "config.yaml").exists() else "give"
            raise UserError(f"--out {path} is not empty; {hint} a folder that does not exist yet.")
    return RunFolder(path)


def old_folder(path: Path) -> RunFolder:
    """The folder of a run that exists.

    Raises:
        UserError: there is no run at `path`.
    """
    with looking(path):
        if not (path / "config.yaml").is_file():
            raise UserError(f"{path} is not a run folder: it has no config.yaml. Give a folder that elbo train made.")
    return RunFolder(path)


def checkpoint_path(text: str, factories: bool = True) -> Path:
    """The checkpoint that a user means by a file or by a run folder (then its best, else its last).

    Args:
        text: as typed.
        factories: whether `package.module:factory` might have been typed in its place.

    Raises:
        UserError: there is none.
    """
    path = Path(text)
    with looking(path):
        if path.is_dir():
            run = RunFolder(path)
            for candidate in (run.best, run.last):
                if candidate.is_file():
                    return candidate
            raise UserError(f"The folder {path} holds no checkpoint (best.safetensors or last.safetensors).")
        if not path.is_file():
            place = "a file, a run folder, or package.module:factory" if factories else "a file or a run folder"
            raise UserError(f"There is no checkpoint {path}.{_siblings(path)} Give {place}.")
    return path


def _siblings(path: Path) -> str:
    runs: list[str] = []
    with suppress(OSError):
        runs = sorted(
            p.name for p in path.parent.iterdir() if p.suffix == ".safetensors" or (p / "config.yaml").exists()
        )
    return f" In {path.parent} there are: {', '.join(runs[-5:])}." if runs else ""


def _record(row: dict[str, str]) -> EpochRecord:
    """A row of metrics.csv as the record that it was."""
    if None in row or None in row.values():
        raise ValueError(f"the row of epoch {row.get('epoch')} has too many or too few cells")
    kinds = {column.name: get_args(column.type) or (column.type,) for column in fields(EpochRecord)}
    return EpochRecord(**{name: _value(text, kinds[name]) for name, text in row.items()})


def _value(text: str, kinds: tuple[Any, ...]) -> Any:
    if text and any(get_origin(kind) is tuple for kind in kinds):
        return tuple(map(float, text.split()))
    return None if not text and NoneType in kinds else int(text) if int in kinds else float(text)
