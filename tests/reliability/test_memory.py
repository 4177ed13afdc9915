"""A long run keeps nothing of its epochs: Python's own count of blocks, which is exact, stays where it is."""

import gc
import sys
from pathlib import Path

import numpy as np
import torch

from elbo_cli import config as configs
from elbo_cli.journal import journal, start
from elbo_cli.records import Tick

LONG = """\
data: {{name: arrays, path: {data}, valid: 8, test: 8}}
model: {{latent_dim: 1, encoder: {{hidden: [2]}}, decoder: {{hidden: [2]}}}}
train: {{epochs: {epochs}, batch_size: 16, gap_every: 20, gap_samples: 2, gap_examples: 4}}
"""
EPOCHS = 340
WARM, SPREAD = 100, 8  # epochs; blocks, where one that was kept an epoch would be 240


def blocks() -> int:
    """Memory blocks that Python has handed out and not got back.

    Its cache of attributes is emptied first. Each of its 4,096 places holds a name, and torch makes its names anew at
    every call, so that it fills for thousands of epochs.
    """
    getattr(sys, "_clear_internal_caches", getattr(sys, "_clear_type_cache", None))()
    gc.collect()
    return sys.getallocatedblocks()


def test_no_block_of_memory_is_kept_of_an_epoch(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", (np.random.default_rng(0).random((32, 4)) > 0.5).astype("f4"))
    (tmp_path / "long.yaml").write_text(LONG.format(data=tmp_path / "x.npy", epochs=EPOCHS))
    session = start(configs.load(tmp_path / "long.yaml"), "long", tmp_path / "run", torch.device("cpu"))
    seen = np.zeros(EPOCHS + 1, dtype=np.int64)  # and no list, each of whose numbers would be a block
    for event in journal(session):
        if not isinstance(event, Tick) and event.epoch % 20 == 0:
            seen[event.epoch] = blocks()
    late = seen[seen > 0][WARM // 20 :]
    assert len(late) == 12
    assert late.max() - late.min() <= SPREAD, late
