"""HMC leaves each intermediate distribution as it is. On the Gaussian path below all of them are Gaussian."""

import math

import pytest
import torch
from torch import Tensor
from torch.distributions import Normal

from elbo_cli.bounds.hmc import Kernel, Path, Point
from tests.statistics import outside, within

START = Normal(torch.zeros(2, 2, dtype=torch.float64), 1.0)  # q0 of two data with two latents each
END = Normal(torch.tensor([[2.0, -1.0], [0.5, 3.0]]).double(), torch.tensor([[0.3, 0.8], [1.5, 0.5]]).double())
PATH = Path(lambda z: START.log_prob(z).sum(-1), lambda z: END.log_prob(z).sum(-1) - 4.0)


def between(beta: float) -> Normal:
    """f_beta, normalised: precisions add."""
    precision = (1 - beta) / START.variance + beta / END.variance
    mean = ((1 - beta) * START.mean / START.variance + beta * END.mean / END.variance) / precision
    return Normal(mean, precision.rsqrt())


def walk(kernel: Kernel, z: Tensor, beta: float, step: float, times: int) -> tuple[Point, Tensor]:
    noise, point = torch.Generator().manual_seed(1), kernel.path.at(z)
    probability = torch.empty(0)
    for _ in range(times):
        point, probability = kernel.transition(point, beta, torch.full((z.shape[1],), step).double(), noise)
    return point, probability


