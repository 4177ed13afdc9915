"""What came later, attacked in the same ways: --init, --merge, report, compare, sample, plot, TensorBoard's events."""

import json
import pickle
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from html.parser import HTMLParser
from pathlib import Path

from benchmarks.reliability.bounded import Words, bounded
from benchmarks.reliability.child import elbo, fork
from benchmarks.reliability.corrupt import LAUGHS, TINY
from benchmarks.reliability.hostile import TEXTS, Code, Plant, _file, _pt, _tagged, harassed, named, planted
from benchmarks.reliability.tally import Tally, counting

SCRIPT = "<script>owned()</script><img src=x onerror=owned()>"
FEW = ["--limit", "4", "--samples", "4"]


def run(count: int | None) -> Iterator[Tally]:
    """Code, then names, then what reaches a page or a table."""
    with harassed() as (folder, run):
        assert _runs(SCRIPT), "blind: a page that is a script passes"
        yield planted("code planted, later surfaces", folder, run, PLANTS)
        yield named("names and texts, later surfaces", folder, run, NAMES)
        with counting("pages and tables") as tally:
            for name, attempt in READ.items():
                home = folder / f"page{tally.tried}"
                home.mkdir()
                tally.count(name, attempt(home, run))
        yield tally
        with counting("run folders of strangers, listed and filtered") as tally:
            for name, change in RUNS.items():
                tally.count(name, bounded(folder / f"listed{tally.tried}", partial(_listed, run, change)))
        yield tally


def _begun_from(name: str, content: Callable[[Path], bytes]) -> Plant:
    def plant(home: Path, mark: Path) -> Words:
        (home / name).write_bytes(content(mark))
        (home / "c.yaml").write_text(TINY)
        return ["train", "--config", "c.yaml", "--init", name, "--out", "out"]

    return plant


def _tagged_run(*words: str) -> Plant:
    def plant(home: Path, mark: Path) -> Words:
        (home / "evil").mkdir()
        (home / "evil" / "config.yaml").write_bytes(_tagged(mark))
        (home / "evil" / "metrics.csv").write_text("epoch,valid_elbo\n1,=cmd|' /C calc'!A0\n")
        return [*words]

    return plant


def _pickled(mark: Path) -> bytes:
    return pickle.dumps(Code(mark))


PLANTS: dict[str, Plant] = {
    "--init with a pickle": _begun_from("x.safetensors", _pickled),
    "--init with torch.save": _begun_from("x.pt", _pt),
    "--init with a module in the way": _begun_from("torch.py", lambda mark: f"open({str(mark)!r}, 'w')\n".encode()),
    "a pickle as a part to merge": _file("part.parquet", _pickled, "gap", "--merge", "part.parquet"),
    "a pickle as a part in CSV": _file("part.csv", _pickled, "gap", "--merge", "part.csv"),
    "a pickle in a report": _file("x.safetensors", _pickled, "report", "x.safetensors"),
    "a pickle in a comparison": _file("x.safetensors", _pickled, "compare", "x.safetensors", "x.safetensors"),
    "a pickle to sample from": _file("x.safetensors", _pickled, "sample", "x.safetensors"),
    "a tag in a run, reported": _tagged_run("report", "evil"),
    "a tag in a run, compared": _tagged_run("compare", "evil", "evil"),
    "a tag in a run, plotted": _tagged_run("plot", "evil"),
    "a tag in a run, filtered": _tagged_run("runs", ".", "--where", "data.name=digits"),
}


def _tiny(home: Path) -> Path:
    (home / "tiny.yaml").write_text(TINY)
    return home / "tiny.yaml"


KINDS: dict[str, Callable[[Path, Path, str], Words]] = {
    "an --init that is": lambda h, r, t: ["train", "--config", _tiny(h), "--init", t],
    "a part to merge that is": lambda h, r, t: ["gap", "--merge", t],
    "a shard that is": lambda h, r, t: ["gap", r, "--shard", t, "--out", "x.csv"],
    "a report's run that is": lambda h, r, t: ["report", t],
    "a report's place that is": lambda h, r, t: ["report", r, *FEW, "--out", t],
    "a comparison's run that is": lambda h, r, t: ["compare", r, t],
    "a filter that is": lambda h, r, t: ["runs", r.parent, "--where", t],
    "a plotted run that is": lambda h, r, t: ["plot", t],
    "a column to plot that is": lambda h, r, t: ["plot", r, "--what", t],
    "a folder of samples that is": lambda h, r, t: ["sample", r, "--number", "2", "--walks", "1", "--out", t],
}
NAMES: dict[str, Callable[[Path, Path], Words]] = {
    f"{kind} {name}": lambda h, r, make=make, text=text: make(h, r, text)  # type: ignore[misc]
    for kind, make in KINDS.items()
    for name, text in TEXTS.items()
}


class Found(HTMLParser):
    """Tags and attributes that would run something."""

    def __init__(self) -> None:
        super().__init__()
        self.bad: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, value in attrs if name.startswith("on") or (value or "").startswith("javascript:")]
        if tag in ("iframe", "object", "embed") or names or dict(attrs).get("src") == "x":
            self.bad.append(f"<{tag} {attrs}>")

    def handle_data(self, data: str) -> None:
        if self.cdata_elem == "script" and "owned" in data:
            self.bad.append(data[:100])


