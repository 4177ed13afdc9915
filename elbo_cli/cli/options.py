"""Options and arguments that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

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
Device = Annotated[str, typer.Option(help="auto, cpu or cuda.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object on standard output; all else on standard error.")]
Csv = Annotated[bool, typer.Option("--csv", help="CSV on standard output.")]
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


def typed(context: typer.Context) -> tuple[str, ...]:
    """The options that were given, whatever their values: a default may be typed too."""
    options = (p for p in context.command.params if p.name and p.param_type_name == "option")
    return tuple(p.opts[0] for p in options if _source(context, p.name or "") == "COMMANDLINE")


def _source(context: typer.Context, name: str) -> str:
    source = context.get_parameter_source(name)
    return source.name if source else ""
