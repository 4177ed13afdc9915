"""YAML text as a tree of plain values that remember their lines: a strict part of YAML, with no surprises in it.

PyYAML scans; the tree is built here, since its own constructor keeps the last of two equal keys, reads `1e-3` as text,
`no` as false and `010` as 8, and builds objects from tags. Read here: mappings with words as keys, lists, and scalars.
Plain scalars follow the core schema of YAML 1.2: null, true, false, decimal integers, decimal floats; the rest is text.
Refused, each with a sentence: equal keys, tags, anchors and aliases, a second document, more than 16 levels.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from elbo_cli.config.errors import Complaint, ConfigError, Keys, Place, printable

LARGEST = 256 * 1024  # bytes; the longest preset has 4 kB, and PyYAML needs a second for this much
DEEPEST = 16  # levels; a config has three

_NULL = {"", "~", "null", "Null", "NULL"}
_BOOL = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INT = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|(0|[1-9][0-9]*)(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_SPECIAL = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_LONGEST = 400  # a longer number is text: int() refuses thousands of digits
_WIDEST = 2**63  # and so is a whole number that no tensor's size or seed can hold

Scalar = str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class Node:
    """A value, as it was written and where; the line of a mapping's entry is that of its key."""

    value: "Scalar | dict[str, Node] | list[Node]"
    place: Place
    written: str = ""
    quoted: bool = False

    @property
    def plain(self) -> Any:
        """The value in plain Python: dicts, lists and scalars."""
        if isinstance(self.value, dict):
            return {key: node.plain for key, node in self.value.items()}
        return [node.plain for node in self.value] if isinstance(self.value, list) else self.value

    @property
    def blank(self) -> bool:
        """Whether nothing was written, as after `model:` with all of its keys commented out."""
        return self.value is None and not self.written

    def at(self, keys: Keys) -> "Node | None":
        """The node at a path of keys and indices, or None."""
        if not keys:
            return self
        head, rest = keys[0], keys[1:]
        if isinstance(self.value, dict) and isinstance(head, str) and head in self.value:
            return self.value[head].at(rest)
        if isinstance(self.value, list) and isinstance(head, int) and head < len(self.value):
            return self.value[head].at(rest)
        return None

    def place_of(self, keys: Keys) -> Place:
        """The place of the deepest node that exists on the way along `keys`."""
        nodes = (self.at(keys[:depth]) for depth in range(len(keys), -1, -1))
        return next((node.place for node in nodes if node is not None), self.place)


@dataclass(frozen=True, slots=True)
class Tree:
    """A root with what is wrong about it so far."""

    root: Node
    complaints: list[Complaint] = field(default_factory=list)


def resolve(text: str) -> Scalar:
    """A plain scalar's value: `1e-3` is a number, `no` and `010` are text."""
    if text in _NULL:
        return None
    if text in _BOOL:
        return _BOOL[text]
    if len(text) <= _LONGEST and _INT.fullmatch(text):
        return int(text) if abs(int(text)) < _WIDEST else text
    if len(text) <= _LONGEST and _FLOAT.fullmatch(text):
        return float(text)
    return float(text.lower().replace(".", "")) if _SPECIAL.fullmatch(text) else text


def unpaired(text: str) -> bool:
    """Whether there is half a surrogate pair in it, which is no character: pydantic has no place for such a key."""
    return any("\ud800" <= c <= "\udfff" for c in text)


def read(path: Path) -> str:
    """The text of a config file.

    Raises:
        OSError, ValueError: it cannot be opened.
        ConfigError: it is too long, or not UTF-8 text.
    """
    with path.open("rb") as file:
        data = file.read(LARGEST + 1)  # and no more: the path may be a pipe or a device without an end
    if len(data) > LARGEST:
        sentence = f"more than {LARGEST // 1024} KiB, which is no config. Data files belong in data.path."
        raise ConfigError([Complaint(Place(str(path)), (), sentence)])
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        sentence = "not a text file in UTF-8. A config is YAML text; `elbo init` writes one."
        raise ConfigError([Complaint(Place(str(path)), (), sentence)]) from None


def parse(text: str, source: str) -> Tree:
    """The tree that a YAML text describes; an empty text is an empty mapping.

    Args:
        text: the YAML.
        source: what to call it in messages, a file's name or an override's own text.

    Raises:
        ConfigError: the text is not YAML. What is YAML and yet refused is in the tree's complaints.
    """
    composer = _Composer(yaml.parse(text, Loader=yaml.SafeLoader), source)
    try:
        root = composer.document()
    except yaml.YAMLError as error:
        raise ConfigError([*composer.complaints, _unreadable(error, text, source)]) from None
    return Tree(root, composer.complaints)


