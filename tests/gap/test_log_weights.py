"""The log-weights that are given away are those that were judged."""

import math

import pytest
import torch

from elbo_cli.api import gap, load, log_weights, subject_of
from elbo_cli.errors import UserError
from elbo_cli.subject import Subject
from tests.cli.command import TINY


@pytest.fixture(scope="module")
def subject(tmp_path_factory: pytest.TempPathFactory) -> Subject:
    path = tmp_path_factory.mktemp("weights") / "tiny.yaml"
    path.write_text(TINY + "seed: 3\n")
    measured = subject_of(load(path))
    return Subject(measured.name, measured.model, measured.split.first(40), "digits", measured.seed, measured.device)


@pytest.mark.parametrize("proposal", ["auto", "posterior"])
def test_their_mean_is_the_bound_of_each_datum_and_their_number_is_k(subject: Subject, proposal: str) -> None:
    found = gap(subject, samples=70, proposal=proposal, method="importance")
    blocks = list(log_weights(subject, 70, proposal=proposal))
    assert [len(index) for index, _ in blocks] == [32, 8]  # a short last block, and a short last tile of 70 draws
    log_w = torch.cat([block for _, block in blocks], 1)
    assert (log_w.shape, log_w.dtype) == ((70, 40), torch.float64)
    told = torch.tensor([row.log_px for row in found.rows], dtype=torch.float64)
    torch.testing.assert_close(log_w.logsumexp(0) - math.log(70), told, rtol=0, atol=1e-12)
    ess = 1 / log_w.softmax(0).square().sum(0)
    torch.testing.assert_close(ess, torch.tensor([row.ess for row in found.rows], dtype=torch.float64))


def test_another_seed_gives_other_weights(subject: Subject) -> None:
    other = Subject(subject.name, subject.model, subject.split, subject.data, subject.seed + 1, subject.device)
    (_, one), (_, two) = next(log_weights(subject, 8)), next(log_weights(other, 8))
    assert not torch.equal(one, two)


def test_a_block_is_made_when_it_is_asked_for(subject: Subject) -> None:
    index, log_w = next(log_weights(subject, 10**3))
    assert (index.tolist(), log_w.shape) == (list(range(32)), (1000, 32))


def test_a_proposal_that_does_not_exist_has_a_neighbour(subject: Subject) -> None:
    with pytest.raises(UserError, match=r"Did you mean 'laplace'\?"):
        next(log_weights(subject, 8, proposal="laplac"))
