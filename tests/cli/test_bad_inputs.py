"""A mistake of the user's: exit code 2, one sentence that names the place and the cure, and nothing left behind."""

import re
from pathlib import Path

import pytest
import torch

from tests.cli.command import Answer, elbo, process
from tests.cli.workshop import furnish

TRAIN = "train --config tiny.yaml --out new "
ARRAYS = TRAIN + "data.name=arrays data.binarize=none data.path="
LONG = 300 * "a"  # characters: systems take 255
TOY = "evaluate --data binary.npy toys:"

# What is typed, and what its message must hold: the place, what was found, the cure.
BAD = [
    # nothing, or something else, to do
    ("trian", "No such command 'trian'", "'train'"),
    ("train", "Nothing to train", "--config FILE", "elbo init"),
    ("train tiny.yaml", "Did you mean --config tiny.yaml?"),
    ("train --confg tiny.yaml", "No such option", "--config"),
    ("gap run --samples", "--samples", "requires an argument"),
    ("evaluate", "Missing argument", "evaluate"),
    # configs
    ("train --config nowhere.yaml --out new", "There is no file nowhere.yaml"),
    ("train --config tiny.yml --out new", "There is no file tiny.yml", "'tiny.yaml'"),
    ("train --config digits --out new", "'digits' is a preset", "elbo init digits"),
    ("train --config run --out new", "run is a folder", "Type run/config.yaml"),
    ("train --config blank.yaml --out new data.root=empty", "mnist is not in empty", "data.root=FOLDER"),
    ("train --config section.yaml --out new", "section.yaml:4: optimiser", "'optim'"),
    ("train --config key.yaml --out new", "key.yaml:2: model.latent_dims", "'latent_dim'"),
    ("train --config type.yaml --out new", "type.yaml:2: model.latent_dim: found 'two'", "1 to 4096"),
    ("train --config twice.yaml --out new", "twice.yaml:4: data", "on lines 1 and 4. Keep one"),
    ("train --config tab.yaml --out new", "tab.yaml:2", "tab"),
    ("train --config list.yaml --out new", "list.yaml:1", "a list", "sections and keys"),
    ("train --config bytes.yaml --out new", "bytes.yaml"),
    ("check key.yaml", "key.yaml:2: model.latent_dims", "'latent_dim'"),
    ("check nowhere.yaml", "There is no file nowhere.yaml"),
    ("check tiny.yaml optim.lr=fast", "optim.lr=fast", "found 'fast'", "a number > 0"),
    # overrides
    (TRAIN + "model.latnet_dim=3", "model.latnet_dim", "'latent_dim'"),
    (TRAIN + "model.latent_dim", "no '=' in it", "KEY=VALUE"),
    (TRAIN + "model.latent_dim=", "no value"),
    (TRAIN + "model=big", "model is a section"),
    (TRAIN + "seed=1 seed=2", "given twice", "seed=1"),
    (TRAIN + "objective.beta=-1", "objective.beta: found -1", "a number >= 0"),
    (TRAIN + "model.latent_dim=0", "model.latent_dim: found 0", "from 1 to 4096"),
    (TRAIN + "optim.lr=0", "optim.lr: found 0", "a number > 0"),
    (TRAIN + "train.epochs=1e3", "train.epochs: found 1e3", "Write 1000"),
    (TRAIN + "model.likelihood=bernouli", "model.likelihood: found 'bernouli'", "'bernoulli'"),
    (TRAIN + "data.name=minst", "data.name: found 'minst'", "'mnist'"),
    (TRAIN + "model.encoder.hidden=16", "model.encoder.hidden: found 16", "a list"),
    (TRAIN + "data.valid=1700", "none is left to train on"),
    # data to train on
    (TRAIN + "data.binarize=none", "digits", "datum", "0 or 1", "data.binarize=dynamic"),
    (TRAIN + "data.binarize=none model.likelihood=poisson", "datum", "counts"),
    (TRAIN + "data.name=mnist data.root=nowhere", "data.root=nowhere does not exist"),
    (TRAIN + "data.name=mnist data.root=~nobody-here data.download=true", "data.root='~nobody-here' cannot be opened"),
    (TRAIN + f"data.name=mnist data.root={LONG} data.download=true", f"data.root='{LONG}", "File name too long"),
    (TRAIN + "data.name=arrays", "arrays need a file or a folder", "data.path=FILE"),
    (ARRAYS + "binary.npz", "data.path=binary.npz does not exist", "'binary.npy'"),
    (ARRAYS + "hole.npy", "hole.npy", "datum 3 (counted from 0) holds nan at [0, 2, 1]", "fill it in"),
    (ARRAYS + "none.npy", "none.npy is empty"),
    (ARRAYS + "same.npy", "same.npy", "There is nothing to model"),
    (ARRAYS + "line.npy", "line.npy has shape (768,)", "[N, D]"),
    (ARRAYS + "objects.npy", "objects.npy", "pickle"),
    (ARRAYS + "cut.npy", "cut.npy", "promises"),
    (ARRAYS + "two.npz", "two.npz holds the arrays a, b", "data.key=NAME"),
    (ARRAYS + "words.csv", "words.csv", "four"),
    (ARRAYS + "notes.txt", "notes.txt", ".npy"),
    (ARRAYS + "empty", "empty holds no images"),
    (ARRAYS + "grey.npy", "grey.npy", "0 or 1", "data.binarize=dynamic"),
    (ARRAYS.replace("none", "dynamic") + "loud.npy", "loud.npy", "x in [0, 1]", "data.scale=NUMBER"),
    (ARRAYS + "flat.npy model.encoder.kind=conv", "conv network needs pictures", "kind: mlp"),
    (ARRAYS + "binary.npy data.test_path=large.npy", "(1, 16, 16)", "(1, 8, 8)", "same shape"),
    # where to
    ("train --config tiny.yaml --out run", "run is not empty", "--resume run"),
    ("train --config tiny.yaml --out empty/../folder.csv/../notes.txt", "notes.txt is a file"),
    ("train --config tiny.yaml --out notes.txt/new", "notes.txt is no folder"),
    (f"train --config tiny.yaml --out {LONG}", "300 bytes, 240 at most. Give a shorter name"),
    (TRAIN + "--device gpu", "No device is called 'gpu'", "auto, cpu, cuda"),
    # runs to go on with
    ("train --resume run --config tiny.yaml", "--resume", "leave --config, --out and --init out"),
    ("train --resume run --out new", "leave --config, --out and --init out"),
    ("train --init nowhere", "There is no checkpoint nowhere", "Give a file or a run folder."),
    ("train --resume nowhere", "nowhere is not a run folder", "config.yaml"),
    (f"train --resume {LONG}", f"Cannot look at {LONG}: File name too long"),
    ("train --resume empty", "empty is not a run folder"),
    ("train --resume run model.latent_dim=3", "model.latent_dim: 2 -> 3", "start a new run"),
    ("train --resume run train.epoch=3", "train.epoch", "'epochs'"),
    ("train --resume run train.epochs=1", "run has trained 2 epochs already", "Give train.epochs=2 or more"),
    ("train --resume edited", "optim.lr: 0.001 -> 0.002", "start a new run"),
    ("train --resume begun train.epochs=9", "optim.schedule cosine", "Start a new run"),
    ("train --resume damaged", "damaged/last.safetensors is not a whole safetensors file"),
    ("train --resume moved", "moved/last.safetensors was trained on other data", "moving.npy"),
    ("train --resume newer train.epochs=4", "newer/metrics.csv goes to epoch 3", "epoch 2", "remove the later rows"),
    ("train --resume rows train.epochs=4", "rows/metrics.csv", "too few cells"),
    # checkpoints
    ("evaluate nowhere", "There is no checkpoint nowhere", "a run folder, or package.module:factory"),
    ("evaluate run/beast.safetensors", "no checkpoint run/beast.safetensors", "best.safetensors"),
    (f"evaluate {LONG}", f"Cannot look at {LONG}: File name too long. Give another place"),
    (f"evaluate {LONG}:make", f"Cannot look at {LONG}:make: File name too long"),
    ("evaluate empty", "The folder empty holds no checkpoint", "best.safetensors"),
    ("evaluate run/config.yaml", "run/config.yaml is not a whole safetensors file"),
    ("evaluate truncated.safetensors", "truncated.safetensors is not a whole safetensors file", "elbo train"),
    ("evaluate garbage.safetensors", "garbage.safetensors is not a whole safetensors file"),
    ("evaluate zero.safetensors", "zero.safetensors is not a whole safetensors file"),
    ("evaluate pickle.safetensors", "pickle.safetensors is not a whole safetensors file"),
    ("evaluate model.pt", "model.pt is not a whole safetensors file"),
    ("gap flipped.safetensors", "flipped.safetensors is damaged", "another copy"),
    ("gap somebody.safetensors", "somebody.safetensors is a safetensors file, but not one of elbo's"),
    # what to measure on
    ("evaluate run --split tets", "No split is called 'tets'", "'test'"),
    ("evaluate run --split tets --data binary.npy", "No split is called 'tets'", "train, valid, test"),
    ("evaluate run --data binary.npz", "--data=binary.npz does not exist", "'binary.npy'"),
    ("evaluate run --data minst", "--data=minst does not exist", "'mnist'", "linear_gaussian"),
    ("evaluate run --data linear_gaussian", "(1, 8, 8)", "linear_gaussian has (10,)"),
    ("evaluate run --data large.npy", "trained on data of shape (1, 8, 8), and large.npy has (1, 16, 16)"),
    ("evaluate run --data flat.npy", "trained on data of shape (1, 8, 8), and flat.npy has (64,)"),
    ("evaluate run --data none.npy", "none.npy is empty"),
    ("gap run --data hole.npy", "hole.npy", "datum 3"),
    ("gap run --data grey.npy data.binarize=none", "grey.npy", "0 or 1", "data.binarize=dynamic"),
    ("gap run --data loud.npy", "loud.npy", "data.scale=NUMBER"),
    ("gap run model.latent_dim=3", "'model.latent_dim=3' cannot be set here", "data.KEY=VALUE"),
    ("gap run data.rood=x", "data.rood"),
    ("gap run --limit 0", "--limit", "1"),
    # how to measure it
    ("gap run --samples 0", "--samples", "1"),
    ("gap run --samples many", "--samples", "integer"),
    ("gap run --seed -1", "--seed", "0"),
    ("gap run --threads 0", "--threads", "1"),
    ("gap run --threads 2000", "--threads", "1024"),
    ("gap run --tolerance -1", "--tolerance -1 is no accuracy", "0.05"),
    ("gap run --tolerance nan", "--tolerance nan is no accuracy"),
    ("gap run --tolerance 0.1 --samples 9", "leave --samples out, or --tolerance"),
    ("gap run --tolerance 0.1 --method ais --temperatures 9", "finds the number of temperatures itself"),
    ("gap run --temperatures 9", "--temperatures are annealing's", "--method ais"),
    ("gap run --method exact --samples 9", "--method exact takes no draws", "leave --samples out"),
    ("gap wide --method exact", "--method exact does not apply", "3 latents", "--method importance"),
    ("gap run --tile 0", "--tile", "1"),
    ("gap run --delta 2", "--delta 2 is no probability", "0.05"),
    ("gap run --delta 0", "--delta 0 is no probability"),
    ("gap run --delta nan", "--delta nan is no probability"),
    ("gap run --proposal lapalce", "No proposal is called 'lapalce'", "'laplace'"),
    ("gap run --method importence", "No method is called 'importence'", "'importance'"),
    ("gap run --device gpu", "No device is called 'gpu'"),
    ("gap run --out table.xlsx", "table.xlsx ends in '.xlsx'", ".csv or .parquet"),
    (f"gap run --out {LONG[:250]}.csv", "254 bytes, 240 at most. Give a shorter name"),
    (f"gap --merge {LONG}.csv", f"Cannot look at {LONG}.csv: File name too long"),
    ("gap run --out nowhere/table.csv", "there is no folder nowhere"),
    ("evaluate run --out folder.csv", "folder.csv is a folder", "a file's name"),
    ("evaluate run --out notes.txt/table.csv", "notes.txt is no folder"),
    # models of the user's own
    ("evaluate toys:good", "needs data", "--data FILE"),
    ("evaluate --data binary.npy nomodule:make", "No module named 'nomodule'", "package.module:factory"),
    ("evaluate --data binary.npy needy:make", "a_package_that_is_not_there", "needy.py, line 1"),
    ("evaluate --data binary.npy unfinished:make", "SyntaxError", "unfinished.py, line 1"),
    ("evaluate --data binary.npy script:make", "SystemExit: 2", "script.py, line 1"),
    ("evaluate --data binary.npy :make", "Cannot make a model from ':make'"),
    (TOY, "no ''", "package.module:factory"),
    (TOY + "goood", "has no 'goood'", "'good'"),
    (TOY + "number", "TypeError: 'int' object is not callable"),
    (TOY + "wants", "missing 1 required positional argument: 'argument'", "without arguments"),
    (TOY + "raises", "KeyError: 'weights'", "toys.py, line 22"),
    (TOY + "exits", "SystemExit: usage: toys.py FILE"),
    (TOY + "nothing", "a NoneType, has no method prior, posterior, likelihood"),
    (TOY + "Half", "a Half, has no method posterior, likelihood"),
    (TOY + "Apart", "batch shape (3, 2, 1, 8, 8), not (3, 2)", "torch.distributions.Independent"),
    (TOY + "Batched", "prior() has the batch shape (1,), not ()", "torch.distributions.Independent"),
    (TOY + "Transposed", "likelihood(z) of 3 draws for 2 data has the batch shape (2, 3), not (3, 2)"),
    (TOY + "Numbers", "toys:Numbers fails on 2 data of shape (1, 8, 8)", "AttributeError"),
    (TOY + "Fails", "KeyError: 'no such\\nlayer'", "toys.py, line"),
    (TOY + "Late", "toys:Late", "AssertionError: too many of them", "toys.py, line"),
    (TOY.replace("evaluate", "gap") + "Late", "toys:Late", "AssertionError: too many of them"),
    (TOY.replace("binary", "grey") + "good", "toys:good fails", "support"),
    # pages and pictures
    ("report nowhere", "There is no checkpoint nowhere"),
    (f"report {LONG}", f"Cannot look at {LONG}"),
    (f"report run --out {LONG}.html", "305 bytes, 240 at most"),
    ("report run --out /", "--out / ends in ''", "report.html"),
    ("gap run --out /", "--out / ends in ''", ".csv or .parquet"),
    ("train --config tiny.yaml --out /", "--out / is not empty", "a folder that does not exist yet"),
    # presets
    ("init digitz", "No preset is called 'digitz'", "'digits'"),
    ("init digits --out tiny.yaml", "tiny.yaml is there already", "--force"),
    ("init digits --out empty --force", "empty is a folder", "a file's name"),
    ("init digits --out nowhere/a.yaml", "there is no folder nowhere"),
    ("init --out a.yaml", "name a preset", "elbo init digits"),
]