@dataclass(slots=True)
class _Composer:
    """Builds nodes from PyYAML's events, and collects what it refuses."""

    events: Iterator[yaml.Event]
    source: str
    complaints: list[Complaint] = field(default_factory=list)

    def document(self) -> Node:
        next(self.events)  # the stream starts
        if isinstance(next(self.events), yaml.StreamEndEvent):
            return Node({}, Place(self.source, 1))
        root = self.node(next(self.events), (), 1)
        next(self.events)  # the document ends
        after = next(self.events)
        if not isinstance(after, yaml.StreamEndEvent):
            self.complain(_line(after), (), "a second document starts here (---); a config is one document.")
        return root

    def node(self, event: yaml.Event, keys: Keys, line: int) -> Node:
        place = Place(self.source, line)
        self.refuse(event, keys, line)
        if isinstance(event, yaml.MappingStartEvent):
            return Node(self.mapping(keys), place)
        if isinstance(event, yaml.SequenceStartEvent):
            return Node(self.sequence(keys), place)
        if isinstance(event, yaml.ScalarEvent):
            quoted = event.style is not None
            return Node(event.value if quoted else resolve(event.value), place, event.value, quoted)
        return Node(None, place, "*alias")  # refused already

    def mapping(self, keys: Keys) -> dict[str, Node]:
        entries: dict[str, Node] = {}
        while not isinstance(event := next(self.events), yaml.MappingEndEvent):
            line = _line(event)
            name = self.name(event, keys, line)
            node = self.node(next(self.events), (*keys, name), line)
            if name in entries:
                lines = f"on lines {entries[name].place.line} and {line}"
                self.complain(line, (*keys, name), f"the key is given twice, {lines}. Keep one.")
            entries.setdefault(name, node)
        return entries

    def name(self, event: yaml.Event, keys: Keys, line: int) -> str:
        if isinstance(event, yaml.ScalarEvent):
            self.refuse(event, (*keys, event.value), line)
            if not unpaired(event.value):
                return str(event.value)
        else:
            self.node(event, (*keys, "?"), line)
        self.complain(line, (*keys, "?"), "a key is a word, and no list, mapping, alias or half a character.")
        return "?"

    def sequence(self, keys: Keys) -> list[Node]:
        items: list[Node] = []
        while not isinstance(event := next(self.events), yaml.SequenceEndEvent):
            items.append(self.node(event, (*keys, len(items)), _line(event)))
        return items

    def refuse(self, event: yaml.Event, keys: Keys, line: int) -> None:
        """Complain of what YAML knows and a config has no use for."""
        if len(keys) > DEEPEST:
            self.complain(line, (), f"more than {DEEPEST} levels deep; a config has three.")
            raise ConfigError(self.complaints)
        if isinstance(event, yaml.AliasEvent):
            self.complain(line, keys, f"found the alias *{event.anchor}; aliases are not read. Write the value out.")
        elif anchor := getattr(event, "anchor", None):
            self.complain(line, keys, f"found the anchor &{anchor}; anchors are not read. Remove it.")
        if tag := getattr(event, "tag", None):
            shown = tag.replace("tag:yaml.org,2002:", "!!")
            self.complain(line, keys, f"found the tag {shown}; tags are not read. Write a plain value.")

    def complain(self, line: int, keys: Keys, sentence: str) -> None:
        self.complaints.append(Complaint(Place(self.source, line), keys, printable(sentence)))


def _line(event: yaml.Event) -> int:
    assert event.start_mark is not None
    return event.start_mark.line + 1


def _unreadable(error: yaml.YAMLError, text: str, source: str) -> Complaint:
    """A syntax error, by line."""
    if isinstance(error, yaml.reader.ReaderError):
        line = text.count("\n", 0, error.position) + 1
        return Complaint(Place(source, line), (), f"found the control character {chr(error.character)!a}. Remove it.")
    assert isinstance(error, yaml.MarkedYAMLError)
    line = int(getattr(error.problem_mark, "line", 0)) + 1
    problem = ", ".join(filter(None, [error.context, error.problem]))
    hint = " Indent with spaces, not with tabs." if "'\\t'" in problem else ""
    return Complaint(Place(source, line), (), f"cannot be read as YAML: {printable(problem)}.{hint}")
