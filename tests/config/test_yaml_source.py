"""Strict YAML: what is read, with its lines, and what is refused."""

import math
import time
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from elbo_cli.config.errors import ConfigError
from elbo_cli.config.yaml_source import LARGEST, parse, read, resolve


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 1e-3),  # PyYAML's own reading is the text '1e-3'
        ("1E+5", 1e5),
        ("-.5", -0.5),
        ("1.", 1.0),
        (".inf", math.inf),
        ("-.INF", -math.inf),
        ("12", 12),
        ("-0", 0),
        ("+7", 7),
        ("9223372036854775807", 2**63 - 1),
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("no", "no"),
        ("on", "on"),
        ("Yes", "Yes"),
        ("none", "none"),
        ("010", "010"),
        ("0x10", "0x10"),
        ("1_000", "1_000"),
        ("1:30", "1:30"),
        ("2026-11-20", "2026-11-20"),
        ("9223372036854775808", "9223372036854775808"),
        ("1" * 5000, "1" * 5000),
        ("1e", "1e"),
        (".", "."),
        ("-", "-"),
        ("1.2.3", "1.2.3"),
    ],
)
def test_a_plain_scalar_is_what_yaml_1_2_says(text: str, value: object) -> None:
    assert resolve(text) == value
    assert type(resolve(text)) is type(value)


def test_not_a_number_is_a_number() -> None:
    assert math.isnan(float(str(resolve(".nan"))))


@pytest.mark.parametrize("text", ["3", "-0.25", "1.5e-300", "true", "null", "word", "6.02e+23", ".5"])
def test_what_pyyaml_reads_without_surprises_is_read_alike(text: str) -> None:
    assert resolve(text) == yaml.safe_load(text)


def test_every_entry_knows_the_line_of_its_key() -> None:
    root = parse("# a comment\na: 1\n\nb:\n  c:\n    - 10\n    - 20\n  d: |\n    text\n", "f.yaml").root
    assert root.plain == {"a": 1, "b": {"c": [10, 20], "d": "text\n"}}
    lines = {keys: root.place_of(keys).line for keys in [("a",), ("b",), ("b", "c"), ("b", "c", 1), ("b", "d")]}
    assert lines == {("a",): 2, ("b",): 4, ("b", "c"): 5, ("b", "c", 1): 7, ("b", "d"): 8}
    assert str(root.place_of(("b", "c", 5, "x"))) == "f.yaml:5"  # the deepest that exists


def test_quotes_make_text_of_anything() -> None:
    assert parse("a: '1'\nb: \"true\"\nc: >\n  2\n", "f").root.plain == {"a": "1", "b": "true", "c": "2\n"}


@pytest.mark.parametrize("text", ["", "# only a comment\n", "\n\n", "\ufeff"])
def test_an_empty_text_is_an_empty_mapping(text: str) -> None:
    assert parse(text.lstrip("\ufeff"), "f").root.plain == {}


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_bytes(b"\xef\xbb\xbfseed: 1\r\n")
    assert parse(read(path), "f").root.plain == {"seed": 1}


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("a: 1\nb: 2\na: 3", ["f:3: a: the key is given twice, on lines 1 and 3. Keep one."]),
        ("m: {x: 1,\n x: 1}", ["f:2: m.x: the key is given twice, on lines 1 and 2. Keep one."]),
        (
            "a: &x 1\nb: *x",
            [
                "f:1: a: found the anchor &x; anchors are not read. Remove it.",
                "f:2: b: found the alias *x; aliases are not read. Write the value out.",
            ],
        ),
        (
            "a: !!python/object/apply:os.system [rm]",
            ["f:1: a: found the tag !!python/object/apply:os.system; tags are not read. Write a plain value."],
        ),
        ("a: ! b", ["f:1: a: found the tag !; tags are not read. Write a plain value."]),
        ("a: [1, !!str 2]", ["f:1: a[1]: found the tag !!str; tags are not read. Write a plain value."]),
        ("!!x a: 1", ["f:1: a: found the tag !!x; tags are not read. Write a plain value."]),
        ("a: 1\n---\nb: 2", ["f:2: a second document starts here (---); a config is one document."]),
        ("? [1]\n: 2", ["f:1: ?: a key is a word, and no list, mapping, alias or half a character."]),
        ('"\\udcff": 2', ["f:1: ?: a key is a word, and no list, mapping, alias or half a character."]),
    ],
)
def test_what_a_config_has_no_use_for_is_refused(text: str, lines: list[str]) -> None:
    assert [str(each) for each in parse(text, "f").complaints] == lines


