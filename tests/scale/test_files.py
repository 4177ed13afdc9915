"""Data in many files, larger than the memory they may take: the run and the gap that one file in memory gives."""

import json
from pathlib import Path

import numpy as np
import pytest

from elbo_cli.runs import RunFolder
from tests.cli.command import elbo
from tests.scale.processes import together
from tests.scale.rows import equal, same

N = 400
CUTS = (1, 2, 120, 121, 390)  # uneven, three of one row
CONFIG = """\
data: {name: arrays, path: one.npy, binarize: dynamic, valid: 60, test: 70}
model: {latent_dim: 2, encoder: {hidden: [16]}, decoder: {hidden: [16]}}
train: {epochs: 3, batch_size: 47, gap_samples: 4, gap_examples: 20}
"""
MANY = ("data.path=many/part-*.npy", "data.memory_limit=0")
WAYS = {"everywhere": (), "window": ("train.shuffle_window=100",)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    values = np.random.default_rng(0).integers(0, 256, (N, 8, 8), dtype=np.uint8)
    np.save(folder / "one.npy", values)
    (folder / "many").mkdir()
    for number, piece in enumerate(np.split(values, CUTS)):
        np.save(folder / "many" / f"part-{number + 7}.npy", piece)  # 7 to 12: sorted as text 10 would come first
    (folder / "config.yaml").write_text(CONFIG)
    return folder


def test_many_files_train_and_measure_as_one_does(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """To the last bit; and in two processes as in one, each datum's gap to the last bit, and resumed there."""
    monkeypatch.chdir(folder)
    train, gap = ("train", "--config", "config.yaml"), ("--samples", "70", "--split", "test", "--out")
    commands = []
    for name, way in WAYS.items():
        for how, many in {"one": (), "mapped": ("data.memory_limit=0",), "many": MANY}.items():
            assert elbo(*train, *way, *many, "--out", f"{how}-{name}").code == 0
            assert elbo("gap", f"{how}-{name}", *gap, f"{how}-{name}.csv").code == 0
        commands += [(*train, *way, *MANY, "--out", f"two-{name}")]
        commands += [(*train, *way, *MANY, "train.epochs=1", "--out", f"begun-{name}")]
        commands += [("train", "--resume", f"begun-{name}", "train.epochs=3")]
        commands += [("gap", f"many-{name}", *gap, f"two-{name}.csv")]
    together(2, *commands, cwd=folder)
    for name in WAYS:
        for how in ("mapped", "many"):
            equal(folder / f"one-{name}", folder / f"{how}-{name}")
            assert Path(f"one-{name}.csv").read_bytes() == Path(f"{how}-{name}.csv").read_bytes()
        same(folder / f"many-{name}", folder / f"two-{name}", nats=45)
        equal(folder / f"two-{name}", folder / f"begun-{name}")
        assert Path(f"one-{name}.csv").read_bytes() == Path(f"two-{name}.csv").read_bytes()
    with pytest.raises(AssertionError):  # the negative control: another order is another run
        same(folder / "one-everywhere", folder / "one-window", nats=45)


def test_all_of_many_files_is_measured(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    assert elbo("train", "--config", "config.yaml", "train.epochs=1", "data.path=many", "--out", "run").code == 0
    for data in ("many", "many/part-*.npy"):
        answer = elbo("evaluate", "run", "--data", data)
        assert answer.code == 0, answer.err
        assert f"{N} data of {data}, split test" in answer.out
    assert "matches no file" in elbo("evaluate", "run", "--data", "mani/*.npy").err


def test_a_list_of_files_is_kept_in_the_config_and_listed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    listed = "data.path=[many/part-7.npy, many/part-9.npy, many/part-12.npy]"
    assert (
        elbo("train", "--config", "config.yaml", "train.epochs=1", listed, "data.valid=20", "--out", "x/listed").code
        == 0
    )
    assert elbo("train", "--resume", "x/listed", "train.epochs=2").code == 0
    assert len(RunFolder(Path("x/listed")).records()) == 2
    one = ("train.epochs=1", "data.path=[many/part-9.npy]", "data.valid=20", "data.test=20", "--out", "x/alone")
    assert elbo("train", "--config", "config.yaml", *one).code == 0
    rows = json.loads(elbo("runs", "x", "--json").out)["runs"]
    assert {row["data"] for row in rows} == {"many/part-7.npy and 2 more", "many/part-9.npy"}
    assert "70 data of many/part-7.npy and 2 more, split test" in elbo("evaluate", "x/listed").out
