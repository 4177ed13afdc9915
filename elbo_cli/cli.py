"""The command line: parse, call, print. Torch is imported inside the commands, so that --help is instant."""

from pathlib import Path
from typing import Annotated, Any

import typer

from elbo_cli import __version__
from elbo_cli.screen import Screen, reporting_errors

app = typer.Typer(
    name="elbo",
    help="Train VAEs and say how tight the evidence lower bound is: with a guarantee, an error bar and a verdict.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Overrides = Annotated[
    list[str] | None,
    typer.Argument(help="KEY=VALUE over the config, as in model.latent_dim=20.", metavar="KEY=VALUE"),
]
DataOverrides = Annotated[
    list[str] | None, typer.Argument(help="data.KEY=VALUE, as in data.root=FOLDER.", metavar="data.KEY=VALUE")
]
Checkpoint = Annotated[
    str, typer.Argument(help="A checkpoint file, a run folder (then its best), or package.module:factory.")
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object on standard output; all else on standard error.")]
SplitName = Annotated[str, typer.Option("--split", help="train, valid or test.")]
Data = Annotated[
    str | None, typer.Option("--data", help="Other data: a file, a folder of images, or a data set's name.")
]
Limit = Annotated[int | None, typer.Option(min=1, help="Only the first so many data.")]
Seed = Annotated[int | None, typer.Option(min=0, help="Of the draws; by default the checkpoint's.")]
Threads = Annotated[
    int | None, typer.Option(min=1, max=1024, help="Torch's threads; by default the checkpoint's, else 1.")
]
Table = Annotated[Path | None, typer.Option("--out", help="Write a row for each datum: .csv or .parquet.")]


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"elbo {__version__}")
        raise typer.Exit


def _explain(asked: bool) -> None:
    if asked:
        from elbo_cli.report.explain import EXPLANATION

        typer.echo(EXPLANATION, nl=False)
        raise typer.Exit


