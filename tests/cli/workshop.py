"""A folder full of things that are wrong, each under a name that says how."""

import pickle
import shutil
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from tests.cli.command import TINY, elbo

BINARY = np.tile(np.eye(8, dtype=np.float32), (12, 1, 1))[:, ::-1].copy()
BINARY[::2] = BINARY[::2, ::-1]

TOYS = """\
import sys
import torch
from torch.distributions import Bernoulli, Independent, Normal

number = 3

class Toy:
    def prior(self):
        return Independent(Normal(torch.zeros(2), 1.0), 1)
    def posterior(self, x):
        return Independent(Normal(torch.zeros(len(x), 2), 1.0), 1)
    def likelihood(self, z):
        return Independent(Bernoulli(logits=z[..., :1].unsqueeze(-1).unsqueeze(-1).expand(*z.shape[:-1], 1, 8, 8)), 3)

def good():
    return Toy()

def wants(argument):
    return Toy()

def raises():
    return {}["weights"]

def exits():
    sys.exit("usage: toys.py FILE")

def nothing():
    pass

class Half:
    def prior(self):
        return Toy().prior()

class Apart(Toy):  # a batch of pixels where an event was due
    def likelihood(self, z):
        return Bernoulli(logits=z[..., :1].unsqueeze(-1).unsqueeze(-1).expand(*z.shape[:-1], 1, 8, 8))

class Transposed(Toy):
    def likelihood(self, z):
        return super().likelihood(z.transpose(0, 1))

class Batched(Toy):  # one prior, as a batch of one
    def prior(self):
        return Independent(Normal(torch.zeros(1, 2), 1.0), 1)

class Numbers(Toy):
    def posterior(self, x):
        return torch.zeros(len(x), 2)

class Fails(Toy):
    def posterior(self, x):
        raise KeyError("no such\\nlayer")

class Late(Toy):
    def posterior(self, x):
        assert len(x) <= 2, "too many of them"
        return super().posterior(x)
"""


def furnish(folder: Path, run: Path) -> None:
    """Fill `folder` with the wrong things of test_bad_inputs.py, made from a finished run."""
    _configs(folder)
    _runs(folder, run)
    _checkpoints(folder, run / "best.safetensors")
    _data(folder)
    (folder / "toys.py").write_text(TOYS)
    (folder / "unfinished.py").write_text("def make(:\n")
    (folder / "needy.py").write_text("import a_package_that_is_not_there\n")
    (folder / "script.py").write_text("raise SystemExit(2)\n")
    (folder / "folder.csv").mkdir()
    (folder / "empty").mkdir()


def _configs(folder: Path) -> None:
    for name, text in {
        "tiny": TINY,
        "blank": "",
        "section": TINY + "optimiser: {lr: 1}\n",
        "key": TINY.replace("latent_dim", "latent_dims"),
        "type": TINY.replace("latent_dim: 2", "latent_dim: two"),
        "twice": TINY + "data: {name: mnist}\n",
        "tab": "data:\n\tname: digits\n",
        "list": "- seed\n- 0\n",
    }.items():
        (folder / f"{name}.yaml").write_text(text)
    (folder / "bytes.yaml").write_bytes(b"\xff\xfe\x00\x01")


def _runs(folder: Path, run: Path) -> None:
    for name in ("run", "edited", "damaged", "newer", "rows"):
        shutil.copytree(run, folder / name)
    config = (run / "config.yaml").read_text()
    (folder / "edited" / "config.yaml").write_text(config.replace("lr: 0.001", "lr: 0.002"))
    (folder / "damaged" / "last.safetensors").write_bytes((run / "last.safetensors").read_bytes()[:-1])
    lines = (run / "metrics.csv").read_text().splitlines(keepends=True)
    (folder / "newer" / "metrics.csv").write_text("".join([*lines, lines[-1].replace("2,", "3,", 1)]))
    (folder / "rows" / "metrics.csv").write_text("".join([lines[0], "1,2\n", lines[-1]]))
    (folder / "begun").mkdir()  # killed before its first epoch
    (folder / "begun" / "config.yaml").write_text(config.replace("schedule: constant", "schedule: cosine"))
    _more_runs(folder)


def _more_runs(folder: Path) -> None:
    """A run whose data have changed behind its back, and one of three latents."""
    np.save(folder / "moving.npy", BINARY)
    words = ["data.name=arrays", f"data.path={folder / 'moving.npy'}", "data.binarize=none"]
    for name, more in {"moved": words, "wide": ["model.latent_dim=3"]}.items():
        answer = elbo("train", "--config", folder / "tiny.yaml", "train.epochs=1", *more, "--out", folder / name)
        assert answer.code == 0, answer.err
    np.save(folder / "moving.npy", 1 - BINARY)


def _checkpoints(folder: Path, whole: Path) -> None:
    content = whole.read_bytes()
    flipped = bytearray(content)
    flipped[-100] ^= 1
    for name, what in {
        "truncated": content[: len(content) // 2],
        "garbage": bytes(range(256)) * 4,
        "zero": b"",
        "flipped": bytes(flipped),
        "pickle": pickle.dumps({"weights": [1.0]}),
    }.items():
        (folder / f"{name}.safetensors").write_bytes(what)
    save_file({"weight": torch.zeros(2)}, folder / "somebody.safetensors")
    torch.save({"weight": torch.zeros(2)}, folder / "model.pt")


def _data(folder: Path) -> None:
    grey = np.linspace(0, 1, 12 * 64, dtype=np.float32).reshape(12, 8, 8)
    hole = grey.copy()
    hole[3, 2, 1] = np.nan
    for name, values in {
        "binary": BINARY,
        "grey": grey,
        "loud": 40 * grey,
        "hole": hole,
        "none": grey[:0],
        "flat": BINARY.reshape(-1, 64),
        "large": np.tile(BINARY, (1, 2, 2)),
        "line": grey.ravel(),
        "same": np.ones_like(grey),
    }.items():
        np.save(folder / f"{name}.npy", values)
    np.save(folder / "objects.npy", np.array([{}, {}]), allow_pickle=True)
    np.savez(folder / "two.npz", a=BINARY, b=BINARY)
    (folder / "cut.npy").write_bytes((folder / "grey.npy").read_bytes()[:-7])
    (folder / "words.csv").write_text("a,b\n1,2\n3,four\n")
    (folder / "notes.txt").write_text("no data\n")
