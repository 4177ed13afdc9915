"""Truncated, flipped and exploding files: a sentence or the right answer, in bounded time and memory."""

import gzip
import io
import random
import resource
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from benchmarks.reliability.child import elbo, fork, trials
from benchmarks.reliability.tally import Tally, counting
from elbo_cli import checkpoint
from elbo_cli import config as configs
from elbo_cli.data.arrays import whole
from elbo_cli.data.idx import read_idx
from elbo_cli.errors import UserError
from elbo_cli.presets import preset_text
from elbo_cli.runs import RunFolder

CORRUPTIONS = 2000
SECONDS = 20.0  # longer is a hang
ROOM = 2**31  # bytes of address space beside the harness's own
TINY = """\
data: {name: digits, valid: 60, test: 1000}
model: {latent_dim: 1, encoder: {hidden: [2]}, decoder: {hidden: [2]}}
train: {epochs: 2, batch_size: 500, gap_every: 0}
"""


@dataclass(frozen=True, slots=True)
class Entrance:
    """A kind of file, a good one of it, and how it is opened."""

    name: str  # of the file, with its suffix
    good: bytes
    open: Callable[[Path], object]
    sealed: bool = False  # a checksum tells any change: what opens is what was written
    whole: bool = False  # its length is known: a shorter file never opens


