"""Several workers: processes on this machine with the cores shared out, or jobs of a cluster."""

import os
import subprocess
import sys
from pathlib import Path

from elbo_cli.config.sweeps import Plan, Slurm
from elbo_cli.cores import cores
from elbo_cli.data.files import first_line
from elbo_cli.errors import RunError, UserError, need_extra


def processes(plan: Plan, left: int) -> int:
    """How many trainings at once: what was asked for, else as many as there are cores for, at the config's threads.

    Never more than the runs that are left.
    """
    return min(left, plan.sweep.processes or max(1, cores() // plan.base.threads))


def crowded(plan: Plan, left: int) -> str:
    """What to say where more threads are asked for than there are cores, or nothing."""
    threads, here = processes(plan, left) * plan.base.threads, cores()
    if threads <= here:
        return ""
    return (
        f"They need {threads} cores and there are {here}: they will wait for each other. "
        f"Write processes: {max(1, here // plan.base.threads)}, or threads: 1 in the config."
    )


def command(path: Path, device: str) -> list[str]:
    """The command of one worker.

    `-m` imports from the current folder first, whose files are not ours (a torch.py there would run): only where this
    process was started in that way itself does its worker do so.
    """
    safe = [] if sys.path[:1] in ([""], [str(Path.cwd())]) else ["-P"]
    return [sys.executable, *safe, "-m", "elbo_cli", "sweep", str(path.absolute()), "--worker", "--device", device]


def run_here(plan: Plan, left: int, device: str) -> None:
    """Start the workers as processes of this machine, for the runs that are left, and wait for them.

    Raises:
        RunError: one of them ended with an error.
    """
    home = os.environ | {"OMP_NUM_THREADS": str(plan.base.threads)}
    workers: list[subprocess.Popen[bytes]] = []
    try:
        for _ in range(processes(plan, left)):
            workers.append(subprocess.Popen(command(plan.path, device), env=home, stdout=sys.stderr.fileno()))
        codes = [worker.wait() for worker in workers]
    except BaseException:
        for worker in workers:
            worker.terminate()
        for worker in workers:
            worker.wait()
        raise
    if any(codes):
        raise RunError(f"A worker ended with exit code {next(filter(None, codes))}. {_how(plan)}")


def run_cluster(plan: Plan, slurm: Slurm, device: str) -> None:
    """Hand the workers to a cluster as an array of jobs, and wait for them.

    Raises:
        UserError: submitit is not there, or no such cluster.
        RunError: a job failed.
    """
    try:
        import submitit
    except ImportError as error:
        raise need_extra("submitit", "slurm", "A sweep on a cluster") from error
    try:
        executor = submitit.AutoExecutor(folder=plan.folder / "jobs", cluster=slurm.cluster)
    except RuntimeError as error:  # no srun
        raise UserError(f"slurm.cluster {slurm.cluster} is not here: {first_line(error)}.") from error
    executor.update_parameters(timeout_min=slurm.minutes, cpus_per_task=plan.base.threads, name="elbo-sweep")
    if slurm.partition:
        executor.update_parameters(slurm_partition=slurm.partition)
    worker = submitit.helpers.CommandFunction(command(plan.path, device), cwd=str(Path.cwd()))
    with executor.batch():
        jobs = [executor.submit(worker) for _ in range(slurm.jobs)]
    try:
        for job in jobs:
            job.result()
    except Exception as error:  # submitit's own, of many kinds
        *_, last = (str(error) or type(error).__name__).splitlines()
        raise RunError(f"A job of the sweep failed: {last}. {_how(plan)}") from error


def _how(plan: Plan) -> str:
    return f"What is done is kept; go on with: elbo sweep {plan.path}"