def drawn(distribution: Normal, C: int, seed: int = 0) -> Tensor:
    noise = torch.randn(C, 2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return distribution.mean + distribution.stddev * noise


@pytest.mark.parametrize("beta", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("scale", [None, torch.tensor([[0.4, 0.9], [1.2, 0.6]])])
def test_it_leaves_its_own_temperatures_distribution_as_it_is(beta: float, scale: Tensor | None) -> None:
    right = between(beta)
    step = 0.5 if scale is None else 1.1  # steps so long that a third and more are refused
    point, probability = walk(Kernel(PATH, 3, scale), drawn(right, 20_000), beta, step, 6)
    assert 0.1 < probability.mean() < 0.97
    within(point.z, right.mean, resolve=0.06)
    within((point.z - right.mean).square() / right.variance, 1.0, resolve=0.06)


def test_it_leaves_no_other_temperatures_distribution_as_it_is() -> None:
    point, _ = walk(Kernel(PATH, 3), drawn(between(0.5), 20_000), 0.6, 0.5, 6)
    outside(point.z, between(0.5).mean)


def test_without_metropolis_it_would_not() -> None:
    class Credulous(Kernel):
        def transition(self, start: Point, beta: float, step: Tensor, noise: torch.Generator) -> tuple[Point, Tensor]:
            momentum = torch.randn(start.z.shape, generator=noise, dtype=start.z.dtype)
            end, _, sound = self._leapfrog(start, momentum, beta, step[:, None])
            return end, sound.double()

    right = between(0.5)
    point, _ = walk(Credulous(PATH, 3), drawn(right, 20_000), 0.5, 0.5, 6)
    outside((point.z - right.mean).square() / right.variance, 1.0)


def test_it_finds_its_distribution_from_elsewhere() -> None:
    right = between(0.8)
    point, _ = walk(Kernel(PATH, 5), torch.full((5000, 2, 2), -3.0).double(), 0.8, 0.25, 30)
    within(point.z, right.mean, resolve=0.1)
    within((point.z - right.mean).square() / right.variance, 1.0, resolve=0.1)


def test_a_trajectory_can_be_walked_back() -> None:
    kernel, z = Kernel(PATH, 10), drawn(START, 50)
    momentum = drawn(Normal(START.mean, 1.0), 50, seed=1)
    stride = torch.full((50, 2, 1), 0.2, dtype=torch.float64)
    there, arrived, _ = kernel._leapfrog(kernel.path.at(z), momentum, 0.5, stride)
    back, returned, _ = kernel._leapfrog(there, -arrived, 0.5, stride)
    assert (there.z - z).abs().max() > 0.5
    torch.testing.assert_close(back.z, z, rtol=0, atol=1e-10)
    torch.testing.assert_close(-returned, momentum, rtol=0, atol=1e-10)


def test_the_energys_error_falls_with_the_square_of_the_step() -> None:
    kernel, z, momentum = Kernel(PATH, 8), drawn(START, 200), drawn(Normal(START.mean, 1.0), 200, seed=1)
    errors = []
    for step, leapfrogs in ((0.1, 8), (0.05, 16)):
        start = kernel.path.at(z)
        stride = torch.full((200, 2, 1), step, dtype=torch.float64)
        end, last, _ = Kernel(PATH, leapfrogs)._leapfrog(start, momentum, 0.5, stride)
        energy = end.log_f(0.5) - start.log_f(0.5) - (last.square() - momentum.square()).sum(-1) / 2
        errors.append(energy.abs().mean().item())
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.15)


def test_the_gradient_is_that_of_the_path() -> None:
    z = drawn(START, 3).requires_grad_()
    point = PATH.at(z)
    (expected,) = torch.autograd.grad((0.7 * PATH.log_q0(z) + 0.3 * PATH.log_joint(z)).sum(), z)
    torch.testing.assert_close(point.slope(0.3), expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(point.log_f(0.3), (0.7 * PATH.log_q0(z) + 0.3 * PATH.log_joint(z)).detach())


def test_a_trajectory_that_explodes_is_refused_and_nothing_is_nan() -> None:
    steep = Path(PATH.log_q0, lambda z: -z.pow(4).sum(-1) * 1e3)  # Normal refuses nan, so PATH would raise
    z = drawn(START, 100)
    point, probability = walk(Kernel(steep, 10), z, 0.5, 1e3, 3)
    assert torch.equal(point.z, z)
    assert (probability == 0).all()


def test_a_density_that_is_nan_beyond_a_wall_keeps_the_chain_inside() -> None:
    """log N(z; 0, 1) for |z| < 1 and nan beyond: a truncated normal, with variance 1 - 2 phi(1) / (2 Phi(1) - 1)."""

    def walled(z: Tensor) -> Tensor:
        return torch.where(z.abs() < 1, -z.square() / 2, torch.nan).sum(-1)

    path = Path(lambda z: -z.square().sum(-1) / 2, walled)
    noise = torch.Generator().manual_seed(0)
    z = torch.rand(20_000, 2, 2, dtype=torch.float64, generator=noise) * 2 - 1
    point, probability = walk(Kernel(path, 2), z, 0.5, 0.6, 40)
    assert point.z.abs().max() < 1
    assert not probability.isnan().any()  # it is what step sizes are tuned on
    density = math.exp(-0.5) / math.sqrt(2 * math.pi)
    within(point.z.square(), 1 - 2 * density / math.erf(math.sqrt(0.5)), resolve=0.02)


def test_one_chains_trouble_is_not_anothers() -> None:
    z = drawn(START, 4)
    free, _ = walk(Kernel(PATH, 5), z, 0.5, 0.3, 1)

    def broken(latent: Tensor) -> Tensor:
        log_joint = PATH.log_joint(latent)
        return torch.where(torch.arange(4)[:, None] == 2, torch.nan, log_joint)

    point, probability = walk(Kernel(Path(PATH.log_q0, broken), 5), z, 0.5, 0.3, 1)
    rest = [0, 1, 3]
    assert torch.equal(point.z[rest], free.z[rest])
    assert torch.equal(point.z[2], z[2])
    assert (probability[2] == 0).all()


def test_float32_networks_keep_their_type_and_weights_are_float64() -> None:
    weight = torch.randn(2, 5, generator=torch.Generator().manual_seed(0))
    path = Path(lambda z: -z.square().sum(-1) / 2, lambda z: -(z @ weight).tanh().square().sum(-1))
    noise = torch.Generator().manual_seed(0)
    with torch.no_grad():  # as evaluation runs
        point = path.at(torch.randn(3, 4, 2, generator=noise))
        point, probability = Kernel(path).transition(point, 0.5, torch.full((4,), 0.1), noise)
    assert point.z.dtype == torch.float32
    assert point.log_joint.dtype == probability.dtype == torch.float64