def run(count: int | None) -> Iterator[Tally]:
    """Truncations and corruptions at every entrance, then the bombs."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        for entrance in entrances(folder):
            path = folder / entrance.name
            expected = canonical(entrance.open(_written(path, entrance.good)))
            with counting(f"truncated {entrance.name}") as tally:
                step = max(1, len(entrance.good) // count) if count else 1
                cases = [(f"{n} bytes", entrance.good[:n]) for n in range(0, len(entrance.good), step)]
                trials(tally, cases, partial(_attempt, entrance, path, expected, entrance.whole), seconds=SECONDS)
            yield tally
            with counting(f"corrupted {entrance.name}") as tally:
                dice = random.Random(entrance.name)
                cases = [_corrupted(entrance.good, dice) for _ in range(count or CORRUPTIONS)]
                attempt = partial(_attempt, entrance, path, expected, False)
                trials(tally, cases, attempt, seconds=SECONDS, memory=ROOM)
            yield tally
        with counting("bombs") as tally:
            trials(tally, list(BOMBS.items()), lambda bomb: _defused(folder, bomb), seconds=60, memory=ROOM)
        yield tally


def entrances(folder: Path) -> list[Entrance]:
    """A good file of each kind."""
    (folder / "tiny.yaml").write_text(TINY)
    fork(lambda: elbo("train", "--config", folder / "tiny.yaml", "--out", folder / "run"), folder / "log").wait()
    values = np.random.default_rng(0).integers(0, 255, (12, 4, 4), dtype=np.uint8)
    table = values.reshape(12, 16) / np.float32(255)
    idx = struct.pack(">IIII", 0x0803, *values.shape) + values.tobytes()
    npy, npz, parquet, png = io.BytesIO(), io.BytesIO(), io.BytesIO(), io.BytesIO()
    np.save(npy, table)
    np.savez_compressed(npz, train=values, test=values)
    pd.DataFrame(table, columns=[f"x{i}" for i in range(16)]).to_parquet(parquet, index=False)
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (16, 16), dtype=np.uint8)).save(png, "png")
    csv = pd.DataFrame(table).to_csv(index=False).encode()
    metrics = (folder / "run" / "metrics.csv").read_bytes()
    (folder / "images").mkdir()
    kept = (folder / "run" / "last.safetensors").read_bytes()
    return [
        Entrance("last.safetensors", kept, lambda p: _content(checkpoint.read(p)), sealed=True, whole=True),
        Entrance("data.idx", idx, read_idx, whole=True),
        Entrance("data.gz", gzip.compress(idx, mtime=0), read_idx, sealed=True, whole=True),
        Entrance("data.npy", npy.getvalue(), _measured, whole=True),
        Entrance("data.npz", npz.getvalue(), _measured, sealed=True, whole=True),
        Entrance("data.csv", csv, _measured),
        Entrance("data.parquet", parquet.getvalue(), _measured, whole=True),
        Entrance("images/one.png", png.getvalue(), lambda p: _measured(p.parent), sealed=True),
        Entrance("config.yaml", preset_text("digits").encode(), configs.load),
        Entrance("metrics.csv", metrics, lambda p: RunFolder(p.parent).records()),
    ]


def _content(kept: checkpoint.Checkpoint) -> object:
    return [kept.header, *[(name, value.numpy().tobytes()) for name, value in sorted(kept.tensors.items())]]


def _measured(path: Path) -> object:
    split = whole(path, memory_limit=2**24)
    return [len(split), split.shape, split.digest()]


def canonical(opened: object) -> str:
    """What was opened, to be compared."""
    return repr(opened.tobytes() if isinstance(opened, np.ndarray) else opened)


def _written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def _attempt(entrance: Entrance, path: Path, expected: str, refuse: bool, data: bytes) -> str | None:
    try:
        opened = entrance.open(_written(path, data))
    except UserError as error:
        return None if str(error).strip() else "an empty sentence"
    if refuse:
        return "opened as if it were whole"
    if entrance.sealed and canonical(opened) != expected:
        return "another content, and nobody was told"
    return None


def _corrupted(good: bytes, dice: random.Random) -> tuple[str, bytes]:
    """One of six kinds of damage, at a random place."""
    kind, at = dice.choice(["bit", "byte", "zeros", "lost", "twice", "noise"]), dice.randrange(len(good))
    size = min(dice.choice([1, 2, 4, 16, 100]), len(good) - at)
    part = good[at : at + size]
    new = {
        "bit": bytes([part[0] ^ 1 << dice.randrange(8)]) + part[1:],
        "byte": bytes([dice.randrange(256)]) + part[1:],
        "zeros": bytes(size),
        "lost": b"",
        "twice": part * 2,
        "noise": dice.randbytes(size),
    }[kind]
    return f"{kind} of {size} at {at}", good[:at] + new + good[at + size :]


def _defused(folder: Path, bomb: Callable[[Path], Callable[[], object]]) -> str | None:
    """Refused, with no more than 100 MB taken."""
    ignite = bomb(folder)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        ignite()
    except UserError:
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
        return None if grown < 100 else f"refused, and yet took {grown:.0f} MB"
    return "was opened"


def _deflated(megabytes: int, level: int) -> bytes:
    """So many megabytes of zeros, deflated without ever holding them."""
    packer = zlib.compressobj(9, zlib.DEFLATED, level)
    head = packer.compress(bytes(2**20)) + packer.flush(zlib.Z_FULL_FLUSH)
    block = packer.compress(bytes(2**20)) + packer.flush(zlib.Z_FULL_FLUSH)
    return head + block * (megabytes - 1)


def _idx(path: Path, *sizes: int, tail: bytes = b"") -> Callable[[], object]:
    path.write_bytes(struct.pack(">IIII", 0x0803, *sizes) + tail)
    return lambda: read_idx(path)


def _gz_bomb(folder: Path) -> Callable[[], object]:
    """Promises a megabyte; holds a gigabyte."""
    head = struct.pack(">IIII", 0x0803, 1024, 32, 32)
    path = folder / "bomb.gz"
    packed = zlib.compressobj(9, zlib.DEFLATED, -15)
    start = packed.compress(head) + packed.flush(zlib.Z_FULL_FLUSH)
    path.write_bytes(b"\x1f\x8b\x08\0\0\0\0\0\0\xff" + start + _deflated(1024, -15))
    return lambda: read_idx(path)


def _npz_bomb(folder: Path) -> Callable[[], object]:
    """A megabyte that unpacks to a gigabyte of zeros."""
    path, array = folder / "bomb.npz", io.BytesIO()
    np.lib.format.write_array_header_1_0(array, {"descr": "<f4", "fortran_order": False, "shape": (2**20, 256)})
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("train.npy", "w") as file:
        file.write(array.getvalue())
        for _ in range(1024):
            file.write(bytes(2**20))
    return lambda: whole(path, memory_limit=2**24)


def _npy(folder: Path, shape: str, kind: str = "<f4") -> Callable[[], object]:
    header = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}".encode().ljust(117) + b"\n"
    path = folder / "bomb.npy"
    path.write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + bytes(64))
    return lambda: whole(path)


def _sparse_checkpoint(folder: Path, head: bytes) -> Callable[[], object]:
    """64 GB of nothing with a head."""
    path = folder / "bomb.safetensors"
    with path.open("wb") as file:
        file.write(head)
        file.truncate(2**36)
    return lambda: checkpoint.read(path)


def _config(folder: Path, text: str) -> Callable[[], object]:
    path = folder / "bomb.yaml"
    path.write_text(text)
    return lambda: configs.load(path)


def _csv(folder: Path, text: str) -> Callable[[], object]:
    path = folder / "bomb.csv"
    path.write_text(text)
    return lambda: whole(path)


def _png(folder: Path) -> Callable[[], object]:
    """60,000 x 60,000 pixels that fit into half a megabyte."""
    home = folder / "bombs"
    home.mkdir(exist_ok=True)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", 60_000, 60_000, 1, 0, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", _deflated(430, 15)) + chunk(b"IEND", b"")
    (home / "bomb.png").write_bytes(data)
    return lambda: whole(home)


def _parquet(folder: Path) -> Callable[[], object]:
    """Half a gigabyte of one value, run-length encoded in some kB."""
    path = folder / "bomb.parquet"
    pd.DataFrame({"x": np.zeros(2**24), "y": np.zeros(2**24)}).to_parquet(path, index=False)
    return lambda: whole(path, memory_limit=2**24)


LAUGHS = "a: &a [x, x]\n" + "".join(f"b{i}: &b{i} [*{'a' if not i else f'b{i - 1}'}, *a]\n" for i in range(60))
BOMBS: dict[str, Callable[[Path], Callable[[], object]]] = {
    "IDX of 2^60 bytes": lambda f: _idx(f / "bomb.idx", 2**30, 2**15, 2**15),
    "IDX of 2^96 bytes": lambda f: _idx(f / "bomb.idx", *[2**32 - 1] * 3, tail=bytes(1000)),
    "IDX of 0 x 0": lambda f: _idx(f / "bomb.idx", 2**32 - 1, 0, 0),
    "gz of a gigabyte": _gz_bomb,
    "npz of a gigabyte": _npz_bomb,
    "npy of 2^60 bytes": lambda f: _npy(f, "(1152921504606846976, 1)"),
    "npy of 2^70 bytes": lambda f: _npy(f, "(1152921504606846976, 1024)"),
    "npy of negative shape": lambda f: _npy(f, "(-16, -1)"),
    "npy of true shape": lambda f: _npy(f, "(True, 16.0)"),
    "npy of objects in a record": lambda f: _npy(f, "(1, 2)", "|O"),
    "npy of nested parentheses": lambda f: _npy(f, "(" * 3000),
    "checkpoint of 64 GB of zeros": lambda f: _sparse_checkpoint(f, b""),
    "checkpoint with a header of 2^60": lambda f: _sparse_checkpoint(f, struct.pack("<Q", 2**60) + b"{"),
    "checkpoint with a header of 64 GB": lambda f: _sparse_checkpoint(f, struct.pack("<Q", 2**36 - 8) + b"{"),
    "checkpoint of deep JSON": lambda f: _sparse_checkpoint(f, struct.pack("<Q", 200_000) + b"[" * 200_000),
    "YAML of a billion laughs": lambda f: _config(f, LAUGHS),
    "YAML of brackets": lambda f: _config(f, "[" * 250_000),
    "YAML of braces": lambda f: _config(f, "{a: " * 60_000),
    "YAML of a long number": lambda f: _config(f, "seed: " + "9" * 250_000),
    "YAML without an end": lambda f: lambda: configs.load("/dev/zero"),
    "CSV of one endless cell": lambda f: _csv(f, "1" * 30_000_000),
    "CSV of a million columns": lambda f: _csv(f, "a," * 1_000_000 + "\n1\n"),
    "PNG of 3.6 billion pixels": _png,
    "Parquet of one value": _parquet,
}
