"""What pyproject.toml promises and what the two lists of versions hold agree."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
CORE = [Requirement(text) for text in PROJECT["dependencies"]]
EXTRAS = [Requirement(text) for texts in PROJECT["optional-dependencies"].values() for text in texts]
OURS = [each for each in CORE + EXTRAS if each.name != PROJECT["name"]]
NOT_LEAST = {"torch"}  # the least one has no CPU file in the common index: constraints-lowest.txt says so


def pins(name: str) -> dict[str, Version]:
    lines = (ROOT / name).read_text("utf-8").splitlines()
    found = [re.fullmatch(r"([\w.-]+)==(\S+)", line) for line in lines if line and not line.startswith("#")]
    assert all(found), f"{name}: a line is no NAME==VERSION"
    return {canonicalize_name(pin[1]): Version(pin[2]) for pin in found if pin}


def floors() -> Iterator[tuple[str, Version]]:
    for each in OURS:
        yield from ((canonicalize_name(each.name), Version(s.version)) for s in each.specifier if s.operator == ">=")


@pytest.mark.parametrize("file", ["constraints.txt", "constraints-lowest.txt"])
def test_every_pinned_version_is_one_that_is_promised(file: str) -> None:
    pinned = pins(file)
    wrong = [f"{each} but {pinned[n]}" for each in OURS if (n := canonicalize_name(each.name)) in pinned
             and pinned[n] not in each.specifier]  # fmt: skip
    assert not wrong


def test_the_tested_versions_are_all_pinned() -> None:
    assert {canonicalize_name(each.name) for each in OURS} <= set(pins("constraints.txt"))


def test_the_least_versions_are_those_that_are_promised() -> None:
    """So that whoever raises a bound tests at the bound."""
    lowest, promised = pins("constraints-lowest.txt"), dict(floors())
    for name, pin in lowest.items():
        if name not in NOT_LEAST:
            assert pin.release[: len(promised[name].release)] == promised[name].release, f"{name} {pin}"
            assert not any(pin.release[len(promised[name].release) :]), f"{name} {pin}"
    assert {canonicalize_name(each.name) for each in CORE} <= set(lowest)
