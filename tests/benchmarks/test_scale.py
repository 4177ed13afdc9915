"""docs/scale.md says what the files and commands of benchmarks/scale say: nothing typed in, nothing left behind."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.compare import Setting
from benchmarks.scale import simulation

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "scale.md").read_text("utf-8")
UNITS: dict[str, Any] = json.loads((ROOT / "benchmarks" / "scale" / "units.json").read_text("utf-8"))
FIGURE = re.compile(r"\d[\d,]*(?:\.\d+)?")
HOUR, DOLLARS, SENT = 3600.0, 0.04, 0.09  # seconds; a core-hour; a GB


def cells(row: str) -> list[list[str]]:
    """The figures of each cell of the row that begins so, but the first."""
    (line,) = (line for line in PAGE.splitlines() if line.startswith(f"| {row}"))
    return [FIGURE.findall(cell) for cell in line.strip("| ").split("|")[1:]]


def agrees(told: str, value: float) -> bool:
    """Whether a figure is a value to half of its last digit; zeros at the end of a whole number are none."""
    text = told.replace(",", "")
    digit = 10.0 ** -len(text.partition(".")[2]) if "." in text else 10.0 ** (len(text) - len(text.rstrip("0")))
    return abs(value - float(text)) <= (0.5 + 1e-9) * digit


def seconds(K: int) -> float:
    """Of the gap of a datum."""
    return float(UNITS["gap_ms_per_datum"] * 1e-3 + K * UNITS["gap_us_per_draw"] * 1e-6)


EPOCH = 55_000 * UNITS["train_us_per_datum"] * 1e-6
COSTS: dict[str, list[float]] = {  # what is in the second column
    "training, batch 100, a datum": [UNITS["train_us_per_datum"], EPOCH, 55_000],
    "gap, the fitted proposal": [UNITS["gap_ms_per_datum"]],
    "gap, a draw of a datum": [UNITS["gap_us_per_draw"], 1e3 * seconds(500), 500, 1e3 * seconds(5000), 5000],
    "starting a command": [UNITS["startup_s"], UNITS["peak_mb_of_any_command"]],
    "a part of a gap": [UNITS["part_bytes_per_datum"], 64, UNITS["merge_ms_per_part"]],
    "all_reduce of 400,000 floats": [UNITS["all_reduce_ms"]["400000"], 30],
    "the same of 4,000,000": [UNITS["all_reduce_ms"]["4000000"]],
    "a claim and its answer": [UNITS["claim_ms"]["100"], UNITS["claim_ms"]["1000"]],
}
P = UNITS["parameters"]
MB = 1e-6
JOBS: dict[str, list[list[float]]] = {  # compute, memory, network, money
    "a training of 100 epochs": [
        [100 * EPOCH / HOUR],
        [55_000 * 784 * MB, 16 * P * MB],
        [4, 4 * P * MB],
        [100 * EPOCH / HOUR * DOLLARS],
    ],
    "the gap of 10,000 data": [
        [1e4 * seconds(500) / HOUR],
        [1e4 * 784 * MB],
        [1e4 * UNITS["part_bytes_per_datum"] * MB],
        [1e4 * seconds(500) / HOUR * DOLLARS],
    ],
    "the gap of 1,000,000 data at": [
        [1e6 * seconds(5000) / HOUR],
        [1e6 * 784 * MB],
        [1e6 * UNITS["part_bytes_per_datum"] * MB],
        [1e6 * seconds(5000) / HOUR * DOLLARS, 1e6 * UNITS["part_bytes_per_datum"] * 1e-9 * SENT],
    ],
    "a sweep of 10,000": [[1e6 * EPOCH / HOUR], [], [16 * P * MB], [1e6 * EPOCH / HOUR * DOLLARS]],
}


@pytest.mark.parametrize("row", COSTS)
def test_unit_costs_are_those_that_were_measured(row: str) -> None:
    told, values = cells(row)[0], COSTS[row]
    assert len(told) == len(values)
    assert all(map(agrees, told, values)), (told, values)


@pytest.mark.parametrize("row", JOBS)
def test_jobs_cost_what_their_units_do(row: str) -> None:
    for told, values in zip(cells(row), JOBS[row], strict=True):
        assert len(told) == len(values)
        assert all(map(agrees, told, values)), (told, values)


READ: list[dict[str, Any]] = json.loads((ROOT / "benchmarks" / "scale" / "reading.json").read_text("utf-8"))
HELD = ("in memory", "one file", "50 files", "1000 files", "memory map")
WHAT = {
    "microseconds of CPU a datum, in the page cache": ("warm", "cpu_us"),
    "memory for a tenth: bytes from the disk for each byte": ("short", "from_disk_per_byte"),
    "memory for a tenth: data a second": ("short", "data_per_s"),
}


@pytest.mark.parametrize("what", WHAT)
@pytest.mark.parametrize(("width", "window"), sorted({(row["bytes"], row["window"] or 0) for row in READ}))
def test_reading_costs_what_was_measured(width: int, window: int, what: str) -> None:
    state, key = WHAT[what]
    order = f"windows of {window:,}" if window else "all shuffled"
    found = {
        row["held"]: row[key]
        for row in READ
        if (row["bytes"], row["window"] or 0) == (width, window) and row["state"] == state
    }
    told = cells(f"{width:,} bytes, {order}: {what}")
    assert len(told) == len(HELD)
    for figures, held in zip(told, HELD, strict=True):
        assert len(figures) == (held in found)
        assert all(agrees(figure, found[held]) for figure in figures), (held, figures, found[held])


@pytest.fixture(scope="module")
def simulated() -> list[dict[str, Any]]:
    return list(simulation.study(Setting()))


def test_the_thousand_workers_are_those_of_the_simulation(simulated: list[dict[str, Any]]) -> None:
    def of(**wanted: object) -> Iterator[dict[str, Any]]:
        return (row for row in simulated if all(row.get(key) == value for key, value in wanted.items()))

    rows = {
        "| 100 workers": "workers",
        "| 1,000 workers": "workers",
        "| 100 shards": "shards",
        "| 1,000 shards": "shards",
    }
    for name, what in rows.items():
        size = int(FIGURE.findall(name)[0].replace(",", ""))
        for told, row in zip(cells(name[2:])[:3], of(**{what: size}), strict=True):
            assert all(map(agrees, told, (row["hours"], row["efficiency"]))), (told, row)
    for told, row in zip(cells("of it waiting"), of(workers=1000), strict=True):
        assert agrees(told[0], 100 * row["waiting_for_the_lock"])
    again = zip(cells("shards measured again"), of(shards=100), of(shards=1000), strict=True)
    for told, few, many in again:
        assert told == [str(few["shards_measured_again"]), str(many["shards_measured_again"])]


def test_a_figure_that_is_not_the_value_is_seen() -> None:
    assert agrees("0.07", 0.0701)
    assert agrees("700", 701.25)
    assert agrees("463,000", 462_516)
    assert not agrees("0.07", 0.076)
    assert not agrees("700", 760)
    assert not agrees("13", 14)
