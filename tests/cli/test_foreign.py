"""A model of the user's own is measured like elbo's: by three methods and no more."""

import inspect
import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.cli import foreign
from tests.cli.command import Answer, elbo

MEASURE = ("evaluate", "gap")
MAKE = "tests.cli.foreign:make"
EXACT = """\
import torch
from torch.distributions import Independent, Normal

W, SIGMA = torch.tensor([1.0, -2.0, 0.5]), 0.7
PRECISION = 1 + W @ W / SIGMA**2

class Exact:
    def prior(self):
        return Independent(Normal(torch.zeros(1), torch.ones(1)), 1)
    def posterior(self, x):
        return Independent(Normal((x @ W / SIGMA**2 / PRECISION)[:, None], PRECISION**-0.5 * torch.ones(len(x), 1)), 1)
    def likelihood(self, z):
        return Independent(Normal(z * W, SIGMA), 1)
"""
CHATTY = (
    EXACT
    + """
print("loading the weights of my model")

class Chatty(Exact):
    def posterior(self, x):
        print("encoding", len(x))
        return super().posterior(x)
"""
)


def found(answer: Answer) -> dict[str, dict[str, float]]:
    assert answer.code == 0, answer.err
    return dict(json.loads(answer.out))


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a model whose log p(x) is known, and data for it."""
    for name, text in {"exact": EXACT, "chatty": CHATTY}.items():
        (tmp_path / f"{name}.py").write_text(text)
        monkeypatch.delitem(sys.modules, name, raising=False)
    np.save(tmp_path / "x.npy", np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def log_px(x: np.ndarray) -> float:
    """The mean of log N(x; 0, W W' + sigma^2 I)."""
    w = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    cov = w[:, None] * w + 0.49 * torch.eye(3, dtype=torch.float64)
    q = torch.distributions.MultivariateNormal(torch.zeros(3, dtype=torch.float64), cov)
    return q.log_prob(torch.from_numpy(x).double()).mean().item()


def test_an_adapter_is_short() -> None:
    assert len([line for line in inspect.getsource(foreign.Elsewhere).splitlines() if line.strip()]) < 15


def test_a_model_from_elsewhere_is_evaluated_and_its_gap_measured() -> None:
    words = (MAKE, "--data", "digits", "data.binarize=fixed", "--limit", "30", "--json")
    evaluation, gap = found(elbo("evaluate", *words)), found(elbo("gap", *words, "--samples", "64"))
    assert evaluation["checkpoint"] == gap["checkpoint"] == MAKE
    assert evaluation["examples"] == gap["examples"] == 30
    mean = evaluation["elbo"]["mean"]
    assert mean == pytest.approx(evaluation["reconstruction"]["mean"] - evaluation["kl"]["mean"], abs=1e-5)
    assert gap["elbo"]["mean"] == pytest.approx(mean, abs=4 * math.hypot(gap["elbo"]["se_mc"], 0.5))
    assert gap["gap"]["mean"] > 0.1


def test_at_its_exact_posterior_a_model_has_no_gap_and_its_log_px_is_the_closed_form(here: Path) -> None:
    truth = log_px(np.load("x.npy"))
    words = ("exact:Exact", "--data", "x.npy", "--json", "--proposal", "posterior")
    gap = found(elbo("gap", *words, "--samples", 8, "--method", "importance"))
    assert gap["log_px"]["mean"] == pytest.approx(truth, abs=1e-5)
    assert gap["gap"]["mean"] == pytest.approx(0, abs=1e-5)


def test_shards_of_a_decoder_without_derivatives_say_what_one_process_says(here: Path) -> None:
    """`auto` is `defensive` there, for the parts and for the whole: one name, and no fit that is counted."""
    (here / "still.py").write_text(
        EXACT + "\nclass Still(Exact):\n    def likelihood(self, z):\n        return super().likelihood(z.detach())\n"
    )
    words = ("gap", "still:Still", "--data", "x.npy", "--samples", 20, "--json")
    whole = found(elbo(*words))
    for number in (1, 2):
        assert elbo(*words, "--shard", f"{number}/2", "--out", f"part-{number}.csv").code == 0
    merged = found(elbo("gap", "--merge", "part-1.csv", "part-2.csv", "--json"))
    assert (whole["proposal"], whole["decodes"]) == ("defensive", 40)
    assert {k: merged[k] for k in ("proposal", "decodes", "log_px")} == {
        k: whole[k] for k in ("proposal", "decodes", "log_px")
    }


def test_what_a_model_prints_is_not_mixed_with_the_json(here: Path) -> None:
    evaluation, gap = (elbo(name, "chatty:Chatty", "--data", "x.npy", "--json", "--samples", 4) for name in MEASURE)
    assert found(evaluation)["examples"] == found(gap)["examples"] == 40
    assert "loading the weights of my model\n" in evaluation.err
    assert "encoding 40\n" in evaluation.err
    assert "encoding 32\n" in gap.err


def test_a_model_in_a_package_is_found_from_the_current_folder(here: Path) -> None:
    (here / "zoo_of_models").mkdir()
    (here / "zoo_of_models" / "exact.py").write_text(EXACT + "\ndef make():\n    return Exact()\n")
    words = ("zoo_of_models.exact:make", "--data", "x.npy", "--json")
    assert found(elbo("evaluate", *words))["examples"] == 40


def test_the_current_folder_is_left_off_the_path_again(here: Path) -> None:
    before = [*sys.path]
    found(elbo("evaluate", "exact:Exact", "--data", "x.npy", "--json"))
    assert sys.path == before
