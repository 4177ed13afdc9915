"""docs/columns.md is current, and the commands print the keys that it names and no others."""

import json
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from elbo_cli import records
from elbo_cli.columns import POSITIVE, UP, titles
from elbo_cli.comparison.records import Comparison, RunResult
from tests.cli.command import TINY, elbo
from tests.scripts import script

ROOT = Path(__file__).parents[1]


def test_the_page_is_current() -> None:
    assert script("write_columns").PAGE.read_text("utf-8") == script("write_columns").page(), (
        "run scripts/write_columns.py"
    )


def test_every_record_of_columns_is_on_the_page() -> None:
    tables = {value for value in vars(records).values() if isinstance(value, type) and "columns" in keys_of(value)}
    assert tables <= set(script("write_columns").TABLES.values())


def keys_of(record: type) -> set[str]:
    """`columns` where a record's fields are columns: they say what they are about."""
    return {"columns" for f in getattr(record, "__dataclass_fields__", {}).values() if "about" in f.metadata}


def test_a_column_says_what_it_is_and_its_sign_is_one_of_two() -> None:
    for record in script("write_columns").TABLES.values():
        for f in fields(record):
            assert len(f.metadata["about"]) > 5, f.name
            assert "|" not in f.metadata["about"], f"{f.name}: it would break the table"
            assert f.metadata["sign"] in (UP, POSITIVE, "")


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    here = tmp_path_factory.mktemp("keys")
    (here / "tiny.yaml").write_text(TINY)
    run = here / "run"
    small = ("--samples", "8", "--limit", "4")
    train = elbo("train", "--config", here / "tiny.yaml", "--out", run, "--json")
    evaluate = elbo("evaluate", run, "--limit", "4", "--json")
    gap = elbo("gap", run, *small, "--split-gap", "--sandwich", "4", "--json")
    assert (train.code, evaluate.code, gap.code) == (0, 0, 0), gap.err
    whole = json.loads(gap.out)
    split, sandwich = whole.pop("split_gap"), whole.pop("sandwich")
    split["gap"] = None  # its findings are told under `elbo gap`
    return {
        "`elbo train --json`": json.loads(train.out),
        "`elbo evaluate --json`": json.loads(evaluate.out),
        "`elbo gap --json`": whole,
        "`elbo gap --split-gap --json`, under `split_gap`": split,
        "`elbo gap --sandwich N --json`, under `sandwich`": sandwich,
        "`elbo compare --json`": compared(here, run),
        "`elbo sweep --json`": swept(here),
        "`elbo report --json`": said("report", run, *small),
        "`elbo sample --json`": said("sample", run, "--number", "2", "--walks", "1", "--out", here / "samples"),
    }


def said(*words: str | Path) -> dict[str, Any]:
    answer = elbo(*words, "--json")
    assert answer.code == 0, answer.err
    found: dict[str, Any] = json.loads(answer.out)
    return found


def compared(here: Path, run: Path) -> dict[str, Any]:
    """The keys that are values elsewhere, by what stands for them on the page."""
    other = ["model.latent_dim=3", "train.epochs=1"]
    assert elbo("train", "--config", here / "tiny.yaml", "--out", here / "other", *other).code == 0
    found = said("compare", run, here / "other", "--gap", "4", "--limit", "4")
    assert found["differs"].keys() == {key.partition("=")[0] for key in other}
    found["differs"] = {"KEY": {"CONFIG": found["differs"]["model.latent_dim"]["A"]}}
    for config in found["configs"]:
        config["settings"] = {"KEY": config["settings"]["model.latent_dim"]}
    assert {key for row in found["runs"] for key in row} == set(titles(RunResult))
    return found | {"runs": [None]}


def swept(here: Path) -> dict[str, Any]:
    (here / "sweep.yaml").write_text(f"config: tiny.yaml\nfolder: {here / 'swept'}\nspace: {{train.epochs: [1, 2]}}\n")
    assert elbo("sweep", here / "sweep.yaml", "--worker").code == 0
    found = said("sweep", here / "sweep.yaml")
    assert found["comparison"].keys() == {f.name for f in fields(Comparison)}
    return found | {"comparison": None}


def paths(tree: Any, path: str = "") -> Iterator[str]:
    """The keys of a JSON object with their paths: a.b, a[].b."""
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield from paths(value, f"{path}.{key}".removeprefix("."))
    elif isinstance(tree, list):
        for value in tree:
            yield from paths(value, f"{path}[]")
    else:
        yield path


def test_every_key_of_every_answer_is_on_the_page_and_no_other(answers: dict[str, Any]) -> None:
    assert answers.keys() == script("write_columns").KEYS.keys()
    for heading, answer in answers.items():
        assert set(paths(answer)) == set(script("write_columns").KEYS[heading]), heading
