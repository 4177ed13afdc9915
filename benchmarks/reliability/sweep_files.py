"""Sweep files made to do harm: code at every entrance, names that climb, storages that are none, billions of runs."""

import csv
import io
import json
import os
import pickle
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.reliability.bounded import Words, at, bounded, obeyed
from benchmarks.reliability.child import fork
from benchmarks.reliability.corrupt import LAUGHS, TINY
from benchmarks.reliability.hostile import ESCAPE, TEXTS, Code, Plant, harassed, planted
from benchmarks.reliability.tally import Tally, counting

Lay = Callable[[Path], str]  # a folder -> the sweep's file in it


def run(count: int | None) -> Iterator[Tally]:
    """Code first, then files that must come to a sentence or to an end, then what reaches a table."""
    with harassed() as (folder, run):
        yield planted("code planted in sweeps", folder, run, PLANTS)
        with counting("hostile sweep files") as tally:
            for name, lay in FILES.items():
                tally.count(name, bounded(folder / f"file{tally.tried}", partial(_worker, lay)))
        yield tally
        with counting("formulas, markup and escapes through sweep values") as tally:
            tally.count("names of data", _told(folder / "told"))
        yield tally


def _worker(lay: Lay, home: Path) -> Words:
    return ["sweep", lay(home), "--worker"]


def sweep(home: Path, text: str, name: str = "s.yaml") -> str:
    """A sweep's file beside a tiny config."""
    (home / "tiny.yaml").write_text(TINY.replace("epochs: 2", "epochs: 1"))
    (home / name).write_bytes(text.encode("utf-8", "surrogatepass"))
    return name


GRID = "config: tiny.yaml\nspace: {optim.lr: [1e-3]}\n"


def _plant(text: str, *words: str, **files: str) -> Plant:
    """A sweep with MARK in it, beside files with MARK in them."""

    def plant(home: Path, mark: Path) -> Words:
        for name, content in files.items():
            (home / name.replace("_", ".")).write_text(content.replace("MARK", str(mark)))
        return ["sweep", sweep(home, text.replace("MARK", str(mark))), *(words or ("--worker",))]

    return plant


def _pickled_journal(home: Path, mark: Path) -> Words:
    (home / "j.log").write_bytes(pickle.dumps(Code(mark)))
    return ["sweep", sweep(home, GRID + "storage: j.log\n"), "--worker"]


TAG = "!!python/object/apply:os.system ['touch MARK']"
MODULE = "open('MARK', 'w')\n"
PLANTS: dict[str, Plant] = {
    "a tag": _plant(f"{GRID}seed: {TAG}\n"),
    "a tag among the values": _plant(f"config: tiny.yaml\nspace: {{optim.lr: [{TAG}]}}\n"),
    "a tag in quotes among the values": _plant(f'config: tiny.yaml\nspace: {{optim.lr: ["{TAG}", "[{TAG}]"]}}\n'),
    "a tag in a list among the values": _plant(
        f"config: tiny.yaml\nspace: {{model.encoder.hidden: ['[{TAG}]', [{TAG}]]}}\n"
    ),
    "a tag as a key": _plant(f"config: tiny.yaml\nspace: {{? {TAG} : [1]}}\n"),
    "a tag in the config": _plant("config: e.yaml\nspace: {optim.lr: [1e-3]}\n", e_yaml=f"seed: {TAG}\n"),
    "a pickle as the journal": _pickled_journal,
    "a database whose dialect is a file here": _plant(f"{GRID}storage: evil+driver://x\n", evil_py=MODULE),
    "a database whose driver is a file here": _plant(f"{GRID}storage: sqlite+evil:///x.db\n", evil_py=MODULE),
    "a driver in the way": _plant(f"{GRID}storage: postgresql://u:p@localhost:1/x\n", psycopg2_py=MODULE),
    "a numpy.py in the folder, and workers": _plant(f"{GRID}processes: 1\n", "--device", "cpu", numpy_py=MODULE),
}


