"""A run's config.yaml, read fast and trusted with nothing: the run may be a stranger's."""

import re
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml

from elbo_cli.files import read_small

DEEPEST = 16  # levels; a config has four
LONGEST = 400  # characters of a plain scalar: Python writes no whole number of thousands of digits
WIDEST = 2**63
OURS = re.compile(
    r"(?: {0,12}[a-z_]+:[^\n&*{}\[]{0,400}(?:\[[^\n&*{}\[]{0,400})?\n)*"
)  # a key to a line, as elbo writes
_YAML: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times as fast, where the wheel has it


def read_config(path: Path) -> dict[str, Any]:
    """What the file says; nothing, where it is not one that elbo wrote."""
    with suppress(OSError, ValueError, yaml.YAMLError):
        text = read_small(path).decode()
        if _tame(text):
            tree = yaml.load(text, Loader=_YAML)  # of the safe kind: it builds plain values alone
            return tree if _sound(tree) else {}
    return {}


def _sound(tree: Any) -> bool:
    """Whether what the list of runs looks at is of the kind that elbo writes."""
    train, data = section(tree, "train"), section(tree, "data")
    numbers = (train.get("epochs"), train.get("patience") or 0)
    path = data.get("path") or ""
    words = (data.get("name", ""), *(path if isinstance(path, list) else [path]))
    return all(type(n) is int and n < WIDEST for n in numbers) and all(isinstance(word, str) for word in words)


def _tame(text: str) -> bool:
    """Whether it has no alias (a few lines make billions), few levels (a reader's stack ends) and no long number."""
    if OURS.fullmatch(text):  # as elbo writes it: the events below would take as long as half the reading
        return True
    depth = 0
    for event in yaml.parse(text, Loader=_YAML):
        if isinstance(event, yaml.ScalarEvent) and not event.style and len(event.value) > LONGEST:
            return False
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > DEEPEST or isinstance(event, yaml.AliasEvent):
            return False
    return True


def section(tree: Any, name: str) -> dict[str, Any]:
    """A section of a config; an empty one, where there is none."""
    found = tree.get(name) if isinstance(tree, dict) else None
    return found if isinstance(found, dict) else {}
