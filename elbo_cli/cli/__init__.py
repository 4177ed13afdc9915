"""The command line: parse, call, print. Torch is imported inside the commands, so that --help is instant."""

import gc
from typing import Annotated, Any

import typer

from elbo_cli import __version__
from elbo_cli.cli.configs import check, init
from elbo_cli.cli.measuring import evaluate, gap
from elbo_cli.cli.seeing import compare, plot, report, runs, sample
from elbo_cli.cli.sweeping import sweep
from elbo_cli.cli.training import train

# New objects between two searches for garbage. Importing torch makes 300,000, all of which stay: with Python's own 700
# a command spends a tenth of its start on looking through them, time and again.
NEW_OBJECTS = 50_000

app = typer.Typer(
    name="elbo",
    help="Train VAEs and say how tight the evidence lower bound is: with a guarantee, an error bar and a verdict.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"elbo {__version__}")
        raise typer.Exit


@app.callback()
def _elbo(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


app.command(short_help="Train a VAE, with a table and a CSV row for every epoch.")(train)
app.command(short_help="ELBO, reconstruction and KL of a checkpoint, with errors.")(evaluate)
app.command("gap", short_help="How tight the bound is, with errors, certificate and verdict.")(gap)
app.command("bound-gap", help="Another name for gap.")(gap)
app.command(short_help="Train a grid or a search over config keys and seeds, and compare.")(sweep)
app.command(short_help="List the runs in a folder, with their best validation ELBO.")(runs)
app.command(short_help="Runs side by side: what differs, and which config won.")(compare)
app.command(short_help="One HTML page with every figure of a run, or several runs.")(report)
app.command(short_help="Curves of a run in the terminal, or in a file.")(plot)
app.command(short_help="Pictures: samples of the prior, reconstructions, walks along latents.")(sample)
app.command(short_help="Say every mistake in a config, or print it resolved.")(check)
app.command()(init)


def main() -> Any:
    """The entry point `elbo`."""
    gc.set_threshold(NEW_OBJECTS)
    return app(prog_name="elbo")
