"""A training that is written down: the run folder follows the records, and a killed run is taken up again."""

import platform
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from elbo_cli import __version__, build, checkpoint, events
from elbo_cli import config as configs
from elbo_cli.checkpoint import Checkpoint, Header
from elbo_cli.errors import UserError
from elbo_cli.files import append, write_whole
from elbo_cli.ranks import ranks, refuse_others
from elbo_cli.records import EpochRecord, Tick
from elbo_cli.runs import RunFolder, new_folder, old_folder
from elbo_cli.training.experiment import BEGINNING, Experiment, Progress
from elbo_cli.training.loop import fit

EXTENDABLE = ("train.epochs", "train.patience", "train.log_to")  # what may differ when a run is resumed


@dataclass(frozen=True, slots=True)
class Session:
    """A training about to begin, or to go on, in a folder."""

    config: configs.Config
    experiment: Experiment
    folder: RunFolder
    past: Progress = BEGINNING
    origin: Checkpoint | None = None  # whose weights it begins with


def start(
    config: configs.Config, name: str, out: Path | None, device: torch.device, origin: Checkpoint | None = None
) -> Session:
    """A new run. Everything that can be wrong is found before its folder is made.

    Args:
        config: of the run.
        name: for its folder, where `out` is None.
        out: its folder.
        device: where to work.
        origin: a checkpoint whose weights it begins with; moments, epochs and the rest begin anew.

    Raises:
        UserError: config, data, folder or checkpoint cannot be used.
    """
    _refuse_logs(config)
    folder = new_folder(out, name, configs.dump(config))
    experiment = build.experiment(config, device)
    if origin is not None:
        build.begin_with(experiment, config, origin)
    return Session(config, experiment, folder, origin=origin)


def resume(path: Path, overrides: Sequence[str], device: torch.device) -> Session:
    """A run to go on with from its last whole epoch.

    Args:
        path: its folder.
        overrides: `train.epochs=N` or `train.patience=N`, to train for longer, or `train.log_to`; nothing else may
            change.
        device: where to work.

    Raises:
        UserError: there is no run, or what is asked would make another run of it.
    """
    folder = old_folder(path)
    config = configs.load(folder.config, overrides)
    _refuse_logs(config)
    if not folder.last.exists():  # killed before its first epoch was whole
        _refuse_changes(configs.load(folder.config), config)
        return Session(config, build.experiment(config, device), folder)
    reached = folder.reached()  # rows first, which come after their checkpoint: another process may be training here
    kept = checkpoint.read(folder.last)
    folder.refuse_other_rows(kept.header.last, reached)
    _refuse_changes(configs.loads(kept.header.config, source=str(folder.last)), config)
    if config.train.epochs < kept.header.last.epoch:
        raise UserError(
            f"train.epochs={config.train.epochs}, and {path} has trained {kept.header.last.epoch} epochs already. "
            f"Give train.epochs={kept.header.last.epoch} or more."
        )
    experiment = build.experiment(config, device)
    return Session(config, experiment, folder, build.restore(experiment, kept))


def _refuse_logs(config: configs.Config) -> None:
    if "tensorboard" in config.train.log_to:
        events.refuse_missing()


def agree(session: Session) -> None:
    """Insist that all ranks are about to do the same; none of them goes on before all have come this far.

    Raises:
        UserError: a rank has another config, other data or other weights.
        RunError: a rank is missing.
    """
    if ranks().size > 1:
        data = " ".join(split.digest() for split in (session.experiment.data.train, session.experiment.data.valid))
        weights = {name: each.cpu() for name, each in session.experiment.model.state_dict().items()}
        mark = f"{configs.dump(session.config)} {data} {checkpoint.checksum(weights, str(session.past.last.epoch))}"
        refuse_others("config, data or checkpoint", mark)


def again(out: Path, config: configs.Config, device: torch.device, origin: Checkpoint | None = None) -> Session:
    """The run in a folder, to go on with where torchrun has started its processes again.

    Raises:
        UserError: it is another run than the one that is asked for.
    """
    session = resume(out, (), device)
    _refuse_changes(session.config, config)
    if origin is not None and not session.folder.last.exists():
        build.begin_with(session.experiment, config, origin)
    return session


