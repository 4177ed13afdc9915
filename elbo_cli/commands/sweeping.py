"""`elbo sweep`."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from elbo_cli.build import open_data
from elbo_cli.commands.chosen import Chosen
from elbo_cli.commands.comparing import Effort, compared
from elbo_cli.config.sweeps import Plan, load_sweep
from elbo_cli.errors import RunError, UserError
from elbo_cli.report.comparison import comparison_screen
from elbo_cli.runtime import open_device
from elbo_cli.screen import Screen
from elbo_cli.sweep.crew import crowded, processes, run_cluster, run_here
from elbo_cli.sweep.study import DONE, FAILED, SEED, VALUES, WHY, Trials
from elbo_cli.sweep.worker import Told, work


def run_worker(screen: Screen, path: Path, device: str) -> None:
    """`elbo sweep --worker`: train what is left, beside others who do the same."""
    plan = load_sweep(path)
    for told in work(plan, Trials(plan), open_device(device)):
        screen.say(_line(told))


def _line(told: Told) -> str:
    if told.score is None:
        return f"{told.run}: failed ({told.settings}). {told.why}"
    rest = f", went on from epoch {told.went_on}" if told.went_on else ""
    return f"{told.run}: {told.score:.3f} nats per datum ({told.settings}{rest})"


def run_sweep(screen: Screen, path: Path, device: str) -> None:
    """`elbo sweep`: start the workers, wait for them, and compare what they trained."""
    plan = load_sweep(path)
    open_device(device)
    trials = Trials(plan)
    left = trials.left()
    if left:
        _refuse_lost_data(plan)
        screen.say(_plan(plan, left, trials.total()))
        if plan.sweep.slurm is not None:
            run_cluster(plan, plan.sweep.slurm, device)
        else:
            run_here(plan, left, device)
    _close(screen, plan, Trials(plan), device)


def _refuse_lost_data(plan: Plan) -> None:
    """Open the data that all runs share, where they do: were they gone, every trial would fail for good.

    Raises:
        UserError: they cannot be opened.
    """
    if not any(key.startswith("data.") for key in plan.space):
        open_data(plan.base.data, plan.base.seed)


def _plan(plan: Plan, left: int, total: int) -> str:
    slurm, most = plan.sweep.slurm, processes(plan, left)
    where = f"{slurm.jobs} jobs on {slurm.cluster}" if slurm else f"{most} process{'es' * (most > 1)}"
    left_of = f"{left} of {total} runs left, {where}, threads {plan.base.threads}. "
    return f"{plan.folder}: {left_of}{crowded(plan, left)}".rstrip()


def _close(screen: Screen, plan: Plan, trials: Trials, device: str) -> None:
    """Compare the runs on the validation data: the test data are for whom has chosen."""
    there = trials.all()
    done = [trial for trial in there if trial.state.name == DONE]
    distinct = {(repr(t.user_attrs[VALUES]), t.user_attrs[SEED]): t for t in reversed(done)}  # TPE proposes some twice
    runs = sorted(str(plan.folder / f"trial-{trial.number:04}") for trial in distinct.values())
    failed = [t for t in there if t.state.name == FAILED]
    for trial in failed:
        screen.say(f"{plan.folder / f'trial-{trial.number:04}'}: failed. {trial.user_attrs.get(WHY, '')}")
    if not runs:
        raise RunError(f"No run of {plan.folder} was finished.")
    answer: dict[str, Any] = {"sweep": str(plan.folder), "runs": len(done), "failed": len(failed)}
    screen.emit(answer | {"comparison": _compared(screen, runs, device)})


def _compared(screen: Screen, runs: list[str], device: str) -> dict[str, Any] | None:
    if len(runs) == 1:
        screen.say(f"One run, {runs[0]}: nothing to compare it with.")
        return None
    try:
        found = compared(screen, Chosen(runs[0], "valid", None, (), None, None, None, device), runs[1:], Effort())
    except UserError as error:  # a search over data.*: likelihoods of other data
        screen.say(f"The runs are not compared: {error}")
        return None
    screen.show(comparison_screen(found))
    return asdict(found)
