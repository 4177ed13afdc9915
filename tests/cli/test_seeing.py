"""`elbo sample`, `elbo plot`, `elbo runs --where`, and the report of several runs."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from elbo_cli.report.figures import training
from elbo_cli.runs import RunFolder
from tests.browser import browsing, chromium
from tests.cli.command import TINY, elbo


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seeds of two configs."""
    folder = tmp_path_factory.mktemp("several")
    (folder / "tiny.yaml").write_text(TINY)
    for name, latents in (("two", 2), ("three", 3)):
        for seed in range(2):
            words = [f"model.latent_dim={latents}", f"seed={seed}", "train.gap_every=0"]
            assert elbo("train", "--config", folder / "tiny.yaml", *words, "--out", folder / f"{name}{seed}").code == 0
    return folder


def names(answer: str) -> list[str]:
    return [Path(run["path"]).name for run in json.loads(answer)["runs"]]


@pytest.mark.parametrize(
    ("conditions", "kept"),
    [
        (["model.latent_dim=2"], {"two0", "two1"}),
        (["model.latent_dim!=2"], {"three0", "three1"}),
        (["model.latent_dim>2", "seed=0"], {"three0"}),
        (["seed<=0"], {"two0", "three0"}),
        (["seed < 0"], set()),
        (["data=digits", "epochs>=2"], {"two0", "two1", "three0", "three1"}),
        (["optim.lr=1e-3"], {"two0", "two1", "three0", "three1"}),
        (["optim.clip_norm=null"], {"two0", "two1", "three0", "three1"}),
        (["status!=finished"], set()),
        (["model.bias_from_data=true"], {"two0", "two1", "three0", "three1"}),
    ],
)
def test_runs_are_filtered_by_columns_and_by_their_configs(conditions: list[str], kept: set[str], runs: Path) -> None:
    words = [word for condition in conditions for word in ("--where", condition)]
    answer = elbo("runs", runs, *words, "--json")
    assert answer.code == 0, answer.err
    assert set(names(answer.out)) == kept


@pytest.mark.parametrize(
    ("condition", "says"),
    [
        ("model.latent_dims=2", "Did you mean 'model.latent_dim'"),
        ("latent", "no condition"),
        ("data<digits", "compares numbers"),
    ],
)
def test_a_condition_that_is_none_is_told(condition: str, says: str, runs: Path) -> None:
    answer = elbo("runs", runs, "--where", condition)
    assert answer.code == 2
    assert says in answer.err


def test_filtered_runs_keep_their_order(runs: Path) -> None:
    found = json.loads(elbo("runs", runs, "--where", "seed=1", "--sort", "valid_elbo", "--json").out)["runs"]
    assert [run["valid_elbo"] for run in found] == sorted((run["valid_elbo"] for run in found), reverse=True)


def test_curves_are_drawn_in_the_terminal(runs: Path) -> None:
    answer = elbo("plot", runs / "two0", "--in", "terminal")
    assert answer.code == 0, answer.err
    assert "ELBO, nats per datum" in answer.out
    assert "━ train" in answer.out
    assert any("⠀" < c <= "⣿" for c in answer.out)
    assert "\x1b" not in answer.out


