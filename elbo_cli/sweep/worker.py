"""A worker: claims trials one after the other and trains them, each in a run folder of its own."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from elbo_cli import config as configs
from elbo_cli.config.sweeps import Plan
from elbo_cli.journal import Session, again, journal, start
from elbo_cli.screen import told
from elbo_cli.sweep.study import Claimed, Trials


@dataclass(frozen=True, slots=True)
class Told:
    """What came of a trial."""

    number: int
    run: Path
    settings: str
    score: float | None
    why: str = ""
    went_on: int = 0  # epochs that were there already


def work(plan: Plan, trials: Trials, device: torch.device) -> Iterator[Told]:
    """Train what is left of a sweep, trial by trial; other workers do the same."""
    while (claimed := trials.claim()) is not None:
        yield _trained(plan, trials, claimed, device)


def _trained(plan: Plan, trials: Trials, claimed: Claimed, device: torch.device) -> Told:
    settings = " ".join([*(f"{key}={value}" for key, value in claimed.point.items()), f"seed={claimed.seed}"])
    try:
        session = _session(plan.config(claimed.point, claimed.seed), claimed, device)
        for _ in journal(session):
            pass
    except Exception as error:
        if of_the_machine(error):
            raise  # the trial stays open: it is taken up again when the trouble is over
        trials.tell(claimed, None, why := told(error))  # this trial's own: the others go on
        return Told(claimed.number, claimed.run, settings, None, why)
    score = max(record.score for record in session.folder.records())
    trials.tell(claimed, score)
    return Told(claimed.number, claimed.run, settings, score, went_on=session.past.last.epoch)


def of_the_machine(error: Exception) -> bool:
    """Whether an error would meet any trial: a full disk, a folder that is gone."""
    return isinstance(error, OSError) or isinstance(error.__cause__, OSError)


def _session(config: configs.Config, claimed: Claimed, device: torch.device) -> Session:
    """The trial's run: a new one, or the one that a worker who was cut off has left."""
    if (claimed.run / "config.yaml").is_file():
        return again(claimed.run, config, device)
    return start(config, claimed.run.name, claimed.run, device)
