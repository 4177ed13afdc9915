"""`elbo runs`."""

from pathlib import Path
from typing import Annotated

import typer

from elbo_cli.cli.options import Json
from elbo_cli.screen import Screen, reporting_errors


def runs(
    folder: Annotated[Path, typer.Argument(metavar="[DIR]", help="A folder of runs.")] = Path("runs"),
    sort: Annotated[str, typer.Option(help="A column, as started, valid_elbo or epochs.")] = "started",
    as_csv: Annotated[bool, typer.Option("--csv", help="CSV on standard output.")] = False,
    as_json: Json = False,
) -> None:
    """List the runs in a folder: date, data, epochs, the best validation ELBO, and whether they finished."""
    screen = Screen(as_json)
    with reporting_errors(screen):
        from elbo_cli.errors import UserError
        from elbo_cli.report.runs_table import list_runs, runs_csv, runs_json, runs_table

        if as_csv and as_json:
            raise UserError("--csv and --json both want standard output: give one of them.")
        rows = list_runs(folder, sort)
        if as_csv:
            typer.echo(runs_csv(rows), nl=False)
        elif as_json:
            screen.emit(runs_json(rows))
        else:
            screen.show(runs_table(rows))
