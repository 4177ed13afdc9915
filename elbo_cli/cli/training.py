"""`elbo train`."""

from pathlib import Path
from typing import Annotated

import typer

from elbo_cli.cli.options import Device, Json, Overrides
from elbo_cli.screen import Screen, reporting_errors


def train(
    overrides: Overrides = None,
    config: Annotated[Path | None, typer.Option("--config", "-c", help="A YAML file; `elbo init` writes one.")] = None,
    out: Annotated[Path | None, typer.Option(help="The run's folder; by default runs/DATE_NAME_HASH.")] = None,
    resume: Annotated[Path | None, typer.Option(help="Go on with the run in this folder.")] = None,
    begin: Annotated[
        str | None, typer.Option("--init", help="Begin with the weights of this checkpoint; its config too, if none.")
    ] = None,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Train a VAE; reconstruction, KL and ELBO of every epoch go to metrics.csv and a table."""
    screen = Screen(as_json)
    with reporting_errors(screen):
        from elbo_cli.commands.training import Asked, run_training

        run_training(screen, Asked(config, tuple(overrides or ()), out, resume, begin, device))
