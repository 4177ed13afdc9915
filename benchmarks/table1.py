"""Table 1 of Burda et al. (2016), trained from the shipped presets at one stated budget and measured twice.

    python -m benchmarks table1 --root FOLDER --out runs/table1 --epochs 100 --batch 100 [KEY=VALUE ...]

Every row is an ordinary run folder, OUT/PRESET, that `elbo` itself trains, resumes and measures; what is done already
is not done again, so the command may be stopped and typed again. Each is measured with the customary L_5000 of q on
the first 1,000 test images, and with `elbo gap`'s own estimate from 500 draws. OUT/table1.md is the table,
OUT/table1.jsonl the rows.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.compare import Row
from elbo_cli.config import Config, as_dict, dump, loads
from elbo_cli.files import write_whole
from elbo_cli.presets import list_presets, preset_text
from elbo_cli.records import EpochRecord
from elbo_cli.runs import RunFolder


@dataclass(frozen=True, slots=True)
class Published:
    """A row of the paper: NLL by L_5000 on the 10,000 test images after 3,280 epochs at batch 20, and active units."""

    what: str
    nll: float | None = None
    active: str = ""


ROWS: dict[str, Published] = {
    "mnist-vae": Published("VAE, k = 1", 86.76, "19"),
    "mnist-iwae5": Published("IWAE, k = 5", 85.54, "22"),
    "mnist-iwae50": Published("IWAE, k = 50", 84.78, "25"),
    "mnist-iwae50-dreg": Published("IWAE, k = 50, DReG"),  # not in the paper
    "mnist-2layer": Published("two layers, k = 1", 85.33, "16+5"),
}


@dataclass(frozen=True, slots=True)
class Budget:
    """How long each row is trained, on what, and how it is measured."""

    out: Path
    data: dict[str, Any]
    epochs: int = 100
    batch: int = 100
    images: int = 1000
    draws: int = 5000
    ours: int = 500
    overrides: tuple[str, ...] = ()
    rows: tuple[str, ...] = field(default=tuple(ROWS))

    def describe(self) -> str:
        """The budget in words, for the head of the table."""
        more = f", {' '.join(self.overrides)}" if self.overrides else ""
        return f"{self.data['name']}: {self.epochs} epochs at batch {self.batch}{more}"


def study(options: Sequence[str] = ()) -> Iterator[Row]:
    """Train and measure what is not there yet; a row each, and the table at the end."""
    budget = parse(options)
    budget.out.mkdir(parents=True, exist_ok=True)
    rows: list[Row] = []
    for name in budget.rows:
        rows.append(outcome(name, budget))
        yield rows[-1]
        write_whole(budget.out / "table1.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
        write_whole(budget.out / "table1.md", table(rows, budget))
    print((budget.out / "table1.md").read_text(encoding="utf-8"), file=sys.stderr)


def parse(options: Sequence[str]) -> Budget:
    """The command line as a budget."""
    about, _, more = (__doc__ or "").partition("\n\n")
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        "python -m benchmarks table1", description=about, epilog=more, formatter_class=formatter
    )
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="over every preset, as optim.schedule=burda")
    parser.add_argument("--root", default=os.environ.get("ELBO_DATA"), help="of real MNIST; else $ELBO_DATA")
    parser.add_argument("--out", type=Path, default=Path("runs/table1"), help="folder of the runs")
    parser.add_argument("--data", default="mnist", choices=("mnist", "fashion_mnist", "digits"))
    parser.add_argument("--rows", default=",".join(ROWS), help="presets, with commas between")
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--batch", type=int, default=100)
    parser.add_argument("--images", type=int, default=1000, help="of the test split, the first so many")
    parser.add_argument("--draws", type=int, default=5000, help="K of the customary estimate, from q")
    parser.add_argument("--ours", type=int, default=500, help="K of elbo's own estimate")
    given = parser.parse_intermixed_args(options)
    wrong = [each for each in given.overrides if "=" not in each]
    wrong += [name for name in given.rows.split(",") if name not in ROWS]
    if wrong:
        parser.error(f"{wrong[0]} is neither KEY=VALUE nor a row; rows: {', '.join(ROWS)}")
    data = {"name": given.data} | ({"root": given.root} if given.root and given.data != "digits" else {})
    sizes = (given.epochs, given.batch, given.images, given.draws, given.ours)
    return Budget(given.out, data, *sizes, tuple(given.overrides), tuple(given.rows.split(",")))


def outcome(name: str, budget: Budget) -> Row:
    """A row trained and measured, or the sentence that says why not: the others go on."""
    published = ROWS[name]
    head: Row = {"row": name, "what": published.what}
    if budget.data["name"] == "mnist":
        head |= {"paper_nll": published.nll, "paper_active": published.active}
    if name not in list_presets():
        return head | {"error": f"there is no preset {name}"}
    try:
        folder = trained(name, budget)
        return head | measured(folder, budget)
    except subprocess.CalledProcessError as error:
        return head | {"error": f"elbo {error.cmd[3]}: exit code {error.returncode}"}


def trained(name: str, budget: Budget) -> RunFolder:
    """The row's run folder, trained to the end of the budget; one that is there must be of this budget.

    `elbo train --resume` goes on, or says that nothing is left, or that the folder is another run's.
    """
    folder = RunFolder(budget.out / name)
    sizes = (f"train.epochs={budget.epochs}", f"train.batch_size={budget.batch}", *budget.overrides)
    if folder.config.exists():
        elbo("train", *sizes, "--resume", str(folder.path))
        return folder
    config = budget.out / f"{name}.yaml"
    preset = as_dict(loads(preset_text(name)))
    write_whole(config, dump(Config.model_validate(preset | {"data": budget.data})))
    elbo("train", *sizes, "--config", str(config), "--out", str(folder.path))
    return folder


def measured(folder: RunFolder, budget: Budget) -> Row:
    """What `elbo` says of the best checkpoint: the customary estimate, its own, active units; and how it came there."""
    run, few = str(folder.path), ("--limit", str(budget.images))
    customary = kept(folder, "gap", run, *few, "--samples", str(budget.draws), "--proposal", "posterior")
    ours = kept(folder, "gap", run, *few, "--samples", str(budget.ours))
    test = kept(folder, "evaluate", run)
    records = folder.records()
    best = max(records, key=lambda record: record.score)
    return {
        "nll": -customary["log_px"]["mean"],
        "se_data": customary["log_px"]["se_data"],
        "se_mc": customary["log_px"]["se_mc"],
        "verdict": customary["verdict"],
        "images": customary["examples"],
        "draws": customary["samples"],
        "auto_nll": -ours["log_px"]["mean"],
        "auto_se_mc": ours["log_px"]["se_mc"],
        "auto_verdict": ours["verdict"],
        "elbo": ours["elbo"]["mean"],
        "test_elbo": test["elbo"]["mean"],
        "active_units": test["active_units"],
        "epochs": records[-1].epoch,
        "best_epoch": best.epoch,
        "seconds": records[-1].seconds,
        "course": course(records),
    }


def course(records: Sequence[EpochRecord]) -> dict[int, float]:
    """log p(x) on the probe at an eighth, a quarter, a half and the whole of the epochs: where the curve is heading."""
    marks = {max(1, records[-1].epoch // part) for part in (8, 4, 2, 1)}
    return {r.epoch: round(r.valid_log_px, 3) for r in records if r.epoch in marks and r.valid_log_px is not None}


def kept(folder: RunFolder, *words: str) -> dict[str, Any]:
    """A measurement of the best checkpoint, made once: it is kept beside the run, and made anew for other weights."""
    of = hashlib.sha256(folder.best.read_bytes()).hexdigest()
    place = folder.path / "table1" / f"{hashlib.sha256(' '.join(words).encode()).hexdigest()[:12]}.json"
    if place.exists():
        before = json.loads(place.read_text(encoding="utf-8"))
        if before["of"] == of and before["words"] == list(words):
            return dict(before["found"])
    found = elbo(*words)
    place.parent.mkdir(exist_ok=True)
    write_whole(place, json.dumps({"of": of, "words": words, "found": found}))
    return found


def elbo(*words: str) -> dict[str, Any]:
    """A command of elbo's, its progress on standard error, and its JSON."""
    command = [sys.executable, "-m", "elbo_cli", *words, "--json"]
    return dict(json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout))