def _refuse_changes(before: configs.Config, after: configs.Config) -> None:
    """Insist that only what may differ differs; also where somebody edited the run's own config.yaml."""
    old, new = configs.flat(before), configs.flat(after)
    changed = [key for key in old | new if old.get(key) != new.get(key)]
    stray = [f"{key}: {_said(old, key)} -> {_said(new, key)}" for key in changed if key not in EXTENDABLE]
    if stray:
        raise UserError(
            f"A resumed run keeps its config, and this would change {'; '.join(stray)}. "
            f"Only {', '.join(EXTENDABLE)} may change. For anything else start a new run."
        )
    if "train.epochs" in changed and after.optim.schedule in ("cosine", "burda"):
        raise UserError(
            f"train.epochs cannot change in a resumed run with optim.schedule {after.optim.schedule}, "
            "whose learning rates depend on it. Start a new run for that."
        )


def _said(config: Mapping[str, Any], key: str) -> str:
    """A key's value as a config has it; nothing, where it has no meaning there."""
    return configs.written(config[key]) if key in config else "nothing"


def journal(session: Session) -> Iterator[EpochRecord | Tick]:
    """Train, and write every epoch down before passing its record on.

    Of several ranks the first one writes, and the others train along. The checkpoint comes first and the row of
    metrics.csv after it: a kill between the two costs one row, which the checkpoint still holds. Best before last, so
    that a last checkpoint never speaks of a best that is not there.

    Raises:
        UserError: another process trains in this folder, or went on with this run meanwhile.
        RunError: the numbers or the disk fail.
    """
    folder, experiment = session.folder, session.experiment
    if not ranks().first:
        yield from (event if isinstance(event, Tick) else event[0] for event in fit(experiment, session.past))
        return
    digest = experiment.data.train.digest()
    with folder.locked():
        folder.mend(session.past.last)
        _describe(session)
        if session.origin is not None:  # a run that is killed in its first epoch begins with the same weights again
            _save(session, session.past, digest)
        log = _logging(session)
        for event in fit(experiment, session.past):
            if isinstance(event, Tick):
                yield event
                continue
            record, progress = event
            _save(session, progress, digest)
            log(record)
            yield record


def _logging(session: Session) -> Callable[[EpochRecord], None]:
    """What writes an epoch's record down, wherever the config wants it."""
    folder = session.folder
    if "tensorboard" not in session.config.train.log_to:
        return folder.log
    started = folder.begin_events()

    def log(record: EpochRecord) -> None:
        folder.log(record)
        append(folder.events, events.events([record], started))

    return log


def _describe(session: Session) -> None:
    """Write config and manifest once, and the config again where a resumed run is to go on for longer."""
    folder, config = session.folder, configs.dump(session.config)
    if not folder.manifest.exists():
        folder.create(config, manifest(session))
    elif folder.config.read_text(encoding="utf-8") != config:
        write_whole(folder.config, config)


def _save(session: Session, progress: Progress, digest: str) -> None:
    probed = (progress.probed.log_px, progress.probed.gap) if progress.probed else None
    experiment = session.experiment
    header = Header(configs.dump(session.config), experiment.data.shape, digest, progress.last, progress.best, probed)
    weights = experiment.model.state_dict()
    if progress.best is progress.last:
        checkpoint.write(session.folder.best, header, weights, {})
    checkpoint.write(session.folder.last, header, weights, checkpoint.pack(experiment.optimizer))


def manifest(session: Session) -> dict[str, Any]:
    """What it takes to repeat the run, beside its config: versions, machine, data."""
    experiment = session.experiment
    splits = (experiment.data.train, experiment.data.valid, experiment.data.test)
    return {
        "elbo": __version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "device": str(experiment.device),
        "threads": torch.get_num_threads(),
        "processes": ranks().size,
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": shlex.join(sys.argv),
        "init": _origin(session.origin),
        "parameters": sum(p.numel() for p in experiment.model.parameters()),
        "data": {s.name: {"source": s.source, "examples": len(s), "digest": s.digest()} for s in splits},
    }


def _origin(checkpoint: Checkpoint | None) -> dict[str, Any] | None:
    """Where the weights began, in the manifest."""
    if checkpoint is None:
        return None
    return {"checkpoint": str(checkpoint.path), "epoch": checkpoint.header.last.epoch}
