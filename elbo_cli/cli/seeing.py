"""`elbo runs`, `compare`, `report`, `sample` and `plot`: what looks at runs that are there."""

from pathlib import Path
from typing import Annotated

import typer

from elbo_cli.cli.options import Checkpoint, Csv, Data, DataOverrides, Device, Json, Limit, Seed, SplitName, Threads
from elbo_cli.screen import Screen, reporting_errors


def runs(
    folder: Annotated[Path, typer.Argument(metavar="[DIR]", help="A folder of runs.")] = Path("runs"),
    sort: Annotated[str, typer.Option(help="A column, as started, valid_elbo or epochs.")] = "started",
    where: Annotated[
        list[str] | None, typer.Option(help="KEY=VALUE, also !=, <, >: a column, or a key of the config.")
    ] = None,
    as_csv: Csv = False,
    as_json: Json = False,
) -> None:
    """List the runs in a folder: date, data, epochs, the best validation ELBO, and whether they finished."""
    screen = Screen(as_json)
    with reporting_errors(screen):
        from elbo_cli.report.rows import tame_csv
        from elbo_cli.report.runs_table import RunRow, list_runs, runs_json, runs_table

        _refuse_both(as_csv, as_json)
        rows = list_runs(folder, sort, where or ())
        if as_csv:
            screen.write(tame_csv(rows, RunRow))
        elif as_json:
            screen.emit(runs_json(rows))
        else:
            screen.show(runs_table(rows))


def compare(
    runs: Annotated[list[str], typer.Argument(help="Run folders or checkpoints, two or more; data.KEY=VALUE for all.")],
    split: SplitName = "test",
    data: Data = None,
    samples: Annotated[int, typer.Option(min=1, help="Draws of q for each datum.")] = 10,
    gap: Annotated[
        int | None, typer.Option(min=1, metavar="K", help="Compare log p(x) and the gap too, from K draws each.")
    ] = None,
    limit: Limit = None,
    seed: Seed = None,
    threads: Threads = None,
    device: Device = "auto",
    as_csv: Csv = False,
    as_json: Json = False,
) -> None:
    """What differs in the configs and in the results of runs, paired by datum, and which config won."""
    screen = Screen(as_json)
    with reporting_errors(screen):
        _refuse_both(as_csv, as_json)
        from elbo_cli.commands.chosen import Chosen
        from elbo_cli.commands.comparing import Effort, run_comparison

        names, overrides = _apart(runs)
        chosen = Chosen(names[0], split, data, overrides, limit, seed, threads, device)
        run_comparison(screen, chosen, names[1:], Effort(samples, gap), as_csv)


def report(
    runs: Annotated[list[str], typer.Argument(help="A run folder or checkpoint, or several; data.KEY=VALUE for all.")],
    out: Annotated[
        Path | None, typer.Option(help="The page; by default report.html in the run, or beside the runs.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="Data whose gap is measured.")] = 200,
    samples: Annotated[int, typer.Option(min=2, help="K, draws for each of them.")] = 500,
    split: SplitName = "test",
    data: Data = None,
    seed: Seed = None,
    threads: Threads = None,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """One HTML page with every figure, which needs no network: training, ledger, tightness, latents, pictures."""
    screen = Screen(as_json)
    with reporting_errors(screen):
        names, overrides = _apart(runs)
        from elbo_cli.commands.chosen import Chosen
        from elbo_cli.commands.reporting import run_report, run_reports
        from elbo_cli.portrait.portray import Effort

        chosen = Chosen(names[0], split, data, overrides, None, seed, threads, device)
        if names[1:]:
            run_reports(screen, chosen, names[1:], Effort(limit, samples), out)
        else:
            run_report(screen, chosen, Effort(limit, samples), out)


def sample(
    checkpoint: Checkpoint,
    overrides: DataOverrides = None,
    out: Annotated[Path, typer.Option(help="A folder for pictures (PNG) and arrays (NPZ).")] = Path("samples"),
    number: Annotated[int, typer.Option(min=1, help="Samples of the prior, and reconstructions.")] = 48,
    walks: Annotated[int, typer.Option(min=1, help="Latents to walk along, the largest KL first.")] = 10,
    split: SplitName = "test",
    data: Data = None,
    seed: Seed = None,
    threads: Threads = None,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Samples of the prior, data beside reconstructions, and walks along latents, as PNG and NPZ."""
    screen = Screen(as_json)
    with reporting_errors(screen):
        from elbo_cli.commands.chosen import Chosen
        from elbo_cli.commands.sampling import run_sampling

        chosen = Chosen(checkpoint, split, data, tuple(overrides or ()), None, seed, threads, device)
        run_sampling(screen, chosen, number, walks, out)


def plot(
    runs: Annotated[list[Path], typer.Argument(help="Run folders.")],
    what: Annotated[str, typer.Option(help="elbo, reconstruction, kl, gap or log_px.")] = "elbo",
    place: Annotated[str, typer.Option("--in", help="terminal; --out FILE is the other place.")] = "terminal",
    out: Annotated[Path | None, typer.Option(help="A .png, .svg or .pdf instead of the terminal.")] = None,
) -> None:
    """Curves of one run or several over the epochs, in the terminal, or in a file with --out."""
    screen = Screen(False)
    with reporting_errors(screen):
        from elbo_cli.commands.plotting import run_plot

        run_plot(screen, runs, what, place, out)


def _refuse_both(as_csv: bool, as_json: bool) -> None:
    from elbo_cli.errors import UserError

    if as_csv and as_json:
        raise UserError("--csv and --json both want standard output: give one of them.")


def _apart(words: list[str]) -> tuple[list[str], tuple[str, ...]]:
    """Runs, and the overrides among them."""
    from elbo_cli.errors import UserError

    overrides = tuple(word for word in words if word.startswith("data.") and "=" in word)
    names = [word for word in words if word not in overrides]
    if not names:
        raise UserError("Name a run, beside data.KEY=VALUE.")
    return names, overrides