def test_curves_are_called_by_what_tells_their_runs_apart(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for place in ("a/trial", "b/trial", "c/trial"):
        shutil.copytree(runs / "two0", tmp_path / place)
    monkeypatch.chdir(tmp_path / "c" / "trial")
    answer = elbo("plot", "../../a/trial", "../../b/trial", ".")
    assert answer.code == 0, answer.err
    drawn = [f"━ {run}/trial {name}" for run in "abc" for name in ("train", "validation")]
    assert [line.strip() for line in answer.out.splitlines() if "━" in line] == drawn


@pytest.mark.parametrize("said", ["nan", "inf", "-inf"])
def test_curves_keep_what_is_finite(said: str, runs: Path, tmp_path: Path) -> None:
    """metrics.csv may be edited by hand; float() reads these words."""
    shutil.copytree(runs / "two0", tmp_path / "run")
    path = tmp_path / "run" / "metrics.csv"
    with path.open() as file:
        reader = csv.DictReader(file)
        rows = [row | dict.fromkeys(("train_elbo", "valid_elbo", "valid_kl"), said) for row in reader]
    rows[0]["valid_elbo"] = "-30.5"
    with path.open("w") as file:
        writer = csv.DictWriter(file, rows[0].keys(), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    answer = elbo("plot", tmp_path / "run")
    assert answer.code == 0, answer.err
    assert "-31.00" in answer.out  # half a nat around the one point that is left
    assert "━ train" not in answer.out
    assert elbo("plot", tmp_path / "run", "--out", tmp_path / "curve.png").code == 0
    assert "nothing to plot" not in elbo("plot", tmp_path / "run", "--what", "kl").err
    assert training.curves(RunFolder(tmp_path / "run").records()) is not None


@pytest.mark.parametrize(("ending", "begins"), [(".png", b"\x89PNG"), (".svg", b"<?xml"), (".pdf", b"%PDF")])
def test_curves_go_to_a_file(ending: str, begins: bytes, runs: Path, tmp_path: Path) -> None:
    answer = elbo("plot", runs / "two0", runs / "three0", "--what", "kl", "--out", tmp_path / f"kl{ending}")
    assert answer.code == 0, answer.err
    assert (tmp_path / f"kl{ending}").read_bytes().startswith(begins)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["two0", "--what", "elbow"], "Did you mean 'elbo'"),
        (["two0", "--in", "window"], "place to plot in"),
        (["two0", "--what", "gap"], "nothing to plot yet"),
        (["two0", "--out", "curve.gif"], ".png, .svg, .pdf"),
        (["nowhere"], "not a run folder"),
    ],
)
def test_what_cannot_be_plotted_is_told(
    words: list[str], says: str, runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(runs)
    answer = elbo("plot", *words)
    assert answer.code == 2
    assert says in answer.err


def test_samples_are_pictures_and_arrays(runs: Path, tmp_path: Path) -> None:
    words = ("--number", 5, "--walks", 2, "--out", tmp_path / "made" / "here", "--json")
    found = json.loads(elbo("sample", runs / "three0", *words).out)
    made = {Path(file).name: Path(file) for file in found["files"]}
    assert set(made) == {f"{n}.{e}" for n in ("prior", "reconstructions", "traversals") for e in ("npz", "png")}
    prior, walk = np.load(made["prior.npz"]), np.load(made["traversals.npz"])
    assert prior["means"].shape == prior["draws"].shape == (5, 1, 8, 8)
    assert set(np.unique(prior["draws"])) <= {0.0, 1.0}
    assert walk["means"].shape == (2, 7, 1, 8, 8)
    with Image.open(made["prior.png"]) as picture:
        assert picture.size == (3 * (5 * 8 + 4), 3 * 8)


def test_the_same_seed_gives_the_same_samples(runs: Path, tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        assert elbo("sample", runs / "two0", "--number", 3, "--seed", seed, "--out", tmp_path / name).code == 0
    a, b, c = ((tmp_path / name / "prior.png").read_bytes() for name in "abc")
    assert a == b != c


def test_samples_do_not_go_into_a_file(runs: Path, tmp_path: Path) -> None:
    (tmp_path / "taken").touch()
    answer = elbo("sample", runs / "two0", "--out", tmp_path / "taken")
    assert answer.code == 2
    assert "is a file" in answer.err


def test_several_runs_have_one_page(runs: Path, tmp_path: Path) -> None:
    four = [runs / f"{name}{seed}" for name in ("two", "three") for seed in range(2)]
    answer = elbo("report", *four, "--limit", 10, "--samples", 16, "--out", tmp_path / "all.html", "--json")
    assert answer.code == 0, answer.err
    text = (tmp_path / "all.html").read_text("utf-8")
    for words in ("4 runs of 2 configs", "model.latent_dim", "Differences, paired by datum", "Which config won?"):
        assert words in text
    assert {"curves.svg", "seeds.svg", "differences.svg", "tightness.svg"} <= {
        f.name for f in (tmp_path / "all").iterdir()
    }
    program = chromium()
    if program is not None:
        with browsing(program) as browser:
            browser.open((tmp_path / "all.html").as_uri(), 390)
            assert browser.complaints() == []
            assert browser.requests() == [(tmp_path / "all.html").as_uri()]
            assert browser.run("document.documentElement.scrollWidth") == 390


def test_the_page_of_several_goes_beside_them(runs: Path) -> None:
    answer = elbo("report", runs / "two0", runs / "two1", "--limit", 5, "--samples", 4, "--json")
    assert Path(json.loads(answer.out)["report"]).resolve() == (runs / "report.html").resolve()