HEAD = "| | NLL, L_{draws} of q | paper | above it | `auto`, K = {ours} | verdict | active | paper | minutes |"


def table(rows: Sequence[Row], budget: Budget) -> str:
    """The rows beside the paper's, as Markdown."""
    first = (
        f"{budget.describe()}; first {budget.images:,} test images; the paper: 3,280 epochs at batch 20, all 10,000."
    )
    head = HEAD.format(draws=f"{budget.draws:,}", ours=f"{budget.ours:,}")
    lines = [first, "", head, "|---" * (head.count("|") - 1) + "|", *(line(row) for row in rows)]
    return "\n".join(lines) + "\n"


def line(row: Row) -> str:
    if "error" in row:
        return f"| {row['what']} | {row['error']} |" + " |" * 7
    paper = row.get("paper_nll")
    cells = (
        row["what"],
        f"{row['nll']:.2f} ± {row['se_data']:.2f} data ± {row['se_mc']:.3f} MC",
        "" if paper is None else f"{paper:.2f}",
        "" if paper is None else f"{row['nll'] - paper:+.2f}",
        f"{row['auto_nll']:.2f} ± {row['auto_se_mc']:.3f} MC",
        row["auto_verdict"],
        "" if row["active_units"] is None else str(row["active_units"]),
        row.get("paper_active", ""),
        f"{row['seconds'] / 60:.1f}",
    )
    return f"| {' | '.join(cells)} |"
