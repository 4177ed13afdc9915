"""`elbo train --init`: a run that begins with another's weights, under another objective."""

import json
import shlex
from pathlib import Path

import pytest

from elbo_cli import config as configs
from elbo_cli.checkpoint import read
from elbo_cli.journal import journal, start
from elbo_cli.records import Tick
from elbo_cli.runs import RunFolder
from tests.cli.command import TINY, Answer, elbo
from tests.experiments import CPU, timeless

FLAT = """\
data: {name: linear_gaussian, dim: 5}
model: {latent_dim: 2, encoder: {hidden: [16]}, decoder: {hidden: [16]}, likelihood: gaussian}
"""
STILL = ("optim.lr=1e-30", "train.epochs=1")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trained: Path) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.yaml").write_text(TINY)
    (tmp_path / "first").symlink_to(trained)
    return tmp_path


def elbo_of(run: str) -> float:
    return float(json.loads(elbo("evaluate", run, "--json").out)["elbo"]["mean"])


def refused(answer: Answer, *parts: str) -> None:
    assert answer.code == 2, answer
    for part in parts:
        assert part in answer.err


@pytest.mark.parametrize("config", [(), ("--config", "tiny.yaml")])
def test_the_weights_are_those_of_the_checkpoint(here: Path, config: tuple[str, ...]) -> None:
    told = elbo("train", *config, "--init", "first", "--out", "second", *STILL)
    assert told.code == 0, told.err
    assert "Begins with the weights of first/best.safetensors, epoch 2." in told.out
    assert elbo_of("second") == elbo_of("first")
    assert [record.epoch for record in RunFolder(here / "second").records()] == [1], "epochs begin anew"
    about = json.loads((here / "second" / "manifest.json").read_text())["init"]
    assert about == {"checkpoint": "first/best.safetensors", "epoch": 2}
    assert elbo("train", "--config", "tiny.yaml", "--out", "third", *STILL).code == 0
    assert elbo_of("third") != elbo_of("first"), "blind"


def test_objectives_are_swapped_as_in_the_papers_table_2(here: Path) -> None:
    iwae = ("objective.bound=iwae", "objective.samples=5", "objective.gradient=dreg")
    assert elbo("train", "--init", "first", "--out", "second", *iwae, "train.epochs=2").code == 0
    first, second = RunFolder(here / "first").records()[-1], RunFolder(here / "second").records()
    assert (first.valid_bound, second[0].valid_bound is None) == (None, False)
    assert second[0].train_elbo > RunFolder(here / "first").records()[0].train_elbo, "it does not begin again"


def test_the_encoder_alone_goes_on_and_the_ledger_says_so(here: Path) -> None:
    """The probe's log p(x) stays where it was to what it resolves, and the gap falls by far more."""
    more = ("train.update=encoder", "train.epochs=10", "optim.lr=3e-3", "train.gap_samples=64")
    assert elbo("train", "--init", "first", "--out", "second", *more).code == 0
    rows = RunFolder(here / "second").records()
    model, bound = (sum(getattr(row, name) or 0.0 for row in rows) for name in ("delta_log_px", "delta_gap"))
    assert abs(model) < 0.05
    assert bound < -10 * abs(model)
    assert bound < -0.3
    first, second = (read(here / name / "last.safetensors").weights() for name in ("first", "second"))
    for name, value in read(here / "first" / "best.safetensors").weights().items():
        assert name.startswith("encoder") or (value == second[name]).all()
    assert any((first[name] != second[name]).any() for name in first if name.startswith("encoder"))


def test_a_run_killed_in_its_first_epoch_begins_with_those_weights_again(here: Path) -> None:
    """Its last checkpoint, of epoch 0, holds them; the run is that which went through, to the bit."""
    origin = read(here / "first" / "best.safetensors")
    config = configs.loads(origin.header.config, overrides=["train.update=alternate"])
    list(journal(start(config, "", here / "whole", CPU, origin)))
    work = journal(start(config, "", here / "killed", CPU, origin))
    assert isinstance(next(work), Tick)  # the first batches are done
    work.close()
    whole, killed = RunFolder(here / "whole"), RunFolder(here / "killed")
    assert (read(killed.last).header.last.epoch, killed.best.exists()) == (0, False)
    manifest = killed.manifest.read_bytes()
    assert elbo("train", "--resume", "killed").code == 0
    expected, found = read(whole.last), read(killed.last)
    assert all((value == found.tensors[name]).all() for name, value in expected.tensors.items())
    assert [timeless(record) for record in killed.records()] == [timeless(record) for record in whole.records()]
    assert killed.manifest.read_bytes() == manifest


def test_what_is_told_to_give_can_be_typed(here: Path) -> None:
    other = ("model.latent_dim=3", "model.encoder.hidden=[8, 4]", "model.bias_from_data=false", "train.epochs=1")
    wrong = elbo("train", "-c", "tiny.yaml", "--init", "first", "--out", "x", *other)
    cure = wrong.err.partition("There it was ")[2].partition(": give that")[0]
    assert "model.bias_from_data=true" in cure
    assert elbo("train", "-c", "tiny.yaml", "--init", "first", "--out", "x", *shlex.split(cure)).code == 0
    binary = ("model.likelihood=gaussian", "model.sigma=0.5", "data.binarize=none")
    refused(
        elbo("train", "-c", "tiny.yaml", "--init", "first", "--out", "y", "model.latent_dim=3", *binary),
        "There it was model.latent_dim=2 model.likelihood=bernoulli and nothing of model.sigma: give that",
    )


def test_what_does_not_fit_is_told_with_its_cure(here: Path) -> None:
    other = elbo("train", "-c", "tiny.yaml", "--init", "first", "--out", "x", "model.latent_dim=3")
    refused(other, "first/best.safetensors holds another model: ", "There it was model.latent_dim=2: give that,")
    wide = elbo("train", "--init", "first", "--out", "x", "model.encoder.hidden=[16, 4]")
    refused(wide, "is nothing there and ", "There it was 'model.encoder.hidden=[16]': give that")
    flat = (
        "data: {name: linear_gaussian, dim: 5}\nmodel: {latent_dim: 2, encoder: {hidden: [16]}, decoder: {hidden: [16]}"
    )
    (here / "flat.yaml").write_text(flat + ", likelihood: gaussian}\n")
    refused(elbo("train", "-c", "flat.yaml", "--init", "first", "--out", "x"), "holds another model")
    refused(elbo("train", "--init", "nowhere", "--out", "x"), "There is no checkpoint nowhere.")
    refused(elbo("train", "--resume", "first", "--init", "first"), "leave --config, --out and --init out")
    refused(elbo("train", "-c", "tiny.yaml", "--init", "tiny.yaml", "--out", "x"), "tiny.yaml")
    assert not (here / "x").exists()
