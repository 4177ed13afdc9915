"""Files and names made to do harm: a pickle with code at each entrance, paths that climb, text that is no text."""

import io
import json
import os
import pickle
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save

from benchmarks.reliability.bounded import at, obeyed, outside
from benchmarks.reliability.child import elbo, fork, unsaid
from benchmarks.reliability.corrupt import TINY
from benchmarks.reliability.tally import Tally, counting
from elbo_cli import checkpoint

Plant = Callable[[Path, Path], list[str | Path]]  # a folder with a run and where the code would leave its mark -> words


class Code:
    """A pickle that leaves a mark where it is opened."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.mark}",)


def run(count: int | None) -> Iterator[Tally]:
    """Code first, then names."""
    with harassed() as (folder, run):
        yield planted("code planted in files", folder, run, PLANTS)
        yield named("names and texts", folder, run, NAMES)


@contextmanager
def harassed() -> Iterator[tuple[Path, Path]]:
    """A folder with a config, and a run in it."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "tiny.yaml").write_text(TINY)
        run = folder / "run"
        fork(lambda: elbo("train", "--config", folder / "tiny.yaml", "--out", run), folder / "log").wait()
        yield folder, run


def planted(name: str, folder: Path, run: Path, plants: Mapping[str, Plant]) -> Tally:
    """Every plant, of which none may run."""
    with counting(name) as tally:
        assert _works(folder), "blind: the code does not run where a pickle is opened"
        for each, plant in plants.items():
            tally.count(each, _planted(folder / f"plant{tally.tried}", run, plant))
    return tally


def named(name: str, folder: Path, run: Path, words: Mapping[str, Any]) -> Tally:
    """Every name and text, each of which must come to a sentence or to nothing."""
    with counting(name) as tally:
        for each, said in words.items():
            tally.count(each, _named(folder / f"name{tally.tried}", run, said))
    return tally


def _works(folder: Path) -> bool:
    mark = folder / "works"
    pickle.loads(pickle.dumps(Code(mark)))
    return mark.exists()


def _planted(home: Path, run: Path, plant: Plant) -> str | None:
    home.mkdir()
    mark = home / "mark"
    words = plant(home, mark) if plant not in SEALED else plant(run, mark)
    ended = fork(lambda: at(home, words), home.with_suffix(".log")).wait()
    return "THE CODE RAN" if mark.exists() else unsaid(ended)


def _file(name: str, content: Callable[[Path], bytes], *words: str) -> Plant:
    def plant(home: Path, mark: Path) -> list[str | Path]:
        (home / name).write_bytes(content(mark))
        return list(words)

    return plant


def _npz(mark: Path) -> bytes:
    text = io.BytesIO()
    np.savez(text, train=np.array([Code(mark)] * 4, dtype=object))
    return text.getvalue()


def _npy(mark: Path) -> bytes:
    text = io.BytesIO()
    np.save(text, np.array([Code(mark)] * 4, dtype=object), allow_pickle=True)
    return text.getvalue()


def _raw_in_npz(mark: Path) -> bytes:
    text = io.BytesIO()
    with zipfile.ZipFile(text, "w") as archive:
        archive.writestr("train.npy", pickle.dumps(Code(mark)))
    return text.getvalue()


def _record_npy(mark: Path) -> bytes:
    text = io.BytesIO()
    np.save(text, np.array([(1.0, Code(mark))], dtype=[("a", "f4"), ("b", "O")]), allow_pickle=True)
    return text.getvalue()


def _pt(mark: Path) -> bytes:
    text = io.BytesIO()
    torch.save({"weights": Code(mark)}, text)
    return text.getvalue()


def _tagged(mark: Path) -> bytes:
    return f"seed: !!python/object/apply:os.system ['touch {mark}']\n".encode()


def _sealed(change: Callable[[dict[str, Any], Path], None]) -> Plant:
    """A checkpoint with a right checksum, whose header says what elbo never would."""

    def plant(run: Path, mark: Path) -> list[str | Path]:
        kept = checkpoint.read(run / "best.safetensors")
        content = (run / "best.safetensors").read_bytes()
        metadata = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])["__metadata__"]
        about = json.loads(metadata[checkpoint.KEY])
        change(about, mark)
        text = json.dumps(about)
        tensors = dict(kept.tensors)
        seal = checkpoint.checksum(tensors, text)
        path = mark.with_name("hostile.safetensors")
        path.write_bytes(save(tensors, metadata={checkpoint.KEY: text, checkpoint.SEAL: seal}))
        return ["evaluate", path]

    SEALED.add(plant)
    return plant


def _run_with_a_tag(home: Path, mark: Path) -> list[str | Path]:
    (home / "runs" / "evil").mkdir(parents=True)
    (home / "runs" / "evil" / "config.yaml").write_bytes(_tagged(mark))
    return ["runs", home / "runs"]


