"""The config's schema in words: what a key may hold, which keys a section takes, and what is wrong with a value."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from elbo_cli.config.errors import Complaint, Keys, dotted, printable
from elbo_cli.config.yaml_source import Node, resolve
from elbo_cli.errors import nearest

_NEVER = object()  # equal to no value


@dataclass(frozen=True, slots=True)
class Only:
    """A key that has a meaning only where another key of its section, or one of several, has one of some values.

    Given elsewhere it is an error, except with the value `neutral`, which says nothing there.
    """

    key: str | tuple[str, ...]
    values: tuple[str | None, ...]
    neutral: object = _NEVER

    def __str__(self) -> str:
        return f"only with {self.either}: {' or '.join('null' if v is None else v for v in self.values)}"

    @property
    def keys(self) -> tuple[str, ...]:
        """The other keys, of which one is enough."""
        return (self.key,) if isinstance(self.key, str) else self.key

    @property
    def either(self) -> str:
        """The other keys in words."""
        return " or ".join(self.keys)

    def holds(self, values: Mapping[str, Any]) -> bool:
        """Whether it holds among a section's values; what is missing was a mistake of its own."""
        return any(values.get(key, self.values[0]) in self.values for key in self.keys)


def only(field: FieldInfo) -> Only | None:
    """The condition on a key, if it has one."""
    return next((each for each in field.metadata if isinstance(each, Only)), None)


def applies(section: BaseModel, name: str) -> bool:
    """Whether a key has a meaning beside the others of its section."""
    rule = only(type(section).model_fields[name])
    return rule is None or rule.holds({key: getattr(section, key) for key in rule.keys})


Section = type[BaseModel]


def variants(field: FieldInfo) -> dict[str, Section]:
    """A section's types: one under '' where there is one, else by the value of its key `name`; nothing for a value."""
    types = [t for t in (get_args(field.annotation) or (field.annotation,)) if _is_section(t)]
    if len(types) == 1:
        return {"": types[0]}
    return {name: each for each in types for name in get_args(each.model_fields["name"].annotation)}


