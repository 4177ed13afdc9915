"""From YAML and KEY=VALUE to a config, or to a line for every mistake in it."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from pydantic import BaseModel, ValidationError

from elbo_cli.config.errors import Complaint, ConfigError, printable
from elbo_cli.config.overrides import override
from elbo_cli.config.schema import explain, found, variants
from elbo_cli.config.sections import Config
from elbo_cli.config.yaml_source import Node, Tree, parse, read
from elbo_cli.errors import UserError, nearest
from elbo_cli.presets import list_presets


def loads(text: str, source: str = "config", overrides: Sequence[str] = ()) -> Config:
    """The config that a YAML text describes, with KEY=VALUE overrides over it.

    Args:
        text: strict YAML; an empty text is the config of all defaults.
        source: what to call the text in messages.
        overrides: such as `model.latent_dim=20`; they are validated as the text is.

    Raises:
        ConfigError: a line for each mistake, all at once.
    """
    return config_of(parse(text, source), overrides)


def config_of(tree: Tree, overrides: Sequence[str] = ()) -> Config:
    """The config that a parsed text describes, with KEY=VALUE overrides over it.

    Raises:
        ConfigError: a line for each mistake, all at once.
    """
    if not isinstance(tree.root.value, dict) and not tree.root.blank:
        sentence = f"found {found(tree.root)}, allowed: sections and keys, as in `seed: 0`."
        raise ConfigError([*tree.complaints, Complaint(tree.root.place, (), sentence)])
    tree = override(tree, overrides, Config)
    root = _open(tree.root, Config)
    complaints, config = list(tree.complaints), None
    try:
        config = Config.model_validate(root.plain)
    except ValidationError as error:
        known = {each.keys for each in complaints}
        complaints += [each for each in explain(error, root, Config) if each.keys not in known]
    if config is None or complaints:
        raise ConfigError(complaints)
    return config


def _open(node: Node, section: type[BaseModel]) -> Node:
    """A section whose keys are all commented out is the section of all defaults."""
    entries = {} if node.blank else node.value
    if not isinstance(entries, dict):
        return node
    inside = {name: next(iter(variants(field).values()), None) for name, field in section.model_fields.items()}
    opened = {name: _open(each, below) if (below := inside.get(name)) else each for name, each in entries.items()}
    return replace(node, value=opened)


def load(path: Path | str, overrides: Sequence[str] = ()) -> Config:
    """The config in a YAML file, with KEY=VALUE overrides over it.

    Raises:
        UserError: there is no such file, or it is a folder.
        ConfigError: it cannot be read, or there are mistakes in it: a line for each, all at once.
    """
    return config_of(tree_of(path), overrides)


def tree_of(path: Path | str) -> Tree:
    """What a YAML file says, before any of it is held to the schema.

    Raises:
        UserError: there is no such file, or it is a folder.
        ConfigError: it cannot be read.
    """
    path = Path(path)
    shown = printable(str(path))
    try:
        text = read(path)
    except IsADirectoryError:
        inside = f" Type {shown}/config.yaml." if (path / "config.yaml").is_file() else ""
        raise UserError(f"{shown} is a folder, not a config.{inside}") from None
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(f"There is no file {shown}.{_instead(path)}") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise UserError(f"{shown} cannot be read: {getattr(error, 'strerror', None) or error}.") from None
    return parse(text, str(path))


def _instead(path: Path) -> str:
    """What else may have been meant by a path at which nothing is."""
    presets = list_presets()
    if path.stem in presets:
        return f" '{path.stem}' is a preset: elbo init {path.stem} writes it to a file."
    if not path.parent.is_dir():
        return f" There is no folder {printable(str(path.parent))} either."
    files = [each.name for each in path.parent.glob("*") if each.suffix in {".yaml", ".yml"}]
    preset = nearest(path.stem, presets).replace("mean '", "mean the preset of elbo init '")
    return nearest(path.name, files) or preset or " elbo init writes one."
