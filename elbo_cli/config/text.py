"""A config as text: exact YAML, YAML with a comment for every key, and the reference of all keys."""

from collections.abc import Iterable, Iterator
from textwrap import wrap
from typing import Any

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from elbo_cli.config.schema import allowed, applies, only, variants
from elbo_cli.config.yaml_source import resolve

COLUMN = 34  # where comments start
WIDTH = 110
BAR = "\\|"  # within a Markdown table

GUIDE = (
    "# `elbo check FILE` tells every mistake. KEY=VALUE after a command overrides a line, as in model.latent_dim=20.",
    "# All keys, those of other data sources too: docs/config.md.",
)

PREFACE = """# Every key of a config

Written by `scripts/write_configs.py` from the schema in `elbo_cli/config/`. An unknown key, a wrong type or a value out
of range is an error that names the file, the line, the key, what was found and what is allowed; all mistakes are told
at once. A key with a condition ("only with ...") may be given only where the condition holds.

YAML is read strictly: `1e-3` is a number, `no` and `010` are text, booleans are `true` and `false`; a key given twice,
a tag, an anchor or an alias is an error. An empty file is the config of all defaults: `mnist`, and no
`model.between`, whose keys count where it is given.

`KEY=VALUE` on the command line follows the same rules, over the file: `model.latent_dim=20 optim.lr=3e-4
train.patience=null "model.encoder.hidden=[100, 50]"`. What does not start with `[`, `{` or a quote is one scalar to its
end, so a path needs no quotes of YAML's own. An override of `data.name` takes no key out of the file: one that the new
source has no use for is an error, as it would be in the file."""


def as_dict(section: BaseModel) -> dict[str, Any]:
    """The config in plain dicts, lists and scalars, in the schema's order, without the keys that have no meaning in it.

    `levels`, for one, is left out where the likelihood has none.
    """
    keys = (name for name in type(section).model_fields if applies(section, name))
    return {name: _plain(getattr(section, name)) for name in keys}


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return as_dict(value)
    return list(value) if isinstance(value, tuple) else value


def flat(section: BaseModel) -> dict[str, Any]:
    """The config as one dict, dotted key -> value."""
    return _flat(as_dict(section), "")


def _flat(tree: dict[str, Any], prefix: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in tree.items():
        found |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return found


def dump(config: BaseModel) -> str:
    """The config as YAML that `loads` reads back to an equal config, to the last bit of every number."""
    return "\n".join(_entries(config, "")) + "\n"


def _entries(section: BaseModel, indent: str) -> Iterator[str]:
    for name in as_dict(section):
        value = getattr(section, name)
        if isinstance(value, BaseModel):
            yield f"{indent}{name}:"
            yield from _entries(value, indent + "  ")
        else:
            yield f"{indent}{name}: {written(value)}"


def written(value: Any) -> str:
    """A value in YAML, such that every reader of YAML takes it for the same."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(written, value))}]"
    if isinstance(value, float):
        mantissa, e, exponent = repr(value).partition("e")
        return f"{mantissa}{'' if '.' in mantissa else '.0'}{e}{exponent}"  # 1e-08 is text to YAML 1.1
    return str(value) if isinstance(value, int) else _quoted(value)


def _quoted(text: str) -> str:
    """Text, in quotes unless it is a plain word to every reader."""
    if text.isascii() and text.replace("_", "a").isalnum() and not text[0].isdigit() and isinstance(resolve(text), str):
        return text if text.lower() not in {"y", "n", "yes", "no", "on", "off"} else f'"{text}"'
    return str(yaml.safe_dump(text, default_style='"', allow_unicode=True, width=10**6)).removesuffix("\n")


def commented(config: BaseModel, summary: str = "") -> str:
    """The config as YAML with every key, its value and, as a comment, what it means and may be.

    A key that has no meaning beside the others' values stands there as a comment.

    Args:
        config: the config, whose values are written.
        summary: a line for the head of the text.
    """
    head = [f"# {summary}"] if summary else []
    return "\n".join([*head, *GUIDE, "", *_commented(config, "")]).rstrip() + "\n"


def _commented(section: BaseModel, indent: str, names: Iterable[str] = ()) -> Iterator[str]:
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        if isinstance(value, BaseModel):
            yield from [""] * (not indent)
            yield from _remark(f"{indent}{name}:", field.description or "")
            yield from _commented(value, indent + "  ", variants(field))
            continue
        mark = "" if applies(section, name) else "# "
        yield from _remark(
            f"{indent}{mark}{name}: {written(value)}", _meaning(field, value, names if name == "name" else ())
        )


def _meaning(field: FieldInfo, value: Any, names: Iterable[str]) -> str:
    """`size of z (1 to 4096)`: the description, and what is allowed, as briefly as the value beside it lets it be."""
    phrase = ", ".join(filter(None, names)) or allowed(field)
    for plain in ("a list, each a whole number ", "a whole number from ", "a whole number ", "a number "):
        phrase = phrase.removeprefix(plain)
    known = phrase in {"true or false", "text", written(value)}
    asides = "; ".join(filter(None, ["" if known else phrase, str(only(field) or "")]))
    return f"{field.description}{f' ({asides})' * bool(asides)}"


def _remark(line: str, comment: str) -> Iterator[str]:
    """A line and its comment, which starts at COLUMN and goes on below where it is long."""
    first, *rest = wrap(comment, WIDTH - COLUMN - 2, break_long_words=False, break_on_hyphens=False)
    yield f"{line:<{COLUMN - 2}}  # {first}"
    yield from (" " * COLUMN + f"# {more}" for more in rest)


def reference(schema: type[BaseModel]) -> str:
    """All keys of the schema as a Markdown page: a table for each section, one for each data source."""
    return "\n".join([PREFACE, *_tables("", schema), ""])


def _tables(title: str, section: type[BaseModel]) -> Iterator[str]:
    yield from ["", f"## {title or 'Top level'}", ""]
    yield from ["| key | default | allowed | meaning |", "|---|---|---|---|"]
    for name, field in section.model_fields.items():
        if not variants(field):
            default = "give one" if field.validate_default and field.default is None else f"`{written(field.default)}`"
            notes = "; ".join(filter(None, [field.description, str(only(field) or "")]))
            yield f"| `{name}` | {default} | {allowed(field)} | {notes.replace('|', BAR)} |"
    for name, field in section.model_fields.items():
        path = f"{title}.{name}".removeprefix(".")
        for each in dict.fromkeys(variants(field).values()):
            named = " or ".join(tag for tag, section in variants(field).items() if tag and section is each)
            yield from _tables(f"{path} with name: {named}" if named else path, each)
