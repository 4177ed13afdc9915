"""`elbo evaluate` and `elbo gap`."""

from typing import Annotated

import typer

from elbo_cli.cli.options import (
    Checkpoint,
    Data,
    DataOverrides,
    Device,
    Json,
    Limit,
    Seed,
    SplitName,
    Table,
    Threads,
    typed,
)
from elbo_cli.screen import Screen, reporting_errors


def _explain(asked: bool) -> None:
    if asked:
        from elbo_cli.report.explain import EXPLANATION

        typer.echo(EXPLANATION, nl=False)
        raise typer.Exit


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
        from elbo_cli.commands.chosen import Chosen
        from elbo_cli.commands.evaluation import run_evaluation

        chosen = Chosen(checkpoint, split, data, tuple(overrides or ()), limit, seed, threads, device)
        run_evaluation(screen, chosen, samples, out)


def gap(
    context: typer.Context,
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
    temperatures: Annotated[int | None, typer.Option(min=1, help="Of --method ais; 1000 by default.")] = None,
    sandwich: Annotated[
        int | None, typer.Option(min=1, help="Bound log p(x) of so many simulated data from both sides.")
    ] = None,
    split_gap: Annotated[
        bool, typer.Option("--split-gap", help="What a better encoder could win, and what only a richer q.")
    ] = False,
    flow: Annotated[bool, typer.Option("--flow", help="With --split-gap: try a flow for each datum too.")] = False,
    shard: Annotated[
        str | None, typer.Option(metavar="I/N", help="Measure the I-th of N parts alone, and write it to --out.")
    ] = None,
    merge: Annotated[
        bool, typer.Option("--merge", help="Put parts together: the files of all shards, in the place of CHECKPOINT.")
    ] = False,
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
        from elbo_cli.commands.asked import Asked
        from elbo_cli.commands.chosen import Chosen
        from elbo_cli.commands.gap import run

        asked = Asked(
            chosen=Chosen(checkpoint, split, data, tuple(overrides or ()), limit, seed, threads, device),
            typed=typed(context),
            method=method,
            proposal=proposal,
            samples=samples,
            tolerance=tolerance,
            delta=delta,
            tile=tile,
            temperatures=temperatures,
            sandwich=sandwich,
            split_gap=split_gap,
            flow=flow,
            shard=shard,
            merge=merge,
            out=out,
            strict=strict,
        )
        run(screen, asked)