@app.callback()
def _elbo(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


@app.command(short_help="Train a VAE, with a table and a CSV row for every epoch.")
def train(
    overrides: Overrides = None,
    config: Annotated[Path | None, typer.Option("--config", "-c", help="A YAML file; `elbo init` writes one.")] = None,
    out: Annotated[Path | None, typer.Option(help="The run's folder; by default runs/DATE_NAME_HASH.")] = None,
    resume: Annotated[Path | None, typer.Option(help="Go on with the run in this folder.")] = None,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Train a VAE; reconstruction, KL and ELBO of every epoch go to metrics.csv and a table."""
    screen = Screen(as_json)
    with reporting_errors(screen):
        from elbo_cli.commands import run_training

        run_training(screen, config, overrides or [], out, resume, device)


@app.command(short_help="ELBO, reconstruction and KL of a checkpoint, with errors.")
def evaluate(
    checkpoint: Checkpoint,
    overrides: DataOverrides = None,
    split: SplitName = "test",
    data: Data = None,
    samples: Annotated[int, typer.Option(min=1, help="Draws of q for each datum.")] = 10,
    limit: Limit = None,
    seed: Seed = None,
    threads: Threads = None,
    out: Table = None,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """ELBO, reconstruction and KL of a checkpoint, with standard errors, KL per latent and active units."""
    screen = Screen(as_json)
    with reporting_errors(screen):
        from elbo_cli.commands import Chosen, run_evaluation

        chosen = Chosen(checkpoint, split, data, tuple(overrides or ()), limit, seed, threads, device)
        run_evaluation(screen, chosen, samples, out)


def gap(
    checkpoint: Checkpoint,
    overrides: DataOverrides = None,
    samples: Annotated[int | None, typer.Option(min=1, help="K, draws for each datum; 500 by default.")] = None,
    tolerance: Annotated[
        float | None, typer.Option(help="Nats that log p(x) is wanted to, in the place of --samples.")
    ] = None,
    split: SplitName = "test",
    data: Data = None,
    proposal: Annotated[
        str,
        typer.Option(
            help="Where the draws come from: auto, posterior, defensive, laplace or refined; for ais also prior."
        ),
    ] = "auto",
    delta: Annotated[float, typer.Option(help="Probability that the certificate may fail.")] = 0.05,
    method: Annotated[str, typer.Option(help="auto, importance, ais or exact.")] = "auto",
    explain: Annotated[
        bool,
        typer.Option("--explain", is_eager=True, callback=_explain, help="What each line is and is not, and exit."),
    ] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Exit code 3 unless the verdict is resolved.")] = False,
    tile: Annotated[int, typer.Option(min=1, help="Decoder rows computed at once: memory, not the answer.")] = 2048,
    temperatures: Annotated[int, typer.Option(min=1, help="Of --method ais.")] = 1000,
    sandwich: Annotated[
        int | None, typer.Option(min=1, help="Bound log p(x) of so many simulated data from both sides.")
    ] = None,
    split_gap: Annotated[
        bool, typer.Option("--split-gap", help="What a better encoder could win, and what only a richer q.")
    ] = False,
    flow: Annotated[bool, typer.Option("--flow", help="With --split-gap: try a flow for each datum too.")] = False,
    limit: Limit = None,
    seed: Seed = None,
    threads: Threads = None,
    out: Table = None,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """How tight the bound is: ELBO, log p(x) and the gap between them, with errors, certificate and verdict."""
    screen = Screen(as_json)
    with reporting_errors(screen):
        from elbo_cli.commands import Chosen, Wanted, run_gap
        from elbo_cli.gap.settings import Settings, default_draws

        chosen = Chosen(checkpoint, split, data, tuple(overrides or ()), limit, seed, threads, device)
        settings = Settings(
            K=samples or default_draws(method), proposal=proposal, delta=delta, rows=tile, temperatures=temperatures
        )

        families = ("full", *(["flow"] if flow else [])) if split_gap or flow else ()
        run_gap(screen, chosen, method, settings, Wanted(samples, tolerance, out, strict, sandwich, families))


app.command("gap", short_help="How tight the bound is, with errors, certificate and verdict.")(gap)
app.command("bound-gap", help="Another name for gap.")(gap)


@app.command(short_help="List the runs in a folder, with their best validation ELBO.")
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


@app.command(short_help="Say every mistake in a config, or print it resolved.")
def check(
    config: Annotated[Path, typer.Argument(help="A YAML file.")],
    overrides: Overrides = None,
) -> None:
    """Say every mistake in a config, or print it resolved. Nothing is trained."""
    with reporting_errors(Screen(False)):
        from elbo_cli.config import dump, load

        typer.echo(dump(load(config, overrides or [])), nl=False)


@app.command()
def init(
    preset: Annotated[str | None, typer.Argument(help="A preset's name; without it they are listed.")] = None,
    out: Annotated[Path | None, typer.Option(help="Where to write; by default PRESET.yaml.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Write over a file that is there.")] = False,
) -> None:
    """Write a commented config to start from, or list the presets."""
    screen = Screen(False)
    with reporting_errors(screen):
        from elbo_cli.presets import list_presets, preset_text

        if preset is None:
            _refuse_loose_options(out, force)
            screen.presets(list_presets())
        else:
            text = preset_text(preset)
            screen.say(_written(out or Path(f"{preset}.yaml"), text, force))


def _refuse_loose_options(out: Path | None, force: bool) -> None:
    from elbo_cli.errors import UserError

    if out is not None or force:
        raise UserError("Nothing to write: name a preset, as in elbo init digits. Without one, elbo init lists them.")


def _written(path: Path, text: str, force: bool) -> str:
    from elbo_cli.errors import UserError
    from elbo_cli.files import refuse_file, write_whole

    refuse_file(path, "--out")
    if path.exists() and not force:
        raise UserError(f"{path} is there already. Give another name with --out, or --force to write over it.")
    write_whole(path, text)
    return f"Wrote {path}. Train with: elbo train --config {path}"


def main() -> Any:
    """The entry point `elbo`."""
    return app(prog_name="elbo")
