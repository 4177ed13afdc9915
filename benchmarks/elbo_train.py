"""`elbo train` itself, held between epochs: tables, metrics, checkpoints and dynamic binarisation are all there."""

import tempfile
from pathlib import Path

from benchmarks.worker import serve, wanted
from elbo_cli.commands.training import Asked, _session
from elbo_cli.journal import journal
from elbo_cli.report.live import watch
from elbo_cli.screen import Screen

wants = wanted()
overrides = [
    f"data.path={wants['grey']}",
    "data.name=arrays",
    "data.binarize=dynamic",
    "data.valid=100",
    "data.test=100",
    f"train.batch_size={wants['batch']}",
    "train.epochs=1000",
    "train.gap_every=0",
    f"threads={wants['threads']}",
    *wants.get("more", []),
]
folder = Path(tempfile.mkdtemp())
(folder / "speed.yaml").write_text("seed: 0\n")
session = _session(Asked(folder / "speed.yaml", tuple(overrides), folder / "run", device="cpu"))
epochs = watch(journal(session), Screen(False).console, 1000, 0, None)
serve(lambda: next(epochs) and None)
