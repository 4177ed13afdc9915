"""KEY=VALUE on the command line, laid over the tree of a config file."""

from collections.abc import Sequence
from dataclasses import replace

from pydantic import BaseModel

from elbo_cli.config.errors import Complaint, ConfigError, Keys, Place, dotted
from elbo_cli.config.schema import every_key, variants
from elbo_cli.config.yaml_source import Node, Tree, parse, resolve, unpaired


def override(tree: Tree, texts: Sequence[str], schema: type[BaseModel]) -> Tree:
    """The tree with each KEY=VALUE in it; mistakes in the overrides join the complaints.

    A value is read as a plain YAML scalar to the end of the text, or as YAML where it starts with `[`, `{` or a quote.
    """
    sections = {keys: list(variants(field).values()) for keys, field in every_key(schema)}
    root, complaints, given = tree.root, list(tree.complaints), dict[Keys, str]()
    for text in texts:
        key, equals, value = (part.strip() for part in text.partition("="))
        keys = tuple(key.split("."))
        sentence = _mistake(key, equals, value, sections) or _again(given.get(keys))
        if sentence:
            complaints.append(Complaint(Place(text), (), sentence))
            continue
        given[keys] = text
        try:
            root = _put(root, keys, _value(value, text))
        except ConfigError as error:
            complaints += [_in_override(each, text) for each in error.complaints]
    return Tree(root, complaints)


def _mistake(key: str, equals: str, value: str, sections: dict[Keys, list[type[BaseModel]]]) -> str:
    """What is wrong with an override before its value is read, or ''."""
    keys = tuple(key.split("."))
    if not equals:
        return "no '=' in it. An override is KEY=VALUE, as in model.latent_dim=20."
    if not all(keys):
        return "no key, or an empty part in it. An override is KEY=VALUE, as in model.latent_dim=20."
    if unpaired(key):
        return "no such key: there is half a character in it."
    if not value:
        return f"no value. For nothing at all type {key}=null."
    if sections.get(keys):
        name = next(iter(sections[keys][0].model_fields))
        return f"{key} is a section. Set its keys one by one, as in {key}.{name}=..."
    for depth in range(1, len(keys)):
        if sections.get(keys[:depth]) == []:
            return f"{dotted(keys[:depth])} is a value with no keys in it. Set it whole: {dotted(keys[:depth])}=..."
    return ""


def _again(first: str | None) -> str:
    return f"the key is given twice; the first is {first}. Keep one." if first else ""


def _in_override(complaint: Complaint, text: str) -> Complaint:
    hint = " Where a value has spaces in it, put quotes around the whole KEY=VALUE."
    return replace(complaint, place=Place(text), sentence=complaint.sentence + hint)


def _value(value: str, text: str) -> Node:
    """The node of an override's value; every place in it is the override's own text."""
    place = Place(text)
    if value[0] not in "[{\"'":
        return Node(resolve(value), place, value)
    tree = parse(value, text)
    if tree.complaints:
        raise ConfigError(tree.complaints)
    return _moved(tree.root, place)


def _moved(node: Node, place: Place) -> Node:
    if isinstance(node.value, dict):
        return replace(node, value={key: _moved(each, place) for key, each in node.value.items()}, place=place)
    if isinstance(node.value, list):
        return replace(node, value=[_moved(each, place) for each in node.value], place=place)
    return replace(node, place=place)


def _put(node: Node, keys: Keys, leaf: Node) -> Node:
    """A copy of the tree with `leaf` at `keys`; a scalar where a section should be stays, to be complained of.

    Where a section was left out with null, a key of it writes it in.
    """
    if not keys:
        return leaf
    if not isinstance(node.value, dict) and node.value is not None:
        return node
    entries = node.value if isinstance(node.value, dict) else {}
    head = str(keys[0])
    below = entries.get(head, Node(None, leaf.place))
    return replace(node, value={**entries, head: _put(below, keys[1:], leaf)})
