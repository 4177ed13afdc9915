"""`elbo check` and `elbo init`."""

from pathlib import Path
from typing import Annotated

import typer

from elbo_cli.cli.options import Overrides
from elbo_cli.screen import Screen, reporting_errors


def check(
    config: Annotated[Path, typer.Argument(help="A YAML file.")],
    overrides: Overrides = None,
) -> None:
    """Say every mistake in a config, or print it resolved. Nothing is trained."""
    with reporting_errors(Screen(False)):
        from elbo_cli.config import dump, load

        typer.echo(dump(load(config, overrides or [])), nl=False)


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