def _resumed_with_a_tag(home: Path, mark: Path) -> list[str | Path]:
    (home / "evil").mkdir()
    (home / "evil" / "config.yaml").write_bytes(_tagged(mark))
    return ["train", "--resume", home / "evil"]


def _resumed_from_a_pickle(home: Path, mark: Path) -> list[str | Path]:
    (home / "evil").mkdir()
    (home / "evil" / "config.yaml").write_text(TINY)
    (home / "evil" / "last.safetensors").write_bytes(pickle.dumps(Code(mark)))
    return ["train", "--resume", home / "evil"]


def _module_in_the_way(name: str, *words: str) -> Plant:
    """A file in the current folder with the name of a library: no command but module:factory imports from there."""
    return _file(f"{name}.py", lambda mark: f"open({str(mark)!r}, 'w')\nraise SystemExit(9)\n".encode(), *words)


def _set(*keys: str, to: Any) -> Callable[[dict[str, Any], Path], None]:
    def change(about: dict[str, Any], mark: Path) -> None:
        place = about
        for key in keys[:-1]:
            place = place[key]
        place[keys[-1]] = to

    return change


def _config(old: str, new: str) -> Callable[[dict[str, Any], Path], None]:
    def change(about: dict[str, Any], mark: Path) -> None:
        assert old in about["config"], about["config"]
        about["config"] = about["config"].replace(old, new.replace("MARK", str(mark)))

    return change


SEALED: set[Plant] = set()
TRAIN = ("train", "--config", "c.yaml", "--out", "out")
PLANTS: dict[str, Plant] = {
    "a pickle as a checkpoint": _file("x.safetensors", lambda m: pickle.dumps(Code(m)), "evaluate", "x.safetensors"),
    "torch.save as a checkpoint": _file("x.pt", _pt, "evaluate", "x.pt"),
    "torch.save as a checkpoint of gap": _file("x.pt", _pt, "gap", "x.pt"),
    "a pickle in a run that resumes": _resumed_from_a_pickle,
    "objects in .npy": _file("x.npy", _npy, "check", "x.npy"),
    **{
        f"{name} as data": (
            lambda home, mark, n=name, c=content: [  # type: ignore[misc]
                (home / "c.yaml").write_text(TINY.replace("digits, valid: 60, test: 1000", f"arrays, path: {n}")),
                (home / n).write_bytes(c(mark)),
                *TRAIN,
            ][2:]
        )
        for name, content in {"x.npy": _npy, "record.npy": _record_npy, "x.npz": _npz, "raw.npz": _raw_in_npz}.items()
    },
    "a pickle called .parquet": lambda home, mark: [
        str((home / "x.parquet").write_bytes(pickle.dumps(Code(mark)))) and "train",
        "--config",
        _tiny(home),
        "data.name=arrays",
        "data.path=x.parquet",
        "--out",
        "out",
    ],
    "a YAML tag in a config": _file("c.yaml", _tagged, *TRAIN),
    "a YAML tag for check": _file("c.yaml", _tagged, "check", "c.yaml"),
    "a YAML tag in an override": lambda home, mark: [
        "check",
        _tiny(home),
        f"seed=[!!python/object/apply:os.system ['touch {mark}']]",
    ],
    "a YAML tag in a run's config, listed": _run_with_a_tag,
    "a YAML tag in a run's config, resumed": _resumed_with_a_tag,
    "a YAML tag in a sealed checkpoint": _sealed(
        _config("seed: 0", "seed: !!python/object/apply:os.system ['touch MARK']")
    ),
    "a sealed checkpoint without a config": _sealed(_set("config", to=None)),
    "a sealed checkpoint with a list for a config": _sealed(_set("config", to=[])),
    "a sealed checkpoint of no shape": _sealed(_set("shape", to="xx")),
    "a sealed checkpoint of a huge shape": _sealed(_set("shape", to=[2**40, 2**40])),
    "a sealed checkpoint of negative shape": _sealed(_set("shape", to=[-1, -64])),
    "a sealed checkpoint of another format": _sealed(_set("format", to={"a": 1})),
    "a sealed checkpoint with a word for its best": _sealed(_set("best", to="x")),
    "a sealed checkpoint with unknown columns": _sealed(_set("last", "code", to="x")),
    "a sealed checkpoint with a list for its last": _sealed(_set("last", to=[])),
    "a sealed checkpoint of a huge network": _sealed(_config("hidden: [2]", "hidden: [1000000000]")),
    "a sealed checkpoint of 2^63 - 1 units": _sealed(_config("hidden: [2]", "hidden: [9223372036854775807]")),
    "a sealed checkpoint of a million threads": _sealed(_config("threads: 1", "threads: 9223372036854775807")),
    "a numpy.py in the folder": _module_in_the_way("numpy", "init"),
    "a safetensors.py in the folder": _module_in_the_way("safetensors", "evaluate", "nothing"),
}


