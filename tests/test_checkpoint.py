"""A checkpoint comes back as it was written, and no other file passes for one."""

import gc
import json
import pickle
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load, save, save_file
from torch import Tensor, nn

from elbo_cli.checkpoint import DTYPES, Header, pack, read, serialise, unpack, write
from elbo_cli.errors import UserError
from elbo_cli.records import EpochRecord

LAST = EpochRecord(
    epoch=2,
    step=58,
    seconds=0.1 + 0.2,
    lr=1e-3,
    train_elbo=-1e-45,
    train_reconstruction=-26.1,
    train_kl=1 / 3,
    kl_per_latent=(0.1 + 0.2, 0.0),
)
HEADER = Header("seed: 0\n", (1, 8, 8), "abc", LAST, replace(LAST, valid_elbo=-25.5), (-25.1, 0.3))
WEIGHTS = {"a.weight": torch.arange(6.0).view(2, 3), "a.bias": torch.tensor([float("nan"), -0.0])}
MOMENTS = {"0/step": torch.tensor(3.0), "0/exp_avg": torch.ones(2, 3)}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    written = tmp_path / "last.safetensors"
    write(written, HEADER, WEIGHTS, MOMENTS)
    return written


def same(found: dict[str, Tensor], wanted: dict[str, Tensor]) -> bool:
    return found.keys() == wanted.keys() and all(
        f.dtype == w.dtype
        and f.shape == w.shape
        and f.view(-1).view(torch.uint8).equal(w.reshape(-1).view(torch.uint8))
        for f, w in ((found[name], wanted[name]) for name in wanted)
    )


def test_what_is_read_is_what_was_written_to_the_last_bit(path: Path) -> None:
    opened = read(path)
    assert opened.header == HEADER
    assert same(opened.weights(), WEIGHTS)
    assert same(opened.moments(), MOMENTS)


def test_the_bytes_are_those_of_safetensors_itself() -> None:
    """For every type, for one number, for none, and for a piece of another tensor."""
    tensors = {str(kind): torch.arange(6).to(kind).view(2, 3) for kind in DTYPES}
    tensors |= {"one": torch.tensor(3.0), "none": torch.zeros(0, 4), "piece": torch.arange(9.0)[2:5].clone()}
    assert serialise(tensors, {"elbo": "text"}) == save(tensors, metadata={"elbo": "text"})
    assert same(load(serialise(tensors, {"elbo": '\u00e9 "'})), tensors)


def test_writing_leaves_nothing_for_the_collector(tmp_path: Path) -> None:
    """20,000 small checkpoints are 20,000 times what each leaves in cycles, until the collector comes."""
    # what other threads of the test run leave meanwhile comes once; what a write leaves comes every time
    assert min(left_by_writing(tmp_path / "last.safetensors") for _ in range(4)) == 0


def left_by_writing(path: Path) -> int:
    gc.collect()
    gc.disable()
    try:
        for _ in range(3):
            write(path, HEADER, WEIGHTS, MOMENTS)
        return gc.collect()
    finally:
        gc.enable()


def test_a_header_may_hold_nothing_where_nothing_was_measured(tmp_path: Path) -> None:
    header = Header("seed: 0\n", (3,), "abc", LAST, None, None)
    write(tmp_path / "c.safetensors", header, WEIGHTS, {})
    assert read(tmp_path / "c.safetensors").header == header
    assert read(tmp_path / "c.safetensors").moments() == {}


def test_the_header_is_json_that_other_programs_can_read(path: Path) -> None:
    content = path.read_bytes()
    about = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])["__metadata__"]["elbo"]
    assert json.loads(about)["config"] == HEADER.config


def test_a_claim_changed_by_hand_is_told(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content.replace(b"seed: 0", b"seed: 1"))
    with pytest.raises(UserError, match="damaged"):
        read(path)


def test_one_bit_flipped_anywhere_is_told(path: Path) -> None:
    content = path.read_bytes()
    for place in range(len(content)):
        damaged = bytearray(content)
        damaged[place] ^= 1 << place % 8
        path.write_bytes(damaged)
        with pytest.raises(UserError, match=r"(damaged|not a whole|not one of elbo's|format)"):
            read(path)


def test_a_file_cut_short_anywhere_is_told(path: Path) -> None:
    content = path.read_bytes()
    for length in range(len(content)):
        path.write_bytes(content[:length])
        with pytest.raises(UserError, match="not a whole safetensors file"):
            read(path)


def test_a_file_with_something_behind_its_end_is_told(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(UserError, match="not a whole safetensors file"):
        read(path)


class Trap:
    """What a pickle would run on being opened."""

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return (Path.touch, (Path("sprung"),))


def test_a_pickle_is_refused_and_its_code_never_runs(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(path.parent)
    for content in (pickle.dumps(Trap()), _torch_file(path.parent / "t.pt")):
        path.write_bytes(content)
        with pytest.raises(UserError, match="not a whole safetensors file"):
            read(path)
    assert not Path("sprung").exists()


def _torch_file(path: Path) -> bytes:
    torch.save({"weights": Trap()}, path)
    return path.read_bytes()


@pytest.mark.parametrize("metadata", [None, {}, {"format": "pt"}, {"pt": "elbo"}])
def test_a_safetensors_file_of_somebody_else_is_refused(metadata: dict[str, str] | None, path: Path) -> None:
    save_file(WEIGHTS, path, metadata=metadata)
    with pytest.raises(UserError, match="not one of elbo's"):
        read(path)


def test_a_checkpoint_of_another_format_is_refused_with_both_numbers(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("elbo_cli.checkpoint.FORMAT", 7)
    with pytest.raises(UserError, match="in format 1; this one reads 7"):
        read(path)


def test_a_checkpoint_with_columns_that_are_not_known_here_is_refused(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("elbo_cli.checkpoint.titles", lambda record: ["epoch"])
    with pytest.raises(UserError, match="written by another version of elbo"):
        read(path)


def test_what_cannot_be_opened_at_all_is_told_by_name(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none.safetensors"):
        with pytest.raises(UserError, match=f"Cannot read the checkpoint {path}"):
            read(path)


def test_an_optimiser_goes_on_from_its_moments_as_if_it_had_never_stopped() -> None:
    def trained(stop: bool) -> Tensor:
        torch.manual_seed(0)
        layer = nn.Linear(3, 2)
        optimizer = torch.optim.AdamW(layer.parameters(), lr=0.1, fused=True)
        for step in range(4):
            if stop and step == 2:
                moments = pack(optimizer)
                optimizer = torch.optim.AdamW(layer.parameters(), lr=0.1, fused=True)
                unpack(optimizer, moments)
            optimizer.zero_grad()
            layer(torch.ones(5, 3)).square().mean().backward()
            optimizer.step()
        return layer.weight.detach()

    assert torch.equal(trained(stop=True), trained(stop=False))
