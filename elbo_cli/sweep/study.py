"""What Optuna keeps of a sweep: which trials there are, whose they are, and what came of them."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from elbo_cli import config as configs
from elbo_cli.config.sweep_space import Choices, Point, Range
from elbo_cli.config.sweeps import Plan
from elbo_cli.errors import UserError, need_extra
from elbo_cli.files import make_folder, refuse_place
from elbo_cli.sweep.storage import open_storage, reached, refuse_storage

DONE, FAILED, WAITING, RUNNING = "COMPLETE", "FAIL", "WAITING", "RUNNING"
MARK, SEED, POINT, VALUES, WHY = "elbo_sweep", "seed", "point", "values", "why"


@dataclass(frozen=True, slots=True)
class Claimed:
    """A trial that this worker has, and nobody else while it lives."""

    number: int
    point: Point
    seed: int
    run: Path
    lock: FileLock


class Trials:
    """The trials of a sweep in Optuna's storage, shared by all workers that see its folder.

    A trial is handed out under the folder's lock, and held by a lock of its own that the system lets go of however its
    worker ends: a trial that runs in the storage and is held by nobody was cut off, and is taken up where it was.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan, self.folder = plan, plan.folder
        self.optuna = _optuna()
        with reached(plan, UserError):
            _refuse_other_folder(self.folder)
            refuse_storage(plan)
        make_folder(self.folder / "claims")
        with reached(plan, UserError), self._alone():
            self.study = self._opened()
            self._insist_on_this_sweep()
            self._enlist()

    def _opened(self) -> Any:
        seed = self.plan.sweep.seed + os.getpid()  # workers of one seed would all propose the same
        return self.optuna.create_study(
            storage=open_storage(self.optuna, self.plan),
            study_name=self.folder.name,
            direction="maximize",
            load_if_exists=True,
            sampler=self.optuna.samplers.TPESampler(seed=seed, constant_liar=True),
        )

    def _insist_on_this_sweep(self) -> None:
        """A folder holds one sweep: more trials may be asked for, and another place to work; nothing else."""
        sweep, base = self.plan.sweep, configs.dump(self.plan.base)
        text = repr((sweep.search, sweep.seed, sweep.seeds, self.plan.space, base))
        mark = hashlib.sha256(text.encode()).hexdigest()[:16]
        kept = self.study.user_attrs.get(MARK)
        if kept is None:
            self.study.set_user_attr(MARK, mark)
        elif kept != mark:
            raise UserError(
                f"{self.folder} holds another sweep (its config, space, search or seeds were others). "
                "Write folder: ANOTHER in the sweep's file, or give the file another name."
            )

    def _enlist(self) -> None:
        """Put every run that is known beforehand on the list, once: a worker may have been killed half-way."""
        there = {(trial.user_attrs.get(POINT), trial.user_attrs.get(SEED)) for trial in self.all()}
        for number, point in enumerate(self.plan.points()):
            self._enqueue(number, point, there)
        for trial in self.all():  # of a search that proposes: the other seeds of each point
            if self.plan.sweep.search == "tpe" and trial.user_attrs.get(POINT) == trial.number:
                self._enqueue(trial.number, trial.params, there)

    def _enqueue(self, number: int, params: dict[str, Any], there: set[tuple[Any, Any]]) -> None:
        for seed in self.plan.sweep.seeds:
            if (number, seed) not in there:
                about = {SEED: seed, POINT: number, VALUES: _texts(params)}
                self.study.enqueue_trial(params, user_attrs=about)
                there.add((number, seed))

    def all(self) -> list[Any]:
        """Every trial, as Optuna has it; but for those that a worker was killed in while they were proposed."""
        return [trial for trial in self.study.get_trials(deepcopy=False) if POINT in trial.user_attrs]

    def total(self) -> int:
        """How many runs there will be."""
        points = self.plan.sweep.trials if self.plan.sweep.search == "tpe" else len(self.plan.points())
        return points * len(self.plan.sweep.seeds)

    def left(self) -> int:
        """How many runs have not come to their end, a good one or not."""
        return max(0, self.total() - sum(trial.state.name in (DONE, FAILED) for trial in self.all()))

    def claim(self) -> Claimed | None:
        """A trial to work on: one that was cut off, else the next on the list, else a new proposal; None: all is done.

        A trial that another worker holds is left to it.
        """
        with reached(self.plan), self._alone():
            for trial in self.all():
                if trial.state.name == RUNNING and (held := self._held(trial)):
                    return held
            waiting = any(trial.state.name == WAITING for trial in self.all())
            return self._next() if waiting or self._may_propose() else None

    def _may_propose(self) -> bool:
        proposed = sum(trial.user_attrs.get(POINT) == trial.number for trial in self.all())
        return self.plan.sweep.search == "tpe" and proposed < self.plan.sweep.trials

    def _next(self) -> Claimed | None:
        trial = self.study.ask(fixed_distributions=self._distributions())
        if POINT not in trial.user_attrs:  # a new proposal, and not from the list
            seeds = self.plan.sweep.seeds
            trial.set_user_attr(SEED, seeds[0])
            trial.set_user_attr(VALUES, _texts(trial.params))
            trial.set_user_attr(POINT, trial.number)  # the last: with it the proposal is whole
            self._enqueue(trial.number, trial.params, {(trial.number, seeds[0])})
        return self._held(self.study.trials[trial.number])

    def _distributions(self) -> dict[str, Any]:
        kinds = self.optuna.distributions
        table: dict[str, Any] = {}
        for key, values in self.plan.space.items():
            if self.plan.sweep.search != "tpe" or not isinstance(values, Range):
                table[key] = kinds.CategoricalDistribution(self._listed(key))
            elif values.whole:
                table[key] = kinds.IntDistribution(int(values.low), int(values.high), log=values.log)
            else:
                table[key] = kinds.FloatDistribution(values.low, values.high, log=values.log)
        return table

    def _listed(self, key: str) -> Choices:
        """All values of a key that are known beforehand; those that a random search drew are a list too."""
        values = self.plan.space[key]
        return values if isinstance(values, tuple) else tuple(dict.fromkeys(p[key] for p in self.plan.points()))

    def _held(self, trial: Any) -> Claimed | None:
        """The trial, if nobody holds it."""
        lock = FileLock(self.folder / "claims" / f"{trial.number:04}.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            return None
        if self.study._storage.get_trial(trial._trial_id).state.name != RUNNING:  # told since it was listed
            lock.release()
            return None
        if trial.user_attrs[VALUES].keys() != self.plan.space.keys():
            raise UserError(f"Trial {trial.number} of {self.folder} has other keys than the sweep's space.")
        about = trial.user_attrs  # and not its parameters: Optuna writes them one by one, and a kill may come between
        return Claimed(trial.number, about[VALUES], about[SEED], self.folder / f"trial-{trial.number:04}", lock)

    def tell(self, claimed: Claimed, score: float | None, why: str = "") -> None:
        """Write down what came of a trial: its score, or why there is none."""
        with reached(self.plan):
            if why:
                self.study._storage.set_trial_user_attr(self.study.trials[claimed.number]._trial_id, WHY, why)
            state = None if score is not None else self.optuna.trial.TrialState.FAIL
            self.study.tell(claimed.number, score, state=state, skip_if_finished=True)
        claimed.lock.release()

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """While no other worker claims."""
        with FileLock(self.folder / "claims" / ".lock"):
            yield


def _refuse_other_folder(folder: Path) -> None:
    """Insist that a folder holds a sweep, or nothing, or can be made.

    Raises:
        UserError: it holds something else, or cannot be made.
    """
    refuse_place(folder, "folder:")
    if folder.is_file():
        raise UserError(f"folder: {folder} is a file. Give a folder, which is made if it is not there.")
    if folder.is_dir() and not (folder / "claims").is_dir() and any(folder.iterdir()):
        raise UserError(f"folder: {folder} is not empty and holds no sweep. Give a folder that does not exist yet.")


def _texts(params: dict[str, Any]) -> Point:
    """Parameters as a point: what is not text already is a number, at times one of numpy's."""
    return {key: repr(float(value)) if isinstance(value, float) else str(value) for key, value in params.items()}


def _optuna() -> Any:
    try:
        import optuna
    except ImportError as error:
        raise need_extra("optuna", "sweep", "A sweep") from error
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna
