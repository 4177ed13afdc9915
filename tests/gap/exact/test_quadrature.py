"""The trapezoid rule on integrals that are known: its value, and that its stated error is one."""

import math

import pytest
import torch
from torch import Tensor
from torch.distributions import MultivariateNormal

from elbo_cli.gap.exact import quadrature
from elbo_cli.gap.exact.lattice import Lattice
from elbo_cli.gap.exact.quadrature import GOAL, KINKED, Integral, doubt, integrate
from tests.oracles.comparison import close

LATTICES = {1: Lattice(1, side=64, step=1 / 64), 2: Lattice(2, side=8, step=1 / 8)}


class Normals:
    """A normal for each datum: log of the integral is 0. With `power`, the mean of u_1^power under it."""

    rounding = 1e-15

    def __init__(
        self, mean: Tensor, sd: Tensor, turn: float = 0.0, power: int | None = None, cut: float = 36.0
    ) -> None:
        c, s = math.cos(turn), math.sin(turn)
        rotation = torch.tensor([[c, -s], [s, c]] if mean.shape[1] == 2 else [[1.0]], dtype=torch.float64)
        self.root = rotation @ torch.diag_embed(sd.expand(mean.shape).double())
        self.mean, self.power, self.cut, self.logarithmic, self.points = mean, power, cut, power is None, 0

    def __call__(self, u: Tensor, data: Tensor) -> tuple[Tensor, Tensor]:
        self.points += len(u) * len(data)
        white = torch.linalg.solve(self.root[data], (u - self.mean[data]).unsqueeze(-1)).squeeze(-1)
        f = -0.5 * white.square().sum(-1) - torch.linalg.slogdet(self.root[data])[1]
        f = f - u.shape[-1] / 2 * math.log(2 * math.pi)
        return f, torch.ones_like(f) if self.power is None else u[..., 0].pow(self.power).expand_as(f)


def everywhere(D: int, N: int, reach: float = 8.0) -> tuple[Lattice, Tensor]:
    box = torch.full((N, D), reach)
    return LATTICES[D], LATTICES[D].covering(-box, box)


def means(N: int, D: int, spread: float = 2.0) -> Tensor:
    return spread * torch.randn(N, D, dtype=torch.float64)


def true_and_stated(found: Integral, truth: Tensor | float, atol: float = 1e-12) -> None:
    assert ((found.value - truth).abs() <= found.error + atol).all()
    assert (found.error < GOAL + 1e-9).all()


@pytest.mark.parametrize("sd", [3.0, 1.0, 0.1, 0.01, 1e-4])
@pytest.mark.parametrize("D", [1, 2])
def test_a_normal_integrates_to_one_however_narrow(D: int, sd: float) -> None:
    normals = Normals(means(4, D), torch.tensor(sd))
    found = integrate(normals, *everywhere(D, 4), 4)
    true_and_stated(found, 0.0)
    close(found.value, torch.zeros(4), atol=1e-11)
    assert normals.points / 4 < (6_000 if D == 1 else 40_000 * max(1, sd) ** 2)


@pytest.mark.parametrize("turn", [0.0, 0.3, math.pi / 4])
def test_a_ridge_integrates_to_one_in_any_direction(turn: float) -> None:
    normals = Normals(means(6, 2), torch.tensor([1.0, 0.02]), turn)
    found = integrate(normals, *everywhere(2, 6), 6)
    true_and_stated(found, 0.0)
    close(found.value, torch.zeros(6), atol=1e-11)


def test_no_peak_hides_midway_between_the_points_of_two_grids() -> None:
    """There the interleaved grids of step 2h agree by symmetry: those of step 4h tell. Dyadic places are such."""
    mean = torch.tensor([[k / 2**depth] for depth in range(5, 18) for k in (1, 5, -3)], dtype=torch.float64)
    for sd in (1e-3, 1e-4, 1e-5):
        found = integrate(Normals(mean, torch.tensor(sd)), *everywhere(1, len(mean)), len(mean))
        true_and_stated(found, 0.0)


@pytest.mark.parametrize("D", [1, 2])
def test_mass_beyond_the_first_box_is_followed_to_its_end(D: int) -> None:
    mean = torch.tensor([[11.0, -9.0][:D], [0.0, 30.0][2 - D :]], dtype=torch.float64)
    found = integrate(Normals(mean, torch.tensor(2.0)), *everywhere(D, 2), 2)
    true_and_stated(found, 0.0)


def test_what_has_no_end_has_no_error_that_is_finite() -> None:
    class Cauchy(Normals):
        def __call__(self, u: Tensor, data: Tensor) -> tuple[Tensor, Tensor]:
            f = -torch.log(math.pi * (1 + (u[..., 0] - self.mean[data, 0]).square()))
            return f, torch.ones_like(f)

    found = integrate(Cauchy(means(2, 1), torch.tensor(1.0)), *everywhere(1, 2), 2)
    assert found.error.isinf().all()