@pytest.mark.parametrize(
    ("text", "start"),
    [
        ("a: 1\nb: [1, 2\n", "f:3: cannot be read as YAML: while parsing a flow sequence, expected ',' or ']'"),
        ("a:\n\t- 1", "f:2: cannot be read as YAML: while scanning for the next token, found character '\\t'"),
        ("a: 1: 2", "f:1: cannot be read as YAML: mapping values are not allowed here."),
        ("a: 'open", "f:1: cannot be read as YAML: while scanning a quoted scalar"),
        ("a: @x", "f:1: cannot be read as YAML: while scanning for the next token, found character '@'"),
        ("a: 1\nb: \x00", "f:2: found the control character '\\x00'. Remove it."),
        ("- " * 17 + "1", "f:1: more than 16 levels deep; a config has three."),
        ("? " * 40 + "1", "f:1: more than 16 levels deep; a config has three."),
    ],
)
def test_what_is_not_yaml_is_an_error_with_its_line(text: str, start: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(text, "f")
    assert str(caught.value).startswith(start)
    assert "\n" not in str(caught.value)


def test_a_billion_laughs_are_refused_one_by_one() -> None:
    rows = ["a0: &a0 [lol, lol]"] + [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 10)]
    assert len(parse("\n".join(rows), "f").complaints) == 10 + 9 * 9


@pytest.mark.parametrize("text", ["[" * LARGEST, "{a: " * (LARGEST // 4), "- " * (LARGEST // 2), "? " * (LARGEST // 2)])
def test_depth_costs_neither_the_stack_nor_much_time(text: str) -> None:
    start = time.perf_counter()
    with pytest.raises(ConfigError):
        parse(text, "f")
    assert time.perf_counter() - start < 5


def test_a_file_that_is_too_long_is_not_read_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_bytes(b"#" * (LARGEST + 1))
    with pytest.raises(ConfigError, match="more than 256 KiB, which is no config"):
        read(path)
    with pytest.raises(ConfigError, match="more than 256 KiB"):
        read(Path("/dev/zero"))
    path.write_bytes(b"#" * LARGEST)
    assert len(read(path)) == LARGEST


@pytest.mark.parametrize("data", [b"\x80\x02", "seed: 1".encode("utf-16"), b"\x89PNG\r\n\x1a\n\xff"])
def test_a_file_that_is_not_text_is_refused(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_bytes(data)
    with pytest.raises(ConfigError, match="not a text file in UTF-8"):
        read(path)


@settings(max_examples=300)
@given(st.text(alphabet=st.sampled_from(list("ab:-?[]{}&*!|>'\"#% \n\t,0~.\\")), max_size=40))
def test_any_text_is_a_tree_or_a_sentence(text: str) -> None:
    try:
        tree = parse(text, "f")
    except ConfigError as error:
        complaints = error.complaints
    else:
        complaints = tree.complaints
        assert isinstance(tree.root.plain, dict | list | str | int | float | None)
    assert all(str(each).startswith("f:") for each in complaints)


TEXT = st.text(st.characters(codec="utf-8"), max_size=8)


@settings(max_examples=100)
@given(st.dictionaries(TEXT, st.one_of(TEXT, st.lists(TEXT, max_size=3)), max_size=4))
def test_text_that_pyyaml_quotes_is_read_back(mapping: dict[str, object]) -> None:
    assert parse(yaml.safe_dump(mapping, allow_unicode=True, default_style='"'), "f").root.plain == mapping