def _page(home: Path, run: Path) -> str | None:
    """A run of a hostile name, with hostile words in its config and metrics: the page shows them and runs nothing."""
    evil = home / SCRIPT.replace("/", "\N{FRACTION SLASH}")
    shutil.copytree(run, evil)
    manifest = json.loads((evil / "manifest.json").read_text())
    manifest["command"] = manifest["platform"] = SCRIPT
    (evil / "manifest.json").write_text(json.dumps(manifest))
    ended = fork(lambda: elbo("report", evil, *FEW, "--out", home / "page.html"), home / "log").wait()
    if ended.code != 0:
        return f"no page: {ended}"
    page = (home / "page.html").read_text()
    if "owned" not in page:
        return "blind: the hostile words are not on the page"
    return f"runs {bad[:3]}" if (bad := _runs(page)) else None


def _runs(page: str) -> list[str]:
    found = Found()
    found.feed(page)
    return found.bad


def _events(home: Path, run: Path) -> str | None:
    """TensorBoard's file beside the run, and nothing of it outside."""
    words = ["train", "--config", _tiny(home), "train.log_to=[csv,tensorboard]", "--out", home / "logged"]
    ended = fork(lambda: elbo(*words), home / "log").wait()
    if ended.code != 0:
        return f"does not train: {ended}"
    events = list(home.rglob("*tfevents*"))
    return None if events and all(path.is_relative_to(home / "logged") for path in events) else f"events: {events}"


def _listed(run: Path, change: Callable[[Path], object], home: Path) -> Words:
    """A run folder that is not what elbo wrote, beside one that is: listed, and looked into."""
    for name in ("whole", "evil"):
        shutil.copytree(run, home / "runs" / name)
    change(home / "runs" / "evil")
    return [
        "runs",
        "runs",
        "--where",
        "data.name=digits",
        "--where",
        "seed!=1",
        "--where",
        "epochs>=0",
        "--sort",
        "valid_elbo",
    ]


def _holds(name: str, content: str) -> Callable[[Path], object]:
    return lambda evil: (evil / name).write_text(content)


def _endless(name: str) -> Callable[[Path], object]:
    def link(evil: Path) -> None:
        (evil / name).unlink()
        (evil / name).symlink_to("/dev/zero")

    return link


def _best_epoch(value: str) -> Callable[[Path], object]:
    """The head of a checkpoint that says so of its best epoch."""

    def write(evil: Path) -> None:
        about = json.dumps({"elbo": f'{{"last": {{"epoch": {value}, "valid_elbo": {value}}}}}'})
        text = f'{{"__metadata__": {about}}}'.encode()
        (evil / "best.safetensors").write_bytes(len(text).to_bytes(8, "little") + text)

    return write


MAPS = "b0: &b0 {x: 1}\n" + "".join(f"b{i}: &b{i} {{x: *b{i - 1}, y: *b{i - 1}}}\n" for i in range(1, 60))
ROW = "epoch,valid_elbo\n{},1\n"
RUNS: dict[str, Callable[[Path], object]] = {
    "as it was": lambda evil: None,  # the control
    "a config of a billion laughs": _holds("config.yaml", TINY + LAUGHS),
    "a config of a billion mappings": _holds("config.yaml", TINY + MAPS),
    "a config in itself": _holds("config.yaml", TINY + "x: &x {y: *x}\n"),
    "a config of brackets": _holds("config.yaml", TINY + "x: " + "[" * 100_000 + "]" * 100_000),
    "a config of dashes": _holds("config.yaml", TINY + "x:\n  " + "- " * 100_000 + "1\n"),
    "a config without an end": _endless("config.yaml"),
    "a config of a number of 6,000 digits": _holds("config.yaml", TINY + "seed: 0x" + "f" * 5000),
    "a config of epochs beyond 64 bits": _holds("config.yaml", "train: {epochs: 0x" + "f" * 300 + "}"),
    "a config of dates": _holds("config.yaml", TINY + "x: 2001-99-99\n"),
    "a manifest without an end": _endless("manifest.json"),
    "a manifest of brackets": _holds("manifest.json", "[" * 100_000),
    "metrics without an end": _endless("metrics.csv"),
    "an epoch of 5,000 digits": _holds("metrics.csv", ROW.format("9" * 5000)),
    "an epoch that is a superscript": _holds("metrics.csv", ROW.format("\N{SUPERSCRIPT TWO}")),
    "a best epoch without an end": _endless("best.safetensors"),
    "a best epoch of infinity": _best_epoch("1e999"),
    "a best epoch of 4,000 digits": _best_epoch("9" * 4000),
    "a best epoch of text": _best_epoch('\\"x\\"'),
}


def _endless_report(home: Path, run: Path) -> str | None:
    def lay(inside: Path) -> Words:
        shutil.copytree(run, inside / "evil")
        for name in ("manifest.json", "metrics.csv"):
            _endless(name)(inside / "evil")
        return ["report", "evil", *FEW]

    return bounded(home / "report", lay)


READ: dict[str, Callable[[Path, Path], str | None]] = {
    "a report of a run that is a script": _page,
    "events of TensorBoard": _events,
    "a report of files without an end": _endless_report,
}