def _journal(content: bytes) -> Lay:
    def lay(home: Path) -> str:
        (home / "j.log").write_bytes(content)
        return sweep(home, GRID + "storage: j.log\n")

    return lay


def _storage(where: str) -> Lay:
    return lambda home: sweep(home, f"{GRID}storage: {json.dumps(where)}\n")


def _pipe(home: Path) -> str:
    os.mkfifo(home / "pipe")
    return sweep(home, GRID + "storage: pipe\n")


def _full(home: Path) -> str:
    """A folder that holds something else."""
    (home / "thesis").mkdir()
    (home / "thesis" / "thesis.tex").write_text("x")
    return sweep(home, GRID + "folder: thesis\n")


def _space(text: str, more: str = "") -> Lay:
    return lambda home: sweep(home, f"config: tiny.yaml\n{more}space:\n  {text}\n")


def _many(keys: int) -> str:
    return "{" + ", ".join(f"k{i}: [1, 2]" for i in range(keys)) + "}"


OPS = {"op_code": 0, "worker_id": "w", "study_name": "s", "directions": [1]}
FILES: dict[str, Lay] = {
    "a grid": lambda h: sweep(h, GRID),  # the control: it trains
    "a sweep called ...yaml": lambda h: sweep(h, GRID, "...yaml"),
    "a sweep called ..yaml": lambda h: sweep(h, GRID, "..yaml"),
    "a sweep called .yaml": lambda h: sweep(h, GRID, ".yaml"),
    "a sweep that is an escape": lambda h: sweep(h, GRID, f"{ESCAPE.replace('/', '')}.yaml"),
    "a folder above": lambda h: sweep(h, GRID + "folder: ..\n"),
    "a folder above, which is full": lambda h: sweep(h, GRID + "folder: ../..\n"),
    "this folder": lambda h: sweep(h, GRID + "folder: .\n"),
    "a folder that holds something else": _full,
    "a folder with a NUL": lambda h: sweep(h, GRID + 'folder: "a\\0b"\n'),
    "a folder of 300 letters": lambda h: sweep(h, GRID + f"folder: {'x' * 300}\n"),
    "a config with a NUL": lambda h: sweep(h, GRID.replace("tiny.yaml", '"a\\0b"')),
    "a config that is a folder": lambda h: sweep(h, GRID.replace("tiny.yaml", '"."')),
    "a config that is nothing": lambda h: sweep(h, GRID.replace("tiny.yaml", '""')),
    "a config that is the sweep": lambda h: sweep(h, GRID.replace("tiny.yaml", "s.yaml")),
    "a journal that is a folder": _storage("."),
    "a journal in no folder": _storage("no/where/j.log"),
    "a journal that is the sweep": _storage("s.yaml"),
    "a journal that is the config": _storage("tiny.yaml"),
    "a journal that never ends": _storage("/dev/zero"),
    "a journal that keeps nothing": _storage("/dev/null"),
    "a journal on a full disk": _storage("/dev/full"),
    "a journal that is a pipe": _pipe,
    "a journal with a NUL": _storage("a\0b"),
    "a journal of bytes": _journal(bytes(range(256)) * 20),
    "a journal of numbers": _journal(b"1\n2\n3\n"),
    "a journal of lists": _journal(b"[]\n{}\n"),
    "a journal of deep brackets": _journal(b"[" * 100_000 + b"\n"),
    "a journal of no operation": _journal(json.dumps(OPS | {"op_code": 99}).encode() + b"\n"),
    "a journal without its keys": _journal(b'{"op_code": 0}\n{"op_code": 4, "trial_id": 9}\n'),
    "a journal of another study": _journal(json.dumps(OPS).encode() + b"\n"),
    "a journal of this study, all else wrong": _journal(
        json.dumps(OPS).encode()
        + b'\n{"op_code": 2, "worker_id": "w", "study_id": 0, "user_attr": {"elbo_sweep": [1]}}\n'
    ),
    "a journal of a line without an end": _journal(b'{"op_code": 0, "worker_id": "w", "study_name": "'),
    "a database of no kind": _storage("nonsense://x"),
    "a database of nothing": _storage("://"),
    "a database that is not there": _storage("postgresql://user:secret@localhost:1/x"),
    "a database of redis": _storage("redis://localhost:1"),
    "a database on the web": _storage("http://localhost:1/x"),
    "a database that is a text": lambda h: sweep(h, GRID + "storage: sqlite:///tiny.yaml\n"),
    "a database in no folder": _storage("sqlite:///no/where/x.db"),
    "a database in memory": _storage("sqlite://"),
    "a database of a colon": _storage("sqlite:///x.db?" + "&".join(f"a{i}=1" for i in range(1000))),
    "a billion laughs": lambda h: sweep(h, GRID + LAUGHS),
    "a loop": lambda h: sweep(h, "config: tiny.yaml\nspace: &a {optim.lr: [*a]}\n"),
    "a loop of merges": lambda h: sweep(h, GRID + "x: &a\n  <<: *a\n"),
    "an anchor": _space("optim.lr: [&a 1e-3, *a]"),
    "a key twice": _space("optim.lr: [1e-3]\n  optim.lr: [1e-2]"),
    "a section twice": lambda h: sweep(h, GRID + "space: {optim.lr: [1e-2]}\n"),
    "two documents": lambda h: sweep(h, GRID + "---\n" + GRID),
    "brackets": lambda h: sweep(h, "config: tiny.yaml\nspace: " + "[" * 100_000),
    "brackets that close": lambda h: sweep(h, "config: tiny.yaml\nspace: " + "[" * 100_000 + "]" * 100_000),
    "dashes": lambda h: sweep(h, "config: tiny.yaml\nspace:\n" + "- " * 100_000),
    "a megabyte": lambda h: sweep(h, GRID + "#" * 2**20),
    "bytes": lambda h: sweep(h, "\udcff\udcfe" + GRID),
    "a list": lambda h: sweep(h, "[1, 2]"),
    "a word": lambda h: sweep(h, "x"),
    "nothing": lambda h: sweep(h, ""),
    "no file": lambda h: "none.yaml",
    "a folder": lambda h: ".",
    "a billion points at random": _space("optim.lr: [1e-3]", "search: random\ntrials: 1000000000\n"),
    "2^63 - 1 points at random": _space("optim.lr: [1e-3]", f"search: random\ntrials: {2**63 - 1}\n"),
    "a billion proposals": _space("optim.lr: [1e-3]", "search: tpe\ntrials: 1000000000\n"),
    "a billion combinations": _space(
        "optim.lr: [" + ", ".join(["1e-3"] * 1000) + "]\n"
        "  optim.eps: [" + ", ".join(["1e-3"] * 1000) + "]\n"
        "  optim.clip_norm: [" + ", ".join(["1"] * 1000) + "]"
    ),
    "2^9000 combinations": lambda h: sweep(h, f"config: tiny.yaml\nspace: {_many(9000)}\n"),
    "9,000 keys at random": lambda h: sweep(h, f"config: tiny.yaml\nsearch: random\nspace: {_many(9000)}\n"),
    "50,000 seeds": lambda h: sweep(h, GRID + f"seeds: [{', '.join(map(str, range(40_000)))}]\n"),
    "seeds that are one": lambda h: sweep(h, GRID + "seeds: [0, 0, 0]\n"),
    "values that are one": _space("optim.lr: [1e-3, 1e-3]"),
    "values that are one, proposed": _space("optim.lr: [1e-3, 1e-3]", "search: tpe\ntrials: 2\n"),
    "a billion processes": lambda h: sweep(h, GRID + "processes: 1000000000\n"),
    "a billion jobs": lambda h: sweep(h, GRID + "slurm: {jobs: 1000000000, cluster: local}\n"),
    "a range of infinities": _space("optim.lr: {low: -.inf, high: .inf}", "search: random\ntrials: 2\n"),
    "a range of infinities, proposed": _space("optim.lr: {low: -.inf, high: .inf}", "search: tpe\ntrials: 2\n"),
    "a range beyond all numbers": _space("optim.lr: {low: -1.7e308, high: 1.7e308}", "search: random\ntrials: 2\n"),
    "a range of 2^63": _space(f"train.patience: {{low: 1, high: {2**63 - 1}}}", "search: random\ntrials: 4\n"),
    "a range of 2^63, log": _space(
        f"train.patience: {{low: 1, high: {2**63 - 1}, log: true}}", "search: random\ntrials: 4\n"
    ),
    "a range of 2^63, proposed": _space(f"train.patience: {{low: 1, high: {2**63 - 1}}}", "search: tpe\ntrials: 2\n"),
    "a range of no width": _space("optim.lr: {low: 1.0, high: 1.0000000000000002}", "search: tpe\ntrials: 2\n"),
    "a key with its value": _space('"data.path=x": [1]'),
    "an empty key": _space('"": [1]'),
    "an option": _space('"--json": [1]'),
    "a section": _space("model: [{latent_dim: 2}]"),
    "a section's name": _space("data.name: [digits, mnist, arrays]"),
    **{f"a key that is {name}": lambda h, t=text: sweep(h, GRID[:18] + f"space: {{{json.dumps(t)}: [1]}}\n")  # type: ignore[misc]
       for name, text in TEXTS.items()},
    **{f"a value that is {name}": lambda h, t=text: sweep(h, GRID[:18] + f"space: {{data.path: [{json.dumps(t)}]}}\n")  # type: ignore[misc]
       for name, text in TEXTS.items()},
    **{f"a folder that is {name}": lambda h, t=text: sweep(h, GRID + f"folder: {json.dumps(t.replace('/', '-'))}\n")  # type: ignore[misc]
       for name, text in TEXTS.items()},
}  # fmt: skip