AS_PROCESSES = ("check key.yaml", "evaluate truncated.safetensors", TOY + "raises")


@pytest.fixture(scope="module")
def workshop(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("workshop")
    furnish(folder, trained)
    return folder


@pytest.fixture(autouse=True)
def _here(workshop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(workshop)


def contents(folder: Path) -> dict[Path, tuple[int, int]]:
    """Every file and folder, with its size and its time."""
    return {path: (path.stat().st_size, path.stat().st_mtime_ns) for path in folder.rglob("*") if path.is_file()} | {
        path: (0, 0) for path in folder.rglob("*") if path.is_dir()
    }


def is_a_sentence_about(answer: Answer, *parts: str) -> None:
    assert answer.code == 2, answer
    assert answer.out == ""
    assert answer.err.startswith(("Error: ", "Usage: "))
    assert len(re.findall("^Error: ", answer.err, re.MULTILINE)) == 1
    assert "Traceback" not in answer.err
    assert [part for part in parts if part not in answer.err] == [], answer.err


@pytest.mark.parametrize(("typed", "parts"), [(typed, parts) for typed, *parts in BAD], ids=[row[0] for row in BAD])
def test_a_mistake_is_told_in_a_sentence_and_leaves_nothing_behind(
    typed: str, parts: list[str], workshop: Path
) -> None:
    before = contents(workshop)
    is_a_sentence_about(elbo(*typed.split()), *parts)
    assert contents(workshop) == before


@pytest.mark.parametrize("row", [0, *(i for i, (typed, *_) in enumerate(BAD) if typed in AS_PROCESSES)])
def test_a_process_of_its_own_says_the_same(row: int, workshop: Path) -> None:
    typed, *parts = BAD[row]
    before = contents(workshop)
    is_a_sentence_about(process(*typed.split(), cwd=workshop, COLUMNS="80"), *parts)
    assert contents(workshop) == before


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has one")
def test_a_device_that_is_not_there_is_told() -> None:
    is_a_sentence_about(elbo("gap", "run", "--device", "cuda"), "no device 'cuda'", "--device cpu")


def test_there_are_at_least_sixty_of_them() -> None:
    assert len(BAD) == len({row[0] for row in BAD}) >= 60
