"""The run folder: config.yaml, manifest.json, metrics.csv and the checkpoints."""

import csv
import hashlib
import io
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from elbo_cli.errors import RunError, UserError
from elbo_cli.files import append, make_folder, sentences, write_whole
from elbo_cli.records import EpochRecord, csv_text, titles


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

    def files(self) -> list[Path]:
        """The files that are there."""
        return [path for path in (self.config, self.manifest, self.metrics, self.last, self.best) if path.exists()]

    def create(self, config: str, manifest: dict[str, Any]) -> None:
        """Make the folder with its config and manifest.

        Raises:
            RunError: the system refuses.
        """
        make_folder(self.path)
        write_whole(self.config, config)
        write_whole(self.manifest, json.dumps(manifest, indent=2) + "\n")

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder for this process; the system lets go of it however the process ends.

        Raises:
            RunError: another process holds it.
        """
        try:
            with sentences(self.path, "lock"), FileLock(self.path / ".lock", timeout=0):
                yield
        except Timeout as error:
            raise RunError(
                f"Another process is training in {self.path}. Wait for it, or train into another folder with --out."
            ) from error

    def log(self, record: EpochRecord) -> None:
        """Add the epoch's row to metrics.csv.

        Raises:
            RunError: the system refuses.
        """
        append(self.metrics, csv_text([record], None if self.metrics.exists() else EpochRecord))

    def mend(self, last: EpochRecord) -> None:
        """Bring metrics.csv to the epoch of the last checkpoint, which is written first: a row at most is missing.

        A line that a kill cut short is dropped; whole lines are never touched.
        """
        text = self.metrics.read_text(encoding="utf-8") if self.metrics.exists() else ""
        whole = text[: text.rfind("\n") + 1]
        if whole != text:
            write_whole(self.metrics, whole)
        rows = list(csv.DictReader(io.StringIO(whole)))
        if not whole:
            self.metrics.unlink(missing_ok=True)
        if len(rows) < last.epoch:
            self.log(last)


def new_folder(out: Path | None, name: str, config: str) -> RunFolder:
    """The folder of a new run: `out`, or runs/DATE_NAME_HASH. It is not made yet.

    Raises:
        UserError: there is something at `out` already.
    """
    now = datetime.now().astimezone()
    mark = hashlib.sha256(f"{config}{now.isoformat()}{os.getpid()}".encode()).hexdigest()[:4]
    path = out or Path("runs") / f"{now:%Y-%m-%d}_{name}_{mark}"
    if path.exists() and not path.is_dir():
        raise UserError(f"--out {path} is a file; give a folder that does not exist yet.")
    if path.is_dir() and any(path.iterdir()):
        hint = f"continue it with --resume {path}, or give" if (path / "config.yaml").exists() else "give"
        raise UserError(f"--out {path} is not empty; {hint} a folder that does not exist yet.")
    return RunFolder(path)


def old_folder(path: Path) -> RunFolder:
    """The folder of a run that exists.

    Raises:
        UserError: there is no run at `path`.
    """
    if not (path / "config.yaml").is_file():
        raise UserError(f"{path} is not a run folder: it has no config.yaml. Give a folder that elbo train made.")
    return RunFolder(path)


def checkpoint_path(text: str) -> Path:
    """The checkpoint that a user means by a file or by a run folder (then its best, else its last).

    Raises:
        UserError: there is none.
    """
    path = Path(text)
    if path.is_dir():
        run = RunFolder(path)
        for candidate in (run.best, run.last):
            if candidate.is_file():
                return candidate
        raise UserError(f"The folder {path} holds no checkpoint (best.safetensors or last.safetensors).")
    if not path.is_file():
        raise UserError(
            f"There is no checkpoint {path}.{_siblings(path)} Give a file, a run folder, or package.module:factory."
        )
    return path


def _siblings(path: Path) -> str:
    runs: list[str] = []
    with suppress(OSError):
        runs = sorted(
            p.name for p in path.parent.iterdir() if p.suffix == ".safetensors" or (p / "config.yaml").exists()
        )
    return f" In {path.parent} there are: {', '.join(runs[-5:])}." if runs else ""


def read_metrics(path: Path) -> list[dict[str, float | None]]:
    """The rows of a metrics.csv, by column; None where a cell is empty."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert not rows or list(rows[0]) == titles(EpochRecord), f"{path} has other columns: {list(rows[0])}"
    return [{k: float(v) if v else None for k, v in row.items()} for row in rows]