class Two(Normals):
    """Half and half of two normals that lie apart, the second as narrow as it is told."""

    def __init__(self, D: int, sd: float) -> None:
        super().__init__(torch.zeros(1, D, dtype=torch.float64), torch.tensor(1.0))
        midway = 2 + torch.full((1, D), 1 / 2 ** (5 if D == 2 else 7)).double()  # as far from any point as can be
        self.halves = [Normals(midway - 4, torch.tensor(0.3)), Normals(midway, torch.tensor(sd))]

    def __call__(self, u: Tensor, data: Tensor) -> tuple[Tensor, Tensor]:
        f = torch.stack([half(u, data)[0] for half in self.halves]).logsumexp(0) - math.log(2)
        return f, torch.ones_like(f)


@pytest.mark.parametrize(("D", "sd"), [(1, 0.1), (1, 3e-3), (1, 1e-3), (2, 0.3), (2, 0.1), (2, 0.03)])
def test_two_modes_are_both_found(D: int, sd: float) -> None:
    """On the first grid the narrow mode can be e^-24 of the other, or less: its slopes give it away."""
    found = integrate(Two(D, sd), *everywhere(D, 1), 1)
    true_and_stated(found, 0.0)
    close(found.value, torch.zeros(1), atol=1e-11)


@pytest.mark.parametrize("D", [1, 2])
@pytest.mark.parametrize("power", [1, 2, 3])
def test_an_integrand_may_have_both_signs(D: int, power: int) -> None:
    mean, sd = means(8, D, 1.0), torch.tensor(0.2, dtype=torch.float64)
    normals = Normals(mean, sd, power=power)
    m, v = mean[:, 0], 0.04
    truth = {1: m, 2: m**2 + v, 3: m**3 + 3 * m * v}[power]
    found = integrate(normals, *everywhere(D, 8), 8)
    true_and_stated(found, truth)
    close(found.value, truth, atol=1e-11)


class Kinked(Normals):
    """A Laplace density over the line: a kink, at which the rule's error falls as the square of the step only."""

    def __call__(self, u: Tensor, data: Tensor) -> tuple[Tensor, Tensor]:
        f = -(u - self.mean[data]).abs().sum(-1) - math.log(2)
        return f, torch.ones_like(f)


def test_at_a_kink_the_step_is_halved_and_the_lesser_goal_is_met() -> None:
    found = integrate(Kinked(means(50, 1), torch.tensor(1.0)), *everywhere(1, 50), 50)
    assert (found.step < 1 / 64).all()
    assert (found.value.abs() < found.error).all()
    assert (found.value.abs() > GOAL).any()
    assert (found.error < KINKED).all()


def test_a_spread_is_read_for_what_it_can_tell() -> None:
    """As (2h, 4h) -> error: smooth; smooth but fooled; a kink; a kink, fooled; not there yet; not even shrinking."""
    double = torch.tensor([1e-9, 1e-9, 2e-5, 1e-7, 0.02, 0.04], dtype=torch.float64)
    fourfold = torch.tensor([1e-2, 0.9, 8e-5, 8e-5, 0.08, 0.08], dtype=torch.float64)
    none = torch.zeros(6, dtype=torch.float64)
    error, enough = doubt(double, fourfold, none, none, first=False)
    close(error, [1e-8, 0.9, 2e-5, 1e-5, 0.08, math.inf])
    assert enough.tolist() == [True, False, True, True, False, False]
    assert doubt(double, fourfold, none, none, first=True)[1].tolist() == [True, False, False, False, False, False]
    assert not doubt(double, fourfold, none + 1e-3, none, first=False)[1].any()
    close(doubt(double, fourfold, none, none + 0.01, first=False)[0][:3], [0.01 + 1e-8, 0.91, 0.01 + 2e-5])


def test_where_there_is_no_room_for_a_finer_grid_the_error_is_said_to_be_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quadrature, "MOST", 2**14)
    found = integrate(Normals(means(6, 2), torch.tensor([1.0, 0.01])), *everywhere(2, 6), 6)
    assert (found.error > 1e-3).all()
    assert (found.value.abs() < found.error).all()


def test_the_cut_loses_no_more_than_it_says() -> None:
    """A negative control: with a cut at 8 nats the tails are missing, and the error holds them."""
    found = integrate(Normals(means(6, 2), torch.tensor(0.3), cut=8.0), *everywhere(2, 6), 6)
    assert (found.value.abs() > 1e-6).any()
    assert (found.value.abs() <= found.error).all()


def test_data_do_not_touch_each_other() -> None:
    mean = means(5, 2)
    sd = torch.tensor([[0.5], [0.01], [0.1], [0.5], [0.02]])
    together = integrate(Normals(mean, sd), *everywhere(2, 5), 5)
    for n in range(5):
        alone = integrate(Normals(mean[n : n + 1], sd[n : n + 1]), *everywhere(2, 1), 1)
        close(alone.value, together.value[n : n + 1], atol=1e-14)
        close(alone.step, together.step[n : n + 1])


def test_a_normal_is_what_the_tests_take_it_for() -> None:
    normals = Normals(means(3, 2), torch.tensor([1.0, 0.2]), 0.3)
    covariance = normals.root @ normals.root.mT
    u = means(4 * 3, 2).view(4, 3, 2)
    close(normals(u, torch.arange(3))[0], MultivariateNormal(normals.mean, covariance).log_prob(u))
