"""What stands after `Next:` is this measurement again, but for what it advises."""

import json
import shlex
from pathlib import Path

import pytest

from tests.cli.command import elbo

AIS = ("--method", "ais", "--temperatures", "6")


def advice(*words: str | Path) -> tuple[list[str], dict[str, object]]:
    """The words of the advised command, and the findings that it is advised for."""
    answer = elbo("gap", *words, "--limit", "3", "--json")
    assert answer.code == 0, answer.err
    found = json.loads(answer.out)
    return shlex.split(found["advice"]), found


@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        (("--samples", "8"), []),
        (("--samples", "8", "--proposal", "refined"), ["--proposal", "refined"]),
        (("--samples", "8", "--seed", "7", "--delta", "0.1"), ["--seed", "7", "--delta", "0.1"]),
        (("--samples", "8", "--device", "cpu", "--threads", "1"), ["--threads", "1", "--device", "cpu"]),
        ((*AIS, "--samples", "4"), [*AIS]),
        ((*AIS, "--samples", "4", "--proposal", "prior"), [*AIS, "--proposal", "prior"]),
    ],
    ids=lambda words: " ".join(words) or "nothing",
)
def test_what_the_advice_does_not_name_is_kept(trained: Path, typed: tuple[str, ...], kept: list[str]) -> None:
    words, _ = advice(trained, *typed)
    assert words[:5] == ["elbo", "gap", str(trained), "--limit", "3"]
    text = " ".join(words)
    assert all(f"{option} {value}" in text for option, value in zip(kept[::2], kept[1::2], strict=True))
    assert all(words.count(option) == 1 for option in {w for w in words if w.startswith("--")})
    assert len(words) == 7 + len(kept), words  # and the advice itself: an option and its value


def test_an_advice_for_annealing_anneals(trained: Path) -> None:
    words, found = advice(trained, *AIS, "--samples", "4")
    assert (found["method"], found["temperatures"]) == ("ais", 6)
    again = json.loads(elbo(*words[1:], "--json").out)
    assert (again["method"], again["temperatures"], again["samples"]) == ("ais", 6, 16)


def test_another_proposal_is_advised_without_the_old_one(trained: Path) -> None:
    words, _ = advice(trained, "--samples", "500", "--proposal", "posterior")
    assert words.count("--proposal") == 1
    assert words[words.index("--proposal") + 1] == "auto"
