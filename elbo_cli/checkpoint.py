"""A checkpoint: one safetensors file with weights, moments, and all else as JSON. No pickle anywhere."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as parse
from torch import Tensor

from elbo_cli.columns import titles
from elbo_cli.errors import UserError
from elbo_cli.files import HEADER, write_whole
from elbo_cli.records import EpochRecord
from elbo_cli.training.experiment import Optimizer

FORMAT = 1
KEY, SEAL = "elbo", "sha256"  # of the safetensors metadata: what is said of the tensors, and the checksum of it all
WEIGHTS, MOMENTS = "model/", "optim/"
WIDEST = 2**31  # of a datum, along one axis
DTYPES = {  # of weights and moments, by their names in a file and in its order: the widest first, so all are aligned
    torch.int64: "I64",
    torch.float64: "F64",
    torch.float32: "F32",
    torch.int32: "I32",
    torch.bfloat16: "BF16",
    torch.float16: "F16",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}


@dataclass(frozen=True, slots=True)
class Header:
    """What a checkpoint says beside its tensors."""

    config: str  # the resolved config, as YAML
    shape: tuple[int, ...]  # of a datum
    data: str  # digest of the training data
    last: EpochRecord
    best: EpochRecord | None
    probed: tuple[float, float] | None  # log p(x) and gap on the probe, for the ledger's next difference


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """An opened checkpoint."""

    path: Path
    header: Header
    tensors: Mapping[str, Tensor]

    def weights(self) -> dict[str, Tensor]:
        """The model's state."""
        return _under(self.tensors, WEIGHTS)

    def moments(self) -> dict[str, Tensor]:
        """The optimiser's state, as `pack` named it; empty where only weights were kept."""
        return _under(self.tensors, MOMENTS)


def write(path: Path, header: Header, weights: Mapping[str, Tensor], moments: Mapping[str, Tensor]) -> None:
    """Write a checkpoint, whole or not at all.

    Raises:
        RunError: the system refuses.
    """
    tensors = {WEIGHTS + k: v for k, v in weights.items()} | {MOMENTS + k: v for k, v in moments.items()}
    tensors = {k: v.detach().cpu().contiguous() for k, v in tensors.items()}
    about = json.dumps(asdict(header) | {"format": FORMAT})
    write_whole(path, serialise(tensors, metadata={KEY: about, SEAL: checksum(tensors, about)}))


def serialise(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> bytes:
    """The bytes of a safetensors file: the length of a JSON header, the header, the tensors.

    `safetensors.torch.save` reads memory by way of ctypes, which leaves two objects in a cycle for each tensor. Of a
    long run's many checkpoints the collector came so late that resident memory rose.
    """
    ranks = list(DTYPES)
    ordered = sorted(tensors.items(), key=lambda item: (ranks.index(item[1].dtype), item[0]))
    layout: dict[str, object] = {"__metadata__": dict(metadata)}
    end = 0
    for name, tensor in ordered:
        begin, end = end, end + tensor.nbytes
        layout[name] = {"dtype": DTYPES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [begin, end]}
    head = json.dumps(layout, separators=(",", ":")).encode()
    head += b" " * (-len(head) % 8)
    return b"".join((len(head).to_bytes(8, "little"), head, *(_bytes(tensor) for _, tensor in ordered)))


def _bytes(tensor: Tensor) -> bytes:
    return tensor.reshape(-1).view(torch.uint8).numpy().tobytes()


def read(path: Path) -> Checkpoint:
    """Open a checkpoint and check it.

    Raises:
        UserError: it is no checkpoint of elbo's, is truncated, or some byte of it changed.
    """
    try:
        metadata = _metadata(path)
        tensors = parse(path.read_bytes())
    except OSError as error:
        raise UserError(f"Cannot read the checkpoint {path}: {error.strerror or error}.") from error
    except (SafetensorError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(
            f"{path} is not a whole safetensors file ({error}). Give a checkpoint that elbo train wrote."
        ) from error
    if metadata.get(SEAL) != checksum(tensors, metadata[KEY]):
        raise UserError(f"{path} is damaged: its content does not match its checksum. Use another copy of it.")
    try:
        return Checkpoint(path, _header(path, metadata[KEY]), tensors)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:  # sealed, and yet not by elbo
        raise UserError(f"{path} is no checkpoint that elbo train wrote ({type(error).__name__}: {error}).") from error


def _metadata(path: Path) -> dict[str, str]:
    """What `write` put into the file's header, which is itself JSON behind its length.

    The file is as long as its header says, before any more of it is read: what is not, could fill the memory.
    """
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > HEADER:
            raise ValueError(f"its header would have {length:,} bytes")
        header = json.loads(file.read(length))
    metadata = header.pop("__metadata__", {})
    size = 8 + length + max((entry["data_offsets"][1] for entry in header.values()), default=0)
    if size != path.stat().st_size:
        raise ValueError(f"it promises {size:,} bytes and has {path.stat().st_size:,}")
    if KEY not in metadata:
        raise UserError(
            f"{path} is a safetensors file, but not one of elbo's. Give a checkpoint that elbo train wrote."
        )
    return dict(metadata)


def _header(path: Path, text: str) -> Header:
    about = json.loads(text)
    if about["format"] != FORMAT or not about["last"].keys() <= set(titles(EpochRecord)):
        raise UserError(
            f"{path} was written by another version of elbo, in format {about['format']}; this one reads {FORMAT}. "
            "Use the version that wrote it, or train again."
        )
    if not isinstance(about["config"], str) or not all(type(n) is int and 0 < n <= WIDEST for n in about["shape"]):
        raise TypeError("its config is no text, or its shape no shape")
    return Header(
        config=about["config"],
        shape=tuple(about["shape"]),
        data=about["data"],
        last=_epoch(about["last"]),
        best=None if about["best"] is None else _epoch(about["best"]),
        probed=None if about["probed"] is None else (about["probed"][0], about["probed"][1]),
    )


def _epoch(about: Mapping[str, Any]) -> EpochRecord:
    """A record that was JSON, which knows no tuples."""
    values: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in about.items()}
    return EpochRecord(**values)


def checksum(tensors: Mapping[str, Tensor], about: str) -> str:
    """SHA-256 over the tensors' names, types, shapes and bytes, and over the text that goes with them."""
    digest = hashlib.sha256(about.encode())
    for name in sorted(tensors):
        tensor = tensors[name].contiguous()
        digest.update(repr((name, str(tensor.dtype), tuple(tensor.shape))).encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def pack(optimizer: Optimizer) -> dict[str, Tensor]:
    """An optimiser's moments as named tensors: `INDEX/NAME`. Its settings come from the config."""
    state = optimizer.state_dict()["state"]
    return {f"{i}/{name}": torch.as_tensor(value) for i, slots in state.items() for name, value in slots.items()}


def unpack(optimizer: Optimizer, moments: Mapping[str, Tensor]) -> None:
    """Give an optimiser the moments that `pack` took from its like."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in moments.items():
        index, name = key.split("/")
        state.setdefault(int(index), {})[name] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def _under(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
