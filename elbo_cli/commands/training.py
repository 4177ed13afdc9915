"""`elbo train`."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from shlex import quote

import torch

from elbo_cli import config as configs
from elbo_cli.checkpoint import Checkpoint, read
from elbo_cli.cores import crowded
from elbo_cli.errors import RunError, UserError
from elbo_cli.journal import Session, again, agree, journal, resume, start
from elbo_cli.ranks import ranks, restarts, together
from elbo_cli.report.live import watch
from elbo_cli.report.training import closing, implied_beta, training_json
from elbo_cli.runs import checkpoint_path
from elbo_cli.runtime import launched, open_device
from elbo_cli.screen import Screen, Stopped


@dataclass(frozen=True, slots=True)
class Asked:
    """What a user asked of `elbo train`, as typed."""

    config: Path | None
    overrides: tuple[str, ...]
    out: Path | None
    resume: Path | None = None
    init: str | None = None
    device: str = "auto"


def run_training(screen: Screen, asked: Asked) -> None:
    """`elbo train`."""
    with together(open_device(asked.device)) as mine:
        session = _session(asked)
        agree(session)
        trained = _train(screen.of(mine.first), session)
        if mine.first:
            _close(screen, session, trained)


def _train(screen: Screen, session: Session) -> int:
    """Train behind a table; returns the number of epochs."""
    screen.say(f"{session.folder.path}: {_scale(session)}")
    for remark in _remarks(session):
        screen.say(remark)
    with _saying_how_to_go_on(session):
        past, epochs = session.past, session.config.train.epochs
        before = session.folder.records() if past.last.epoch else []
        return sum(1 for _ in watch(journal(session), screen.console, epochs, past.last.epoch, past.best, before))


def _close(screen: Screen, session: Session, trained: int) -> None:
    records = session.folder.records()  # of earlier sittings too
    if not trained:
        screen.say(_over(session))
    best = max(records, key=lambda record: record.score)
    for line in closing(records, best, session.folder):
        screen.say(line)
    screen.emit(training_json(session.folder, records, best))


def _over(session: Session) -> str:
    """Why nothing is left to train: its epochs, its patience, or both; and what to type."""
    train, past = session.config.train, session.past
    cures = ["train.epochs=N"] if past.last.epoch >= train.epochs else []
    if past.best is not None and not past.patience_left(train.patience):
        cures.append(f"train.patience=N (above {past.last.epoch - past.best.epoch}, or null)")
    return f"Nothing left to train after epoch {past.last.epoch}: give {' and '.join(cures)} to go on for longer."


def _session(asked: Asked) -> Session:
    device = open_device(asked.device)
    if asked.resume is not None:
        if asked.config is not None or asked.out is not None or asked.init is not None:
            raise UserError("--resume takes the run's own config and folder: leave --config, --out and --init out.")
        return resume(asked.resume, asked.overrides, device)
    origin = None if asked.init is None else read(checkpoint_path(asked.init, factories=False))
    if asked.config is not None:
        return _begun(configs.load(asked.config, asked.overrides), asked.config.stem, asked.out, device, origin)
    if origin is not None:
        config = configs.loads(origin.header.config, source=str(origin.path), overrides=asked.overrides)
        return _begun(config, config.data.name, asked.out, device, origin)
    meant = [f" Did you mean --config {o}?" for o in asked.overrides if o.endswith((".yaml", ".yml"))]
    hint = meant[0] if meant else ""
    raise UserError(
        f"Nothing to train: give --config FILE (elbo init writes one), --init CHECKPOINT, or --resume RUN.{hint}"
    )


def _begun(
    config: configs.Config, name: str, out: Path | None, device: torch.device, origin: Checkpoint | None
) -> Session:
    """A new run; or the one in `out`, where torchrun starts its processes again and this may be such a start."""
    if restarts() and out is None:
        raise UserError("torchrun --max-restarts needs --out FOLDER: that is where a restarted training goes on.")
    there = restarts() and out is not None and (out / "config.yaml").is_file()
    return again(out, config, device, origin) if there and out else start(config, name, out, device, origin)


def _scale(session: Session) -> str:
    experiment = session.experiment
    parameters = sum(p.numel() for p in experiment.model.parameters())
    return (
        f"{parameters:,} parameters, {len(experiment.data.train):,} data, "
        f"{session.config.train.epochs} epochs, {experiment.device}, threads {session.config.threads}"
        f"{f', processes {ranks().size}' if ranks().size > 1 else ''}"
    )


def _remarks(session: Session) -> Iterator[str]:
    """What a user should know of the machine and of the objective before it is climbed."""
    told = crowded(session.config.threads, launched()) if session.experiment.device.type == "cpu" else None
    if told is not None:
        yield told
    if session.origin is not None:
        yield f"Begins with the weights of {session.origin.path}, epoch {session.origin.header.last.epoch}."
    model, beta = session.experiment.model, session.config.objective.beta
    variance = model.visible.variance()
    if variance is not None:
        pixels = math.prod(session.experiment.data.shape)
        yield implied_beta(beta, None if variance.dim() else variance.item(), pixels, variance.requires_grad)


@contextmanager
def _saying_how_to_go_on(session: Session) -> Iterator[None]:
    folder = session.folder
    try:
        yield
    except KeyboardInterrupt as error:
        kept = "The last whole epoch is kept" if folder.last.exists() else "No epoch was whole yet"
        how = f" Go on with: elbo train --resume {quote(str(folder.path))}" if folder.config.exists() else ""
        raise Stopped(f"Stopped. {kept}.{how}") from error
    except RunError as error:
        kept = f"Last good checkpoint: {folder.last}" if folder.last.exists() else "No epoch was whole yet."
        raise RunError(f"{error} {kept}") from error