NAMES = ["=1+cmd|'calc'!A0.npy", "@sum.npy", "[red]x[_red].npy", "\x1b[31mred.npy", "-1+1.npy"]


def _told(home: Path) -> str | None:
    """Data of names that a spreadsheet or a terminal would obey, swept over: in no table is one of them obeyed."""
    home.mkdir()
    for name in NAMES:
        np.save(home / name, (np.random.default_rng(0).random((40, 6)) > 0.5).astype("f4"))
    base = TINY.replace("name: digits, valid: 60, test: 1000", "name: arrays, path: x.npy, valid: 4, test: 4")
    (home / "tiny.yaml").write_text(base)
    (home / "s.yaml").write_text(f"config: tiny.yaml\nfolder: swept\nspace: {{data.path: {json.dumps(NAMES)}}}\n")
    runs = [f"swept/trial-{number:04}" for number in range(len(NAMES))]
    lines = [["sweep", "s.yaml", "--worker"], ["runs", "swept"], ["runs", "swept", "--csv"], ["compare", *runs]]
    lines += [["compare", *runs, "--csv"]]
    for words in lines:
        ended = fork(lambda words=words: at(home, words), home / "log").wait()  # type: ignore[misc]
        if ended.code or (bad := obeyed(ended.said)):
            return f"{words[:2]}: {ended.code}: {bad or ended.said[-300:]}"
        if "trial-0002" in ended.said and words[0] == "runs" and "[red]" not in ended.said:
            return "markup was obeyed"
        cells = [cell for row in csv.reader(io.StringIO(ended.said)) for cell in row] if words[-1] == "--csv" else []
        if formulas := [cell for cell in cells if cell[:1] in ("=", "@", "+") or cell.startswith("-1+1")]:
            return f"{words[0]} --csv: formulas {formulas}"
    return None
