"""What the harness found, each as a case of its own; and that nothing is fetched unless it was asked for."""

import json
import socket
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save

from elbo_cli import checkpoint
from elbo_cli.data.arrays import whole
from elbo_cli.errors import UserError, printable, shown
from elbo_cli.gap.proposals.prior import lifted
from elbo_cli.models.architecture import Architecture
from elbo_cli.models.perceptrons import Flat, mlp
from tests.cli.command import TINY, elbo, process


def test_a_checkpoint_of_64_gb_of_nothing_is_refused_before_it_is_read(tmp_path: Path) -> None:
    for head in (b"", struct.pack("<Q", 2**36 - 8) + b"{", struct.pack("<Q", 2) + b"{}"):
        path = tmp_path / "sparse.safetensors"
        with path.open("wb") as file:
            file.write(head)
            file.truncate(2**36)
        with pytest.raises(UserError, match="not a whole safetensors file"):
            checkpoint.read(path)


@pytest.mark.parametrize(
    ("key", "value"),
    [("shape", "xx"), ("shape", [-1]), ("shape", [2**40]), ("config", None), ("last", []), ("best", 3)],
)
def test_a_right_checksum_over_nonsense_is_told_in_a_sentence(
    key: str, value: object, trained: Path, tmp_path: Path
) -> None:
    content = (trained / "best.safetensors").read_bytes()
    about = json.loads(json.loads(content[8 : 8 + struct.unpack("<Q", content[:8])[0]])["__metadata__"]["elbo"])
    tensors = dict(checkpoint.read(trained / "best.safetensors").tensors)
    text = json.dumps(about | {key: value})
    seal = checkpoint.checksum(tensors, text)
    (tmp_path / "x.safetensors").write_bytes(save(tensors, metadata={checkpoint.KEY: text, checkpoint.SEAL: seal}))
    answer = elbo("evaluate", tmp_path / "x.safetensors")
    assert answer.code == 2, answer.err
    assert "elbo" in answer.err
    assert "fault of elbo's" not in answer.err


