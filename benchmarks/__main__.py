"""`python -m benchmarks [NAME ...]`: without a name, what is about speed. A JSON line for each row.

`python -m benchmarks table1 --help`: the table of the IWAE paper, which has options of its own.
"""

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks import (
    combinations,
    coverage,
    gradients,
    hundred,
    importance,
    ledger,
    mnist,
    startup,
    table1,
    tolerance,
    training,
    verdict,
)
from benchmarks.compare import Row, Setting, machine
from benchmarks.scale import efficiency, reading, simulation, units

STUDIES: dict[str, Callable[[Setting], Iterator[Row]]] = {
    "start": startup.study,
    "train": training.study,
    "combinations": combinations.study,
    "importance": importance.study,
    "coverage": lambda setting: coverage.study(),
    "verdict": lambda setting: verdict.study(),
    "hundred": lambda setting: hundred.study(),
    "tolerance": lambda setting: tolerance.study(),
    "scaling": efficiency.study,
    "gradients": lambda setting: gradients.study(),
    "ledger": ledger.study,
    "units": units.study,
    "reading": reading.study,
    "simulation": simulation.study,
    "mnist": mnist.many,
    "mnist-dear": mnist.few,
    "mnist-sandwich": mnist.between,
    "mnist-split": mnist.blame,
}
SPEED = (
    "start",
    "train",
    "combinations",
    "importance",
)  # what is about speed, and not about how often an answer is right
PEERS = Path(".venv-peers/bin/python")


def main() -> None:
    """Run the studies that are named."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(STUDIES)}; by default {SPEED}")
    root = os.environ.get("ELBO_DATA")
    parser.add_argument("--root", type=Path, default=root and Path(root), help="of real MNIST; else $ELBO_DATA")
    parser.add_argument("--peers", type=Path, default=PEERS, help="a Python that has the peers")
    parser.add_argument("--full", action="store_true", help="more data, more rounds")
    given = parser.parse_args()
    setting = Setting(given.root, given.peers if given.peers.exists() else None, given.full)
    about = {"machine": machine(), "data": "MNIST" if setting.root else "synthetic"}
    for name in given.names or SPEED:
        for row in STUDIES[name](setting):
            print(json.dumps({"study": name, **row, **about}), flush=True)


if sys.argv[1:2] == ["table1"]:
    for row in table1.study(sys.argv[2:]):
        print(json.dumps({"study": "table1", **row, "machine": machine()}), flush=True)
else:
    main()