def _tiny(home: Path) -> Path:
    (home / "tiny.yaml").write_text(TINY)
    return home / "tiny.yaml"


def _named(home: Path, run: Path, words: Callable[[Path, Path], list[str | Path]]) -> str | None:
    """Told in words that a terminal prints and obeys not, and nothing is written outside the folder."""
    home.mkdir()
    inside = home / "a" / "b"
    inside.mkdir(parents=True)
    typed = words(inside, run)
    before = outside(home)
    ended = fork(lambda: at(inside, typed), home.with_suffix(".log")).wait()
    if outside(home) != before:
        return f"wrote outside its folder: {outside(home) - before}"
    bad = obeyed(ended.said)
    return unsaid(ended) or (f"control characters reach the terminal: {bad[:5]}" if bad else None)


ESCAPE = "\x1b[2J\x1b]0;owned\x07\x1b[31m"
TEXTS = {
    "an escape sequence": ESCAPE,
    "markup": "[red]x[/red][/][link=file:///etc/passwd]y[/link]",
    "a newline": "one\ntwo\rthree",
    "right to left": "\u202egnp.exe",
    "half a surrogate": "\udcff\udce9",
    "a percent": "%s%n{0}{x.__class__}",
    "three hundred letters": "x" * 300,
}


def _copied(inside: Path, run: Path, name: str) -> Path:
    """The checkpoint under a hostile name, where the system takes it."""
    target = inside / f"{name[:100].replace('/', '-')}.safetensors"
    target.write_bytes((run / "best.safetensors").read_bytes())
    return target


NAMES: dict[str, Callable[[Path, Path], list[str | Path]]] = {
    "a preset that climbs": lambda h, r: ["init", "../../x"],
    "a preset of the root": lambda h, r: ["init", "/etc/passwd"],
    "a preset with a NUL": lambda h, r: ["init", "dig\0its"],
    "a preset that climbs to one that is there": lambda h, r: ["init", "../presets/digits"],
    "an out with a NUL": lambda h, r: ["init", "digits", "--out", "a\0b"],
    "a config called ...yaml": lambda h, r: [
        str((h / "...yaml").write_text(TINY)) and "train",
        "--config",
        "...yaml",
        "train.epochs=1",
    ],
    "a config whose name is 250 letters": lambda h, r: [
        str((h / ("x" * 245 + ".yaml")).write_text(TINY)) and "train",
        "--config",
        "x" * 245 + ".yaml",
    ],
    "a config that is an escape sequence": lambda h, r: [
        str((h / f"{ESCAPE}.yaml").write_text(TINY)) and "train",
        "--config",
        f"{ESCAPE}.yaml",
        "train.epochs=1",
    ],
    **{f"a preset that is {k}": lambda h, r, t=t: ["init", t] for k, t in TEXTS.items()},  # type: ignore[misc]
    **{f"a config that is {k}": lambda h, r, t=t: ["check", t] for k, t in TEXTS.items()},  # type: ignore[misc]
    **{f"an override that is {k}": lambda h, r, t=t: ["check", _tiny(h), t] for k, t in TEXTS.items()},  # type: ignore[misc]
    **{f"a key that is {k}": lambda h, r, t=t: ["check", _tiny(h), f"model.{t}=1"] for k, t in TEXTS.items()},  # type: ignore[misc]
    **{f"a value that is {k}": lambda h, r, t=t: ["check", _tiny(h), f"data.root={t}"] for k, t in TEXTS.items()},  # type: ignore[misc]
    **{f"a path of data that is {k}": lambda h, r, t=t: ["evaluate", r, "--data", t] for k, t in TEXTS.items()},  # type: ignore[misc]
    **{f"a checkpoint called {k}": lambda h, r, t=t: ["evaluate", _copied(h, r, t)] for k, t in TEXTS.items()},  # type: ignore[misc]
    **{f"a checkpoint that is {k}": lambda h, r, t=t: ["evaluate", t] for k, t in TEXTS.items()},  # type: ignore[misc]
    **{f"a factory that is {k}": lambda h, r, t=t: ["evaluate", f"{t}:{t}"] for k, t in TEXTS.items()},  # type: ignore[misc]
    **{f"an out that is {k}": lambda h, r, t=t: ["train", "--config", _tiny(h), "--out", t] for k, t in TEXTS.items()},  # type: ignore[misc]
    **{f"an option that is {k}": lambda h, r, t=t: ["check", f"--{t}"] for k, t in TEXTS.items()},  # type: ignore[misc]
    **{f"a command that is {k}": lambda h, r, t=t: [t] for k, t in TEXTS.items()},  # type: ignore[misc]
    **{f"a folder of runs that is {k}": lambda h, r, t=t: ["runs", t] for k, t in TEXTS.items()},  # type: ignore[misc]
}
