"""The ledger of a VAE on MNIST, and of a continuation in which only the encoder learns: docs/ledger.md.

`python -m benchmarks ledger --root FOLDER`: ten epochs of mnist-vae, then five with train.update=encoder from its last
checkpoint, in runs/ledger. The probe and its noise are the same throughout.
"""

from collections.abc import Iterator
from pathlib import Path

from benchmarks.compare import Row, Setting, skipped
from benchmarks.figures import two_jobs
from benchmarks.table1 import elbo
from elbo_cli.records import EpochRecord
from elbo_cli.runs import RunFolder

OUT = Path("runs/ledger")
EPOCHS, MORE, LR = 10, 5, 3e-4


def study(setting: Setting) -> Iterator[Row]:
    if setting.root is None:
        yield skipped("ledger", "no real MNIST: --root FOLDER")
        return
    first, then = RunFolder(OUT / "vae"), RunFolder(OUT / "encoder")
    data = f"data.root={setting.root}"
    if not first.last.exists():
        elbo("train", "-c", "configs/mnist-vae.yaml", data, f"train.epochs={EPOCHS}", "--out", str(first.path))
    if not then.last.exists():
        more = ("train.update=encoder", f"train.epochs={MORE}", f"optim.lr={LR}")
        elbo("train", "--init", str(first.last), data, *more, "--out", str(then.path))
    rows = [*first.records(), *then.records()]
    start = rows[0]
    assert start.valid_log_px is not None
    assert start.valid_gap is not None
    before = start.valid_log_px - (start.delta_log_px or 0.0)
    gap = start.valid_gap - (start.delta_gap or 0.0)
    two_jobs(
        "ledger-halves", "log p(x) and ELBO of the probe, nats", (before, before - gap), first.records(), then.records()
    )
    for name, records in (("both", first.records()), ("encoder", then.records())):
        yield from (line(name, record) for record in records)


def line(name: str, record: EpochRecord) -> Row:
    columns = (
        "epoch",
        "valid_elbo",
        "valid_log_px",
        "valid_gap",
        "delta_log_px",
        "delta_gap",
        "probe_seconds",
        "seconds",
    )
    return {"update": name} | {column: getattr(record, column) for column in columns}