def test_a_network_too_large_for_any_memory_is_a_matter_of_memory(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(TINY.replace("hidden: [16]", f"hidden: [{2**63 - 1}]"))
    answer = elbo("train", "--config", tmp_path / "c.yaml", "--out", tmp_path / "run")
    assert answer.code == 1
    assert "not enough memory" in answer.err


def test_a_million_threads_are_no_number_of_threads(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(TINY + "threads: 1000000\n")
    answer = elbo("check", tmp_path / "c.yaml")
    assert answer.code == 2
    assert "from 1 to 1024" in answer.err


def test_names_on_a_terminal_are_never_its_commands(tmp_path: Path) -> None:
    name = "\x1b[2J\x07[red]x[/red]"
    answer = elbo("evaluate", f"{name}.safetensors")
    assert answer.code == 2
    assert "\x1b" not in answer.err
    assert "\x07" not in answer.err
    assert "[red]x[/red]" in answer.err
    assert shown("a\nb\x1b") == "a\nb\\x1b"
    assert printable("a\nb") == "a\\nb"


def test_a_pipe_called_npy_is_no_data(tmp_path: Path) -> None:
    import os

    os.mkfifo(tmp_path / "x.npy")
    with pytest.raises(UserError, match="no file"):
        whole(tmp_path / "x.npy")


def test_a_stranger_s_checkpoint_fetches_nothing(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = (trained / "best.safetensors").read_bytes()
    about = json.loads(json.loads(content[8 : 8 + struct.unpack("<Q", content[:8])[0]])["__metadata__"]["elbo"])
    tensors = dict(checkpoint.read(trained / "best.safetensors").tensors)
    head, _, rest = about["config"].partition("data:")
    rest = rest[rest.index("\nmodel:") :]
    about["config"] = f"{head}data: {{name: mnist, download: true, root: {tmp_path / 'root'}}}{rest}"
    about["shape"] = [1, 8, 8]
    text = json.dumps(about)
    seal = checkpoint.checksum(tensors, text)
    (tmp_path / "x.safetensors").write_bytes(save(tensors, metadata={checkpoint.KEY: text, checkpoint.SEAL: seal}))
    monkeypatch.setattr(socket, "socket", _refuse)
    answer = elbo("evaluate", tmp_path / "x.safetensors")
    assert answer.code == 2
    assert "data.download=true" in answer.err or "does not exist" in answer.err
    assert not (tmp_path / "root").exists()


def _refuse(*_: object, **__: object) -> None:
    raise AssertionError("the network was asked")


def test_no_command_opens_a_socket(tmp_path: Path) -> None:
    """From the first import on, in a process of its own."""
    (tmp_path / "tiny.yaml").write_text(TINY)
    np.save(tmp_path / "x.npy", np.eye(8, dtype="f4"))
    (tmp_path / "sitecustomize.py").write_text(
        "import socket\n"
        "def refuse(*a, **k):\n"
        "    raise AssertionError('the network was asked')\n"
        "socket.socket.connect = socket.getaddrinfo = socket.create_connection = refuse\n"
    )
    root = Path(__file__).parents[2]
    where = {"PYTHONPATH": f"{tmp_path}:{root}"}
    for words in (["train", "--config", "tiny.yaml", "--out", "run", "train.epochs=1"], ["evaluate", "run"]):
        answer = process(*words, cwd=tmp_path, **where)
        assert answer.code == 0, answer.err
        assert "network" not in answer.err
    control = process("train", "--config", "tiny.yaml", "data.name=mnist", "data.download=true", cwd=tmp_path, **where)
    assert control.code != 0  # the negative control: here it is asked


def test_the_largest_batch_there_is_is_all_of_the_data(tmp_path: Path) -> None:
    """Fifty times 2^63 - 1 was more than torch can count to."""
    (tmp_path / "c.yaml").write_text(TINY)
    largest = ["train.batch_size=9223372036854775807", "train.epochs=1", "train.gap_every=0"]
    answer = elbo("train", "--config", tmp_path / "c.yaml", "--out", tmp_path / "run", *largest)
    assert answer.code == 0, answer.err


def test_a_covariance_that_ran_away_is_told_as_a_loss_that_did(tmp_path: Path) -> None:
    """It was torch's own LinAlgError, and called a fault of elbo's."""
    (tmp_path / "c.yaml").write_text(TINY)
    away = ["model.posterior=lowrank_normal", "model.rank=2", "optim.lr=1e8", "train.gap_every=0"]
    answer = elbo("train", "--config", tmp_path / "c.yaml", "--out", tmp_path / "run", *away)
    assert answer.code == 1
    assert "optim.lr" in answer.err
    assert "fault" not in answer.err


def test_a_covariance_that_is_none_before_the_first_step_is_told(tmp_path: Path) -> None:
    """Of a VampPrior over data of a million, where the encoder alone is to be trained."""
    np.save(tmp_path / "loud.npy", np.random.default_rng(0).normal(0, 1e6, (30, 5)))
    data = f"data: {{name: arrays, path: {tmp_path}/loud.npy, valid: 5, test: 5, scale: 1.0}}\n"
    model = (
        "model: {latent_dim: 3, prior: vamp, components: 2, posterior: lowrank_normal, rank: 2, likelihood: gaussian"
    )
    (tmp_path / "c.yaml").write_text(f"{data}{model}, encoder: {{hidden: []}}}}\ntrain: {{update: encoder}}\n")
    answer = elbo("train", "--config", tmp_path / "c.yaml", "--out", tmp_path / "run")
    assert answer.code == 2, answer.err
    assert "data.scale=NUMBER" in answer.err
    assert not (tmp_path / "run").exists()


def test_curvature_that_is_no_number_is_none() -> None:
    found = lifted(torch.tensor([[[float("nan"), 0.0], [0.0, 1.0]], [[2.0, 0.0], [0.0, 1.0]]]))
    assert torch.linalg.cholesky_ex(found)[1].eq(0).all()
    assert found[1].equal(torch.tensor([[2.0, 0.0], [0.0, 1.0]]))


def test_a_residual_decoder_without_a_convolution_is_none(tmp_path: Path) -> None:
    """`channels: []` was a zip of unequal lengths."""
    (tmp_path / "c.yaml").write_text(TINY.replace("decoder: {", "decoder: {kind: res_conv, channels: [], "))
    answer = elbo("train", "--config", tmp_path / "c.yaml", "--out", tmp_path / "run", "train.epochs=1")
    assert answer.code == 0, answer.err


def test_a_layer_of_one_unit_is_not_normalised(tmp_path: Path) -> None:
    """It was a ValueError where the last batch had one datum, and a constant network where it had more."""
    (tmp_path / "c.yaml").write_text(TINY.replace("encoder: {hidden: [16]}", "encoder: {hidden: [1], norm: layer}"))
    answer = elbo("train", "--config", tmp_path / "c.yaml", "--out", tmp_path / "run")
    assert answer.code == 2
    assert "norm: none" in answer.err
    assert not (tmp_path / "run").exists()


def test_a_network_of_no_data_gives_no_rows() -> None:
    """The proposal's share of the prior may be no draw at all; a reshape to -1 rows was ambiguous there."""
    net = mlp(3, Architecture("mlp", (4,)), 2)
    assert Flat(net, (3,), (2,))(torch.zeros(0, 5, 3)).shape == (0, 5, 2)
