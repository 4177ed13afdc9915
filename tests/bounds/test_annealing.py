"""Annealed importance sampling on a linear-Gaussian model: x = W z + b + sigma eps, log p(x) by scipy."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal
from torch import Tensor
from torch.distributions import Normal

from elbo_cli.bounds.annealing import SCHEDULES, Chains, StepSizes, anneal, schedule, tune
from elbo_cli.bounds.curve import log_mean_exp
from elbo_cli.bounds.hmc import Kernel, Path, Point
from tests.chains import last
from tests.statistics import outside, within

W = np.array([[0.9, -0.4], [0.2, 0.8], [-0.5, 0.6]])
B, SIGMA = np.array([0.1, -0.2, 0.3]), 1.6  # so wide that every weight below and its inverse have a variance
X = np.array([[1.0, -0.5, 0.4], [-1.2, 0.9, 1.6]])
LOG_PX = torch.from_numpy(multivariate_normal(B, W @ W.T + SIGMA**2 * np.eye(3)).logpdf(X))
COVARIANCE = SIGMA**2 * np.linalg.inv(W.T @ W + SIGMA**2 * np.eye(2))  # of p(z | x)
MEAN = (X - B) @ W @ COVARIANCE / SIGMA**2

PROPOSALS = {
    "prior": Normal(torch.zeros(2, 2).double(), 1.0),
    "q": Normal(torch.from_numpy(MEAN) + 0.5, torch.from_numpy(0.9 * COVARIANCE.diagonal() ** 0.5).expand(2, 2)),
}


def log_joint(x: Tensor, z: Tensor) -> Tensor:
    mean = z @ torch.from_numpy(W).to(z).T + torch.from_numpy(B).to(z)
    return Normal(mean, SIGMA).log_prob(x).sum(-1) + Normal(0.0, 1.0).log_prob(z).sum(-1)


def problem(start: str, R: int, leapfrogs: int = 5) -> tuple[Kernel, Normal]:
    """The two data R times over, on the N axis: [2 R]."""
    x = torch.from_numpy(X).repeat(R, 1)
    q0 = Normal(PROPOSALS[start].mean.repeat(R, 1), PROPOSALS[start].stddev.repeat(R, 1))
    return Kernel(Path(lambda z: q0.log_prob(z).sum(-1), lambda z: log_joint(x, z)), leapfrogs, q0.stddev), q0


def from_q0(q0: Normal, C: int, seed: int) -> Tensor:
    noise = torch.Generator().manual_seed(seed)
    return q0.mean + q0.stddev * torch.randn(C, *q0.mean.shape, dtype=torch.float64, generator=noise)


def exact(R: int, C: int, seed: int) -> Tensor:
    """Draws from p(z | x), the same for all C chains of a datum."""
    noise = np.random.default_rng(seed)
    z = np.tile(MEAN, (R, 1)) + noise.normal(size=(2 * R, 2)) @ np.linalg.cholesky(COVARIANCE).T
    return torch.from_numpy(z).expand(C, -1, -1)


def fixed(T: int, N: int, step: float) -> StepSizes:
    return StepSizes(torch.full((T - 1, N), step).double(), torch.ones(T - 1, N), -1, torch.empty(0))


def lower(chains: Chains) -> Tensor:
    """log mean_c w_c, [N]."""
    return log_mean_exp(chains.log_w)


def upper(chains: Chains) -> Tensor:
    """-log mean_c 1 / w_c, [N]: of chains that went backwards."""
    return -log_mean_exp(-chains.log_w)


def forwards(start: str, T: int, R: int, C: int = 1, kind: type[Kernel] = Kernel) -> Tensor:
    """Lower bounds less log p(x), [R, 2]."""
    kernel, q0 = problem(start, R)
    kernel = kind(kernel.path, kernel.leapfrogs, kernel.scale)
    chains = last(anneal(kernel, from_q0(q0, C, 1), schedule(T), fixed(T, 2 * R, 0.35), seed=2))
    return lower(chains).view(R, 2) - LOG_PX


def backwards(start: str, T: int, R: int, C: int = 1, kind: type[Kernel] = Kernel) -> Tensor:
    """Upper bounds less log p(x), [R, 2]."""
    kernel, _ = problem(start, R)
    kernel = kind(kernel.path, kernel.leapfrogs, kernel.scale)
    chains = last(anneal(kernel, exact(R, C, 3), schedule(T), fixed(T, 2 * R, 0.35), seed=4, reverse=True))
    return upper(chains).view(R, 2) - LOG_PX


class TooCold(Kernel):
    """The common mistake: a kernel of another temperature than the weights account for."""

    def transition(self, start: Point, beta: float, step: Tensor, noise: torch.Generator) -> tuple[Point, Tensor]:
        return Kernel.transition(self, start, min(1.0, beta + 0.3), step, noise)


@pytest.mark.parametrize("start", PROPOSALS)
@pytest.mark.parametrize(("T", "C"), [(1, 1), (2, 1), (4, 3), (12, 1)])
def test_exp_of_the_lower_bound_is_unbiased_for_p(start: str, T: int, C: int) -> None:
    within(forwards(start, T, 6000, C).exp(), 1.0, resolve=0.1 if T == 1 else 0.05)


@pytest.mark.parametrize("start", PROPOSALS)
@pytest.mark.parametrize(("T", "C"), [(1, 1), (2, 1), (4, 3), (12, 1)])
def test_exp_of_minus_the_upper_bound_is_unbiased_for_one_over_p(start: str, T: int, C: int) -> None:
    within((-backwards(start, T, 6000, C)).exp(), 1.0, resolve=0.1 if T == 1 else 0.05)


def test_a_kernel_at_the_wrong_temperature_is_neither() -> None:
    outside(forwards("prior", 4, 6000, kind=TooCold).exp(), 1.0)
    outside((-backwards("prior", 4, 6000, kind=TooCold)).exp(), 1.0)


def test_backwards_from_anything_but_an_exact_draw_bounds_nothing() -> None:
    kernel, q0 = problem("prior", 6000)
    chains = last(anneal(kernel, from_q0(q0, 1, 5), schedule(2), fixed(2, 12_000, 0.35), seed=4, reverse=True))
    outside((LOG_PX - upper(chains).view(-1, 2)).exp(), 1.0)


@pytest.mark.parametrize("start", PROPOSALS)
def test_the_truth_lies_between_and_the_sandwich_closes_with_more_temperatures(start: str) -> None:
    below = [forwards(start, T, 2000).mean().item() for T in (1, 4, 16)]
    above = [backwards(start, T, 2000).mean().item() for T in (1, 4, 16)]
    assert below[0] < below[1] < below[2] < 0.02
    assert above[0] > above[1] > above[2] > -0.02
    assert above[2] - below[2] < 0.3 * (above[1] - below[1])


def test_one_temperature_is_plain_importance_sampling() -> None:
    kernel, q0 = problem("q", 5)
    z = from_q0(q0, 3, 1)
    chains = last(anneal(kernel, z, schedule(1), last(tune(kernel, z + 1, schedule(1), seed=1)), seed=2))
    log_w = log_joint(torch.from_numpy(X).repeat(5, 1), z) - q0.log_prob(z).sum(-1)
    torch.testing.assert_close(chains.log_w, log_w, rtol=0, atol=1e-12)
    torch.testing.assert_close(lower(chains), log_w.logsumexp(0) - math.log(3), rtol=0, atol=1e-12)
    assert torch.equal(chains.z, z)


def test_every_step_is_yielded_and_the_last_is_the_result() -> None:
    kernel, q0 = problem("q", 2)
    betas = schedule(5)
    steps = list(tune(kernel, from_q0(q0, 2, 1), betas, seed=1, rounds=2))
    assert [len(step.values) for step in steps] == [0, 1, 2, 3, 4]
    chains = list(anneal(kernel, from_q0(q0, 2, 2), betas, steps[-1], seed=2))
    assert [(c.step, c.T) for c in chains] == [(1, 5), (2, 5), (3, 5), (4, 5), (5, 5)]
    timid = list(anneal(kernel, from_q0(q0, 2, 2), betas, fixed(5, 4, 1e-4), seed=2))
    assert all((c.acceptance > 0.999).all() for c in timid)  # a mean over trajectories, of which the last step has none


def test_steps_are_tuned_to_the_target_in_a_run_of_their_own() -> None:
    kernel, q0 = problem("prior", 3, leapfrogs=10)
    betas = schedule(12)
    steps = last(tune(kernel, from_q0(q0, 100, 1), betas, seed=1))
    before = steps.values.clone()
    chains = last(anneal(kernel, from_q0(q0, 100, 2), betas, steps, seed=2))
    assert steps.values.shape == (11, 6)
    assert ((chains.acceptance - 0.65).abs() < 0.07).all()
    assert torch.equal(steps.values, before)  # the run itself adapts nothing


def test_a_start_far_too_long_or_short_is_corrected() -> None:
    for scale in (0.02, 50.0):
        kernel, q0 = problem("prior", 1)
        kernel = replace(kernel, scale=torch.full((2, 2), scale))
        chains = last(
            anneal(
                kernel,
                from_q0(q0, 50, 2),
                schedule(12),
                last(tune(kernel, from_q0(q0, 50, 1), schedule(12), seed=1)),
                seed=2,
            )
        )
        assert ((chains.acceptance - 0.65).abs() < 0.15).all()


def test_a_run_refuses_steps_that_were_tuned_on_its_own_noise_or_draws() -> None:
    kernel, q0 = problem("q", 2)
    z, betas = from_q0(q0, 2, 1), schedule(3)
    steps = last(tune(kernel, z, betas, seed=1, rounds=1))
    with pytest.raises(AssertionError, match="on the noise of this run"):
        anneal(kernel, from_q0(q0, 2, 2), betas, steps, seed=1)
    with pytest.raises(AssertionError, match="on the draws of this run"):
        anneal(kernel, z, betas, steps, seed=2)
    with pytest.raises(AssertionError, match="2 step sizes for 3 temperatures"):
        anneal(kernel, z, schedule(4), steps, seed=2)


def test_the_answer_depends_on_the_seed_and_on_no_other_noise() -> None:
    kernel, q0 = problem("q", 2)
    z, betas = from_q0(q0, 2, 1), schedule(4)

    def run(seed: int) -> Tensor:
        steps = last(tune(kernel, from_q0(q0, 2, 5), betas, seed=9, rounds=2))
        return last(anneal(kernel, z, betas, steps, seed=seed)).log_w

    torch.manual_seed(0)
    first, state = run(3), torch.get_rng_state()
    torch.manual_seed(1)
    assert torch.equal(run(3), first)
    assert not torch.equal(run(4), first)
    torch.manual_seed(0)
    run(3)
    assert torch.equal(torch.get_rng_state(), state)


def test_a_start_that_is_no_number_is_named() -> None:
    kernel, q0 = problem("q", 2)
    z = from_q0(q0, 2, 1)
    nan = Path(kernel.path.log_q0, lambda latent: kernel.path.log_joint(latent) + torch.tensor([0, 0, math.nan, 0]))
    with pytest.raises(
        ArithmeticError, match=r"log p\(x, z\) = nan .* at the start of chain 0 of datum 2 of its block"
    ):
        last(anneal(Kernel(nan), z, schedule(2), fixed(2, 4, 0.1), seed=1))


def test_a_chain_outside_the_support_weighs_nothing() -> None:
    kernel, q0 = problem("q", 1)
    z = from_q0(q0, 2, 1)
    gone = torch.tensor([[True, False], [False, False]])
    path = Path(kernel.path.log_q0, lambda latent: kernel.path.log_joint(latent).masked_fill(gone, -math.inf))
    chains = last(anneal(Kernel(path), z, schedule(4), fixed(4, 2, 0.3), seed=1))
    assert (chains.log_w == -math.inf).tolist() == gone.tolist()
    assert lower(chains).isfinite().all()


@pytest.mark.parametrize("kind", SCHEDULES)
@pytest.mark.parametrize("T", [1, 2, 7, 1000])
def test_a_schedule_rises_from_nought_to_one(kind: str, T: int) -> None:
    betas = schedule(T, kind)
    assert len(betas) == T + 1
    assert (betas[0].item(), betas[-1].item()) == (0.0, 1.0)
    assert (betas.diff() > 0).all()
    torch.testing.assert_close(betas + betas.flip(0), torch.ones_like(betas))  # the same from both ends


def test_the_sigmoid_is_that_of_wu() -> None:
    def sigmoid(u: float) -> float:
        return 1 / (1 + math.exp(-u))

    expected = [(sigmoid(4 * (2 * t / 8 - 1)) - sigmoid(-4)) / (sigmoid(4) - sigmoid(-4)) for t in range(9)]
    torch.testing.assert_close(schedule(8), torch.tensor(expected, dtype=torch.float64))
