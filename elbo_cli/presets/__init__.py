"""Configs that come with the package; the first line of each says what it is for."""

from importlib.resources import files
from pathlib import Path

from elbo_cli.errors import UserError, choose


def list_presets() -> dict[str, str]:
    """Each preset's name with its one-line summary."""
    return {name: text.partition("\n")[0].removeprefix("# ") for name, text in _texts().items()}


def preset_text(name: str) -> str:
    """A preset's YAML: every key with its value and a comment.

    Raises:
        UserError: there is no such preset.
    """
    return choose(_texts(), name, "preset")


def write_preset(name: str, path: Path) -> None:
    """Write a preset to a new file.

    Raises:
        UserError: there is no such preset, the file exists already, or it cannot be written.
    """
    text = preset_text(name)
    try:
        with path.open("x", encoding="utf-8", newline="\n") as file:
            file.write(text)
    except FileExistsError:
        raise UserError(
            f"{path} exists already, and is left as it is. Give another name, or remove it first."
        ) from None
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror}.") from None


def _texts() -> dict[str, str]:
    found = {each.name: each for each in files(__name__).iterdir() if each.name.endswith(".yaml")}
    names = sorted(name.removesuffix(".yaml") for name in found)
    return {name: found[f"{name}.yaml"].read_text("utf-8") for name in names}
