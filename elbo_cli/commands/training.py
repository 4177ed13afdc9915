"""`elbo train`."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from shlex import quote

from elbo_cli import config as configs
from elbo_cli.errors import RunError, UserError
from elbo_cli.journal import Session, journal, resume, start
from elbo_cli.report.live import watch
from elbo_cli.report.training import closing, implied_beta, training_json
from elbo_cli.runtime import open_device
from elbo_cli.screen import Screen, Stopped


def run_training(
    screen: Screen, config: Path | None, overrides: Sequence[str], out: Path | None, resumed: Path | None, device: str
) -> None:
    """`elbo train`."""
    session = _session(config, overrides, out, resumed, device)
    screen.say(f"{session.folder.path}: {_scale(session)}")
    for remark in _remarks(session):
        screen.say(remark)
    with _saying_how_to_go_on(session):
        past, epochs = session.past, session.config.train.epochs
        before = session.folder.records() if past.last.epoch else []
        shown = watch(journal(session), screen.console, epochs, past.last.epoch, past.best, before)
        trained = sum(1 for _ in shown)
    records = session.folder.records()  # of earlier sittings too
    if not trained:
        screen.say(f"Nothing left to train after epoch {records[-1].epoch}: give train.epochs=N to go on for longer.")
    best = max(records, key=lambda record: record.score)
    for line in closing(records, best, session.folder):
        screen.say(line)
    screen.emit(training_json(session.folder, records[-1], best))


def _session(
    config: Path | None, overrides: Sequence[str], out: Path | None, resumed: Path | None, device: str
) -> Session:
    if resumed is not None:
        if config is not None or out is not None:
            raise UserError("--resume takes the run's own config and folder: leave --config and --out out.")
        return resume(resumed, overrides, open_device(device))
    if config is None:
        meant = [f" Did you mean --config {o}?" for o in overrides if o.endswith((".yaml", ".yml"))]
        hint = meant[0] if meant else ""
        raise UserError(f"Nothing to train: give --config FILE (elbo init writes one), or --resume RUN.{hint}")
    return start(configs.load(config, overrides), config.stem, out, open_device(device))


def _scale(session: Session) -> str:
    experiment = session.experiment
    parameters = sum(p.numel() for p in experiment.model.parameters())
    return (
        f"{parameters:,} parameters, {len(experiment.data.train):,} data, "
        f"{session.config.train.epochs} epochs, {experiment.device}, threads {session.config.threads}"
    )


def _remarks(session: Session) -> Iterator[str]:
    """What a user should know of the objective before it is climbed."""
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
