"""A normal given by its precision, held to torch's multivariate normal."""

import pytest
import torch
from torch import Tensor
from torch.distributions import MultivariateNormal

from elbo_cli.gap.proposals.normal import PrecisionNormal
from tests.oracles.comparison import close
from tests.statistics import outside, within


def made(N: int = 3, D: int = 4) -> tuple[PrecisionNormal, MultivariateNormal]:
    mu = torch.randn(N, D, dtype=torch.float64)
    A = torch.randn(N, D, D, dtype=torch.float64)
    precision = A @ A.mT + 0.5 * torch.eye(D, dtype=torch.float64)
    root = torch.linalg.cholesky(precision)
    return PrecisionNormal(mu, root), MultivariateNormal(mu, precision_matrix=precision)


@pytest.mark.parametrize("D", [1, 2, 7])
def test_its_density_is_torchs_own(D: int) -> None:
    ours, theirs = made(D=D)
    z = theirs.sample((6,))
    close(ours.log_prob(z), theirs.log_prob(z))
    close(ours.log_prob(z[0]), theirs.log_prob(z[0]))
    close(ours.mean, theirs.mean)
    assert (ours.batch_shape, ours.event_shape) == (theirs.batch_shape, theirs.event_shape)


@pytest.mark.parametrize("shape", [(), (5,), (2, 5), (0,)])
def test_draws_come_in_any_shape(shape: tuple[int, ...]) -> None:
    ours, _ = made()
    z = ours.sample(shape)
    assert z.shape == (*shape, 3, 4)
    assert ours.log_prob(z).shape == (*shape, 3)


def test_draws_have_its_mean_and_covariance() -> None:
    ours, theirs = made()
    z = ours.sample((40_000,))
    within(z, theirs.mean, resolve=0.1)
    white = torch.einsum("ned,kne->knd", ours.root, z - ours.mean)  # R'(z - mu) ~ N(0, I)
    products = white.unsqueeze(-1) * white.unsqueeze(-2)
    within(products, torch.eye(4, dtype=torch.float64).expand(3, 4, 4), resolve=0.05)
    wrong = torch.einsum("nde,kne->knd", ours.root, z - ours.mean)  # R(z - mu): the root's other side
    outside(wrong.unsqueeze(-1) * wrong.unsqueeze(-2), torch.eye(4, dtype=torch.float64).expand(3, 4, 4))


def test_every_datum_has_noise_of_its_own() -> None:
    ours = PrecisionNormal(torch.zeros(2, 3), torch.eye(3).expand(2, 3, 3))
    z = ours.sample((1000,))
    assert (z[:, 0] - z[:, 1]).abs().min() > 0
    within(z[:, 0] * z[:, 1], 0.0, resolve=0.2)


def test_inflated_it_has_its_covariance_times_a_factor() -> None:
    ours, theirs = made()
    wide = MultivariateNormal(theirs.mean, 1.7 * theirs.covariance_matrix)
    z: Tensor = wide.sample((5,))
    close(ours.inflated(1.7).log_prob(z), wide.log_prob(z))
    close(ours.inflated(1.0).log_prob(z), ours.log_prob(z))
