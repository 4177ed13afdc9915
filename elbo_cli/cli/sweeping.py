"""`elbo sweep`."""

from pathlib import Path
from typing import Annotated

import typer

from elbo_cli.cli.options import Device, Json
from elbo_cli.screen import Screen, reporting_errors


def sweep(
    file: Annotated[Path, typer.Argument(metavar="SWEEP.yaml", help="What to vary, how, and where to work.")],
    worker: Annotated[
        bool, typer.Option("--worker", help="Be one of several workers, on this machine or another.")
    ] = False,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Train a grid, a random or an Optuna search over config keys and seeds, and compare; resumable."""
    screen = Screen(as_json)
    with reporting_errors(screen):
        from elbo_cli.commands.sweeping import run_sweep, run_worker

        (run_worker if worker else run_sweep)(screen, file, device)
