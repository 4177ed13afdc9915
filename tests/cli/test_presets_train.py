"""Every preset from the command line: checked, trained for an epoch on a few data of its own shape, measured."""

import json
import math
import struct
from pathlib import Path

import numpy as np
import pytest

from elbo_cli.data.idx import FASHION_MNIST, MNIST, TEST, TRAIN
from elbo_cli.presets import list_presets
from tests.cli.command import elbo

IMAGES, VALID = 128, 28  # of which so many for validation
FEW = [f"data.valid={VALID}", "train.epochs=1", "train.gap_every=1", "train.gap_examples=4", "train.gap_samples=4"]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures that are nobody's, in the four files that MNIST and Fashion-MNIST have, and as an array."""
    root, random = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    for release in (MNIST, FASHION_MNIST):
        (root / release.folder).mkdir(parents=True)
        for stem, count in ((TRAIN, IMAGES), (TEST, 8)):
            pixels = random.integers(0, 256, (count, 28, 28), dtype=np.uint8)
            pixels[:, :4] = 0  # a border, as theirs
            (root / release.folder / stem).write_bytes(struct.pack(">IIII", 0x803, *pixels.shape) + pixels.tobytes())
    np.save(root / "mine.npy", random.normal(size=(IMAGES, 6)).astype(np.float32))
    return root


def overrides(name: str, root: Path) -> list[str]:
    """What makes a preset small, and gives it the data."""
    text = (Path("configs") / f"{name}.yaml").read_text("utf-8")
    found = list(FEW)
    if "name: mnist" in text or "name: fashion_mnist" in text:
        found.append(f"data.root={root}")
    if "name: arrays" in text:
        found.append(f"data.path={root / 'mine.npy'}")
    if "prior: vamp " in text:
        found.append(f"model.components={IMAGES - VALID}")
    if "name: linear_gaussian" in text:
        found += ["data.train=100", "data.test=8"]
    return found


@pytest.mark.parametrize("name", list_presets())
def test_a_preset_is_checked_trained_and_measured(
    name: str, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(Path(__file__).parents[2])
    config, run = f"configs/{name}.yaml", tmp_path / "run"
    assert elbo("check", config).code == 0
    settled = overrides(name, root)
    trained = elbo("train", "--config", config, "--out", run, "--json", *settled)
    assert trained.code == 0, trained.err
    ends = json.loads(trained.out)
    assert all(math.isfinite(ends[split]["elbo"]) for split in ("train", "valid"))
    more = [o for o in settled if o.startswith("data.root")]
    found = elbo("gap", run, "--limit", "4", "--samples", "8", "--json", *more)
    assert found.code == 0, found.err
    gap = json.loads(found.out)
    below, elbo_ = gap["log_px"]["mean"], gap["elbo"]  # which has noise of its own: 64 draws of q
    assert elbo_["mean"] - 4 * elbo_["se_mc"] < below
    told = elbo("evaluate", run, "--limit", "4", "--json", *more)
    layers = 2 if "2layer" in name else 1
    assert len(json.loads(told.out)["layers"]) == layers