def _is_section(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def every_key(schema: Section, prefix: Keys = ()) -> Iterator[tuple[Keys, FieldInfo]]:
    """Each key, sections before what is in them; a key of several sources comes once for each."""
    for name, field in schema.model_fields.items():
        yield (*prefix, name), field
        for section in variants(field).values():
            yield from every_key(section, (*prefix, name))


def words(annotation: Any, limits: list[Any] | None = None) -> str:
    """What a value may be: `a number > 0 or null`, `one of adam, adamw`."""
    limits = limits or []
    args = get_args(annotation)
    if get_origin(annotation) is Annotated:
        return words(args[0], [m for arg in args[1:] for m in getattr(arg, "metadata", [arg])])
    if get_origin(annotation) in (Union, UnionType):
        parts = [words(each) for each in args]
        return " or ".join([", ".join(parts[:-1]), parts[-1]])
    if get_origin(annotation) is Literal:
        return ", ".join(args)
    if get_origin(annotation) is tuple:
        each = words(args[0])
        return "a list of text" if each == "text" else f"{'a list' if args[1] is ... else 'a pair [a, b]'}, each {each}"
    kinds = {int: "a whole number", float: "a number", bool: "true or false", str: "text", NoneType: "null"}
    return kinds[annotation] + _range(limits)


def _range(limits: list[Any]) -> str:
    """` >= 1`, ` in (0, 1]`, ` from 2 to 256`, or nothing; that whole numbers have 64 bits goes without saying."""
    low = next((m for m in limits if isinstance(m, Ge | Gt)), None)
    high = next((m for m in limits if isinstance(m, Le | Lt)), None)
    least = "" if low is None else str(low.ge if isinstance(low, Ge) else low.gt)
    most = "" if high is None else str(high.le if isinstance(high, Le) else high.lt)
    if not high or most == str(2**63 - 1):
        return f" {'>=' if isinstance(low, Ge) else '>'} {least}" if low else ""
    if isinstance(low, Ge) and isinstance(high, Le) and isinstance(low.ge, int):
        return f" from {least} to {most}"
    return f" in {'[' if isinstance(low, Ge) else '('}{least}, {most}{']' if isinstance(high, Le) else ')'}"


def allowed(field: FieldInfo) -> str:
    """What a key may hold, in words; for a section, its keys."""
    sections = variants(field)
    if len(sections) > 1:
        return f"a section with the key name ({', '.join(sections)}) and the keys of that source"
    if sections:
        return f"a section with the keys {', '.join(sections[''].model_fields)}"
    return words(field.annotation, field.metadata)


@dataclass(frozen=True, slots=True)
class Spot:
    """A place in the schema: the path to it, the section around it and the field, if the section has it."""

    keys: Keys
    section: Section
    field: FieldInfo | None


def locate(schema: Section, loc: Keys) -> Spot:
    """The spot that pydantic's `loc` means: it mixes the tags of unions in with the keys, and they are dropped here."""
    spot = Spot((), schema, None)
    inside: Mapping[str, Section] = {"": schema}
    for part in loc:
        if "" not in inside and part in inside:  # the tag of a union of sections
            inside = {"": inside[str(part)]}
        elif "" in inside and isinstance(part, str):
            field = inside[""].model_fields.get(part)
            spot = Spot((*spot.keys, part), inside[""], field)
            inside = variants(field) if field else {}
        elif isinstance(part, int):
            spot = Spot((*spot.keys, part), spot.section, spot.field)
    return spot


def explain(error: ValidationError, root: Node, schema: Section) -> list[Complaint]:
    """Pydantic's findings about a tree as complaints in plain words, one for each path."""
    complaints: dict[Keys, Complaint] = {}
    for each in error.errors(include_url=False):
        spot = locate(schema, each["loc"])
        keys = spot.keys
        if each["type"] == "value_error":
            sentence = str(each["ctx"]["error"])
        elif each["type"] == "extra_forbidden":
            sentence = _unknown_key(spot, schema, root)
        elif each["type"] == "union_tag_invalid":
            keys = (*keys, "name")
            sentence = _bad_name(spot, root.at(keys))
        else:
            keys = keys[:-1] if each["type"] == "missing" else keys  # too short a list: complain of the list
            sentence = _bad_value(spot, root.at(keys))
        complaints.setdefault(keys, Complaint(root.place_of(keys), keys, sentence))
    return list(complaints.values())


def _bad_value(spot: Spot, node: Node | None) -> str:
    assert spot.field is not None
    return f"found {found(node)}, allowed: {allowed(spot.field)}.{_cure(spot.field, node)}"


def _bad_name(spot: Spot, node: Node | None) -> str:
    assert spot.field is not None
    names = variants(spot.field)
    return f"found {found(node)}, allowed: {', '.join(names)}.{_nearest(node, names)}"


def found(node: Node | None) -> str:
    """A value as its writer would know it again."""
    if node is None or node.blank:
        return "nothing"
    if isinstance(node.value, dict):
        return f"a section with the keys {printable(', '.join(node.value), 60)}" if node.value else "an empty section"
    if isinstance(node.value, list):
        return f"a list of {len(node.value)}"
    text = printable(node.written, 60)
    if isinstance(node.value, str):
        return f'"{text}"' if node.quoted else f"'{text}'"
    return text


def _cure(field: FieldInfo, node: Node | None) -> str:
    """What to type instead, where that can be guessed."""
    value = None if node is None else node.value
    whole = allowed(field).startswith("a whole number")
    if isinstance(value, float) and not math.isfinite(value):
        return " Numbers are finite."
    if isinstance(value, float) and whole and value.is_integer() and abs(value) < 1e15:
        return f" Write {int(value)}."
    return _cure_of_text(field, node, value) if node is not None and isinstance(value, str) else ""


def _cure_of_text(field: FieldInfo, node: Node, value: str) -> str:
    meant = {"yes": "true", "on": "true", "y": "true", "no": "false", "off": "false", "n": "false"}
    digits = value.lstrip("+-")
    if allowed(field) == "true or false" and value.lower() in meant:
        return f" Write {meant[value.lower()]}."
    if node.quoted and value and not isinstance(resolve(value), str):
        return " Remove the quotes."
    if not value:
        return " It must not be empty."
    if digits.isdigit() and not node.quoted:
        return " Leading zeros are not read." if digits.startswith("0") else " It is beyond 2^63 - 1."
    for section in variants(field).values():
        first, inner = next(iter(section.model_fields.items()))
        if value in _choices(inner.annotation):
            return f" Write {{{first}: {value}}}."
    return _nearest(node, _choices(field.annotation))


def _choices(annotation: Any) -> list[str]:
    if get_origin(annotation) is Literal:
        return list(get_args(annotation))
    return [name for each in get_args(annotation) for name in _choices(each)]


def _nearest(node: Node | None, names: Mapping[str, Any] | list[str]) -> str:
    return nearest(node.value.lower(), names) if node is not None and isinstance(node.value, str) else ""


def _unknown_key(spot: Spot, schema: Section, root: Node) -> str:
    """A sentence on a key that its section does not take: what it takes, and where the key would belong."""
    name, above = str(spot.keys[-1]), spot.keys[:-1]
    everywhere = {keys for keys, _ in every_key(schema)}
    if spot.keys in everywhere:
        return _of_another_source(spot, schema, root)
    hint = nearest(name, spot.section.model_fields)
    elsewhere = sorted(dotted(keys) for keys in everywhere if keys[-1] == name)
    if not hint and tuple(name.split(".")) in everywhere:
        hint = f" Write {name.replace('.', ': {')}: ...{'}' * name.count('.')}, or each on a line of its own, indented."
    elif not hint and elsewhere:
        hint = f" Did you mean {' or '.join(elsewhere)}?"
    return f"no such key. {dotted(above) or 'A config'} takes: {', '.join(spot.section.model_fields)}.{hint}"


def _of_another_source(spot: Spot, schema: Section, root: Node) -> str:
    """A sentence on a key of another variant of a section than the one in use."""
    *above, key = spot.keys
    field = locate(schema, tuple(above)).field
    union = variants(field) if field else {}
    theirs = [name for name, section in union.items() if key in section.model_fields]
    default = next(name for name, section in union.items() if section is spot.section)
    node = root.at((*above, "name"))
    ours = f"{node.value} ({node.place})" if node else f"{default} (the default)"
    takes = f"{dotted(tuple(above))}.name is {ours}, which takes: {', '.join(spot.section.model_fields)}"
    return f"a key of {', '.join(theirs)}, but {takes}. Remove it, or change the name."
