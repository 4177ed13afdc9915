"""What a report is made of, against closed forms where there are any."""

import math

import pytest
import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, MultivariateNormal, Normal

from elbo_cli.data.split import Split
from elbo_cli.gap.settings import Settings
from elbo_cli.portrait.pictures import samples, traversal
from elbo_cli.portrait.plane import plane
from elbo_cli.portrait.portray import Effort, portray
from elbo_cli.portrait.weights import chosen, log_weights
from elbo_cli.records import GapRow
from elbo_cli.runtime import finished

W = torch.tensor([[1.0, 0.2], [0.3, 1.0], [0.5, -0.4]])
SIGMA = 0.8
CPU = torch.device("cpu")


class Linear:
    """x = W z + sigma eps over two latents, with a q that is off by a known amount."""

    precision = torch.eye(2) + W.T @ W / SIGMA**2

    def prior(self) -> Distribution:
        return Independent(Normal(torch.zeros(2), torch.ones(2)), 1)

    def mean(self, x: Tensor) -> Tensor:
        return x @ W @ torch.linalg.inv(self.precision) / SIGMA**2

    def posterior(self, x: Tensor) -> Distribution:
        return Independent(Normal(self.mean(x) + 0.3, torch.full((2,), 0.7).expand(len(x), 2)), 1)

    def likelihood(self, z: Tensor) -> Distribution:
        return Independent(Normal(z @ W.T, torch.full((3,), SIGMA)), 1)


@pytest.fixture
def split() -> Split:
    return Split("test", torch.randn(30, 3), "made")


def rows(n: int) -> tuple[GapRow, ...]:
    return tuple(GapRow(index=i, gap=float(g), log_px=-3.0) for i, g in enumerate(torch.randperm(n).tolist()))


def test_the_three_data_are_the_smallest_the_middle_and_the_largest_gap() -> None:
    picked = chosen(rows(11))
    assert {role: row.gap for role, row in picked.items()} == {"easy": 0, "typical": 5, "worst": 10}


def test_the_true_posterior_is_drawn(split: Split) -> None:
    """Over two latents of a linear model it is a normal, known in closed form: mass, mean and covariance."""
    measured = rows(30)
    found = plane(Linear(), split, measured, measured[:2], seed=0)
    assert found is not None
    for shown in found.posteriors:
        x, y = (torch.from_numpy(axis).double() for axis in (shown.x, shown.y))
        z = torch.stack(torch.meshgrid(x, y, indexing="xy"), -1)
        data = split.batch(torch.tensor([shown.index]))
        truth = MultivariateNormal(Linear().mean(data)[0].double(), precision_matrix=Linear.precision.double())
        density = torch.from_numpy(shown.density).double()
        torch.testing.assert_close(density, truth.log_prob(z).exp(), rtol=2e-3, atol=1e-4)
        q = Linear().posterior(data).log_prob(z.float().reshape(-1, 1, 2)).exp().reshape(density.shape)
        torch.testing.assert_close(torch.from_numpy(shown.q), q, rtol=1e-4, atol=1e-6)
        mass = (x[1] - x[0]) * (y[1] - y[0])
        assert (density.sum() * mass).item() == pytest.approx(1, abs=1e-3)
        assert (shown.q.sum() * mass).item() == pytest.approx(1, abs=0.02)  # q is all but wholly within the picture


def test_the_manifold_runs_upwards_and_to_the_right(split: Split) -> None:
    found = plane(Linear(), split, rows(30), (), seed=0)
    assert found is not None
    corner = torch.tensor([found.at[-1], found.at[-1]]) @ W.T  # both latents at their largest: right and top
    torch.testing.assert_close(torch.from_numpy(found.manifold[0, -1]), corner)
    left = torch.tensor([found.at[0], found.at[-1]]) @ W.T
    torch.testing.assert_close(torch.from_numpy(found.manifold[0, 0]), left)


def test_other_latents_have_no_plane(split: Split) -> None:
    class Three(Linear):
        def prior(self) -> Distribution:
            return Independent(Normal(torch.zeros(3), torch.ones(3)), 1)

    assert plane(Three(), split, rows(30), (), seed=0) is None


def test_log_weights_are_those_of_the_datum(split: Split) -> None:
    """Their mean of exponentials is p(x), whichever proposal they were drawn from."""
    model, settings = Linear(), Settings(K=4000)
    truth = MultivariateNormal(torch.zeros(3), W @ W.T + SIGMA**2 * torch.eye(3))
    for shown in log_weights(model, split, rows(30), ("posterior", "auto"), settings):
        log_px = truth.log_prob(split.batch(torch.tensor([shown.index]))).item()
        for log_w in shown.log_w.values():
            found = torch.from_numpy(log_w).double().logsumexp(0).item() - math.log(len(log_w))
            assert found == pytest.approx(log_px, abs=0.15)


def test_a_walk_moves_one_latent_and_begins_with_the_largest_kl(split: Split) -> None:
    walk = traversal(Linear(), split, 3, (0.1, 2.0), most=8, seed=0)
    assert walk.latents == (1, 0)
    assert walk.kl == (2.0, 0.1)
    start = Linear().posterior(split.batch(torch.tensor([3]))).mean[0]
    z = start.clone()
    z[1] = walk.at[-1]
    torch.testing.assert_close(torch.from_numpy(walk.means[0, -1]), z @ W.T)


def test_samples_are_of_the_prior() -> None:
    made = torch.from_numpy(samples(Linear(), 20000, 0, CPU).draws)
    covariance = W @ W.T + SIGMA**2 * torch.eye(3)
    torch.testing.assert_close(made.T.cov(), covariance, rtol=0.05, atol=0.04)


def test_a_portrait_is_the_same_from_the_same_seed_and_leaves_the_generator_alone(split: Split) -> None:
    before = torch.get_rng_state()
    work = [finished(portray(Linear(), split, data="made", effort=Effort(9, 20), seed=4)) for _ in range(2)]
    assert torch.equal(before, torch.get_rng_state())
    assert (work[0].samples.draws == work[1].samples.draws).all()
    assert work[0].gap == work[1].gap
    assert work[0].exact
    assert work[0].gap.examples == 9
    assert work[0].evaluation.examples == 30
    assert len(work[0].worst_gap.index) == 9
    assert list(work[0].worst_gap.nats) == sorted(work[0].worst_gap.nats, reverse=True)
    assert list(work[0].worst_reconstructed.nats) == sorted(work[0].worst_reconstructed.nats)
