"""What a user is told of the objective, and that no part of it is left in what evaluates."""

from pathlib import Path

import pytest

from elbo_cli.runs import RunFolder
from tests.cli.command import TINY, elbo

FLAT = """\
data: {name: linear_gaussian, dim: 8, latent_dim: 2, train: 400, valid: 100, test: 100}
model: {latent_dim: 2, likelihood: gaussian, encoder: {hidden: [8]}, decoder: {hidden: [8]}}
train: {epochs: 2, batch_size: 200, gap_samples: 4, gap_examples: 20}
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.yaml").write_text(TINY)
    (tmp_path / "flat.yaml").write_text(FLAT)
    return tmp_path


def test_the_implied_beta_is_said_where_sigma_changes_it(here: Path) -> None:
    told = elbo("train", "-c", "flat.yaml", "--out", "a", "model.sigma=0.5", "objective.beta=2").out
    assert "sigma 0.5 implies beta 0.5: " in told
    assert "|x - mean|^2 / 2 + 0.5 KL, or of the mean squared error over 8 pixels + 0.125 KL.\n" in told
    learnt = elbo("train", "-c", "flat.yaml", "--out", "b", "objective.beta=2").out
    assert "sigma 1 implies beta 2: " in learnt
    assert "It is learnt: the column implied_beta follows it." in learnt
    assert "there is no one implied beta" in elbo("train", "-c", "flat.yaml", "--out", "c", "model.sigma=per_pixel").out
    assert "implies" not in elbo("train", "-c", "tiny.yaml", "--out", "d").out


def test_beta_and_free_bits_are_in_the_csv_and_not_in_an_evaluation(here: Path) -> None:
    """Two objectives, and weights that stand still: every number but their own two columns is the same."""
    still = ("optim.lr=1e-30", "train.step=plain", "--json")
    plain = elbo("train", "-c", "tiny.yaml", "--out", "plain", *still)
    freed = ("objective.beta=0.3", "objective.free_bits=2.0", "objective.beta_warmup_epochs=1")
    other = elbo("train", "-c", "tiny.yaml", "--out", "other", *freed, *still)
    assert plain.out.replace("plain", "other").split('"seconds"')[0] == other.out.split('"seconds"')[0]
    rows = [RunFolder(Path(name)).records() for name in ("plain", "other")]
    assert [(r.beta, r.free_bits) for r in rows[0]] == [(1.0, 0.0)] * 2
    assert [(r.beta, r.free_bits) for r in rows[1]] == [(0.0, 2.0), (0.3, 2.0)]
    for mine, theirs in zip(*rows, strict=True):
        assert (mine.train_elbo, mine.valid_elbo, mine.valid_kl) == (
            theirs.train_elbo,
            theirs.valid_elbo,
            theirs.valid_kl,
        )
        assert (mine.valid_log_px, mine.valid_gap) == (theirs.valid_log_px, theirs.valid_gap)
    for words in (("evaluate",), ("gap", "--samples", "20", "--limit", "20", "--method", "importance")):
        found = [elbo(words[0], name, *words[1:], "--json").out for name in ("plain", "other")]
        assert found[0].replace("plain", "other").split('"seconds"')[0] == found[1].split('"seconds"')[0]


def test_the_closing_words_have_the_ledger_its_cost_and_a_warning(here: Path) -> None:
    told = elbo("train", "-c", "tiny.yaml", "--out", "a", "optim.lr=1e-30", "objective.beta=50").out
    assert "Of +0.000 nats that the probe's ELBO moved, 0.000 were a better model and 0.000 a tighter bound.\n" in told
    assert "The probe took " in told
    assert "collapsed" not in told
    heavy = ("objective.beta=1000", "train.epochs=15", "optim.lr=0.01", "train.health=true")
    answer = elbo("train", "-c", "tiny.yaml", "--out", "b", *heavy)
    assert "The posterior has collapsed (no latent is active, KL 0.0" in answer.out
    rows = RunFolder(Path("b")).records()
    assert all(row.kl_per_latent is not None and len(row.kl_per_latent) == 2 for row in rows)
    assert sum(rows[-1].kl_per_latent or ()) == pytest.approx(rows[-1].valid_kl)
