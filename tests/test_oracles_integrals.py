"""The oracles whose log p(x) is an integral, against scipy's quadrature, Gauss's rules and exhaustive sums.

Nothing here uses an oracle's own likelihood, grid or prior for the answer that it is compared with.
"""

import math
from itertools import product

import numpy as np
import pytest
import torch
from scipy import integrate, special, stats
from torch import Tensor

from elbo_cli.bounds.draws import draw
from elbo_cli.bounds.lower import iwae
from elbo_cli.runtime import noise
from tests.oracles import (
    CASES,
    Funnel,
    Logistic,
    MissedMode,
    PoissonCounts,
    Probit,
    Ring,
    Spike,
    TwoLatentMLP,
    both_modes,
    pixels,
)
from tests.oracles.comparison import close, legendre, log_normal, mean_and_variance, quad
from tests.statistics import within

LOG_DENSITY = {
    Probit: lambda c, t: special.log_ndtr((2 * c - 1) * t),
    Logistic: lambda c, t: special.log_expit((2 * c - 1) * t),
    PoissonCounts: lambda c, t: c * t - math.exp(t) - math.lgamma(c + 1),
}
A, B = torch.tensor([0.6, -1.1, 0.9]).double(), torch.tensor([0.4, -0.8, 1.2]).double()


def blockwise(model, x: Tensor, of) -> Tensor:
    """For each datum the sum over its pixels of `of(log_joint, q)`, with scipy's densities of one latent, [N]."""
    q = model.posterior(x).base_dist

    def pixel(n: int, i: int) -> float:
        a, b, c, log_density = float(model.a[i]), float(model.b[i]), float(x[n, i]), LOG_DENSITY[type(model)]
        q_i = stats.norm(float(q.loc[n, i]), float(q.scale[n, i]))
        return of(lambda z: log_density(c, a * z + b) + log_normal(z, 1.0), q_i)

    return torch.tensor([sum(pixel(n, i) for i in range(x.shape[1])) for n in range(len(x))], dtype=torch.float64)


def log_evidence(log_joint, q) -> float:
    return math.log(quad(lambda z: math.exp(log_joint(z))))


def bound(log_joint, q) -> float:
    lo, hi = q.mean() - 9 * q.std(), q.mean() + 9 * q.std()
    return quad(
        lambda z: math.exp(log_normal(z - q.mean(), q.std())) * (log_joint(z) - log_normal(z - q.mean(), q.std())),
        lo,
        hi,
    )


def log_second_moment(log_joint, q) -> float:
    square = quad(lambda z: math.exp(2 * log_joint(z) - log_normal(z - q.mean(), q.std())))
    return math.log(square) - 2 * log_evidence(log_joint, q)


@pytest.mark.parametrize("family", LOG_DENSITY)
def test_disjoint_integrals_are_scipys(family) -> None:
    model = family(A, B, shift=0.2, scale=2.0)
    x = torch.tensor([[0.0, 1.0, 1.0], [1.0, 0.0, 3.0 if family is PoissonCounts else 0.0]], dtype=torch.float64)
    close(model.log_px(x), blockwise(model, x, log_evidence))
    close(model.elbo(x), blockwise(model, x, bound))
    close(model.cv2(x).log1p(), blockwise(model, x, log_second_moment))


@pytest.mark.parametrize("family", LOG_DENSITY)
def test_disjoint_q_has_the_moments_of_the_posterior(family) -> None:
    model, x = family(A[:1], B[:1], shift=0.5, scale=2.0), torch.tensor([[1.0]], dtype=torch.float64)

    def moment(power: int) -> Tensor:
        return blockwise(model, x, lambda log_joint, q: quad(lambda z: z**power * math.exp(log_joint(z))))

    mean = moment(1) / moment(0)
    var = moment(2) / moment(0) - mean**2
    close(model.posterior(x).mean[:, 0], mean + 0.5 * var.sqrt())
    close(model.posterior(x).variance[:, 0], 2 * var)
    close(model.tail_index(x), 1 - 2 * var)


def test_a_count_that_takes_a_distant_latent_is_still_exact() -> None:
    model, x = PoissonCounts(*pixels(3, 0.8)), torch.tensor([[60.0, 0.0, 90.0]], dtype=torch.float64)
    truth = blockwise(
        model, x, lambda log_joint, q: math.log(quad(lambda z: math.exp(log_joint(z)), -12, 25, [q.mean()]))
    )
    close(model.log_px(x), truth)


def test_probit_in_fifty_dimensions_is_its_own_quadrature() -> None:
    model = Probit(*pixels(50, 2.0))
    x = model.data(4)
    close(model.log_px(x), super(Probit, model).log_px(x))
    close(model.log_px(x[:1]), blockwise(model, x[:1], log_evidence))
    t = torch.linspace(-30, 30, 61, dtype=torch.float64)
    torch.testing.assert_close(model.pixels(t).log_prob(torch.ones(1).double()), torch.special.log_ndtr(t))


@pytest.mark.parametrize("family", [Probit, Logistic])
def test_the_probabilities_of_all_binary_images_sum_to_one(family) -> None:
    every = torch.tensor(list(product([0.0, 1.0], repeat=3)), dtype=torch.float64)
    close(family(A, B).log_px(every).logsumexp(0), 0.0)


def test_disjoint_weights_of_infinite_variance_say_so() -> None:
    model = Probit(*pixels(50, 2.0), scale=0.5)
    x = model.data(4)
    assert model.cv2(x).isinf().all()
    assert (model.tail_index(x) >= 0.5).all()
    close(model.tail_index(x), 1 - model.posterior(x).variance.min(-1).values)


def missed_joint(z: float, ones: int) -> float:
    logit = 3 * (z * z - 2)
    log_px_z = ones * special.log_expit(logit) + (16 - ones) * special.log_expit(-logit)
    return math.exp(log_px_z) * stats.norm.pdf(z)


@pytest.mark.parametrize("D", [1, 3, 10])
def test_missed_mode_is_scipys_integral_and_q_holds_half_of_it(D: int) -> None:
    model = MissedMode(D)
    x = torch.ones(3, 16, dtype=torch.float64)
    x[1, 4], x[2, :9] = 0, 0
    for n, ones in enumerate([16, 15, 7]):
        right = quad(lambda z, ones=ones: missed_joint(z, ones), 0, 9, points=[1.0, 2.0])
        close(model.log_px(x[n : n + 1]), [math.log(2 * right)])
    mean = quad(lambda z: z * missed_joint(z, 16), 0, 9, points=[1.0, 2.0])
    q = model.posterior(x[:1])
    half = math.exp(model.log_px(x[:1])) / 2
    close(q.mean[0, 0], mean / half)
    square = quad(lambda z: z * z * missed_joint(z, 16), 0, 9, points=[1.0, 2.0])
    close(q.variance[0, 0], square / half - (mean / half) ** 2)


def test_missed_mode_weights_have_the_tail_that_their_logarithm_bends_to() -> None:
    x = torch.ones(2, 16, dtype=torch.float64)
    x[1, 3:5] = 0

    def log_joint(z: float, ones: int) -> float:
        logit = 3 * (z * z - 2)
        return ones * special.log_expit(logit) + (16 - ones) * special.log_expit(-logit) - z * z / 2

    for n, ones in enumerate([16, 14]):
        bend = log_joint(21, ones) - 2 * log_joint(20, ones) + log_joint(19, ones)
        close(MissedMode().tail_index(x)[n], 1 + bend * float(MissedMode().posterior(x).variance[n, 0]))


def test_missed_mode_sums_to_one_over_all_images() -> None:
    by_ones = torch.tril(torch.ones(17, 16, dtype=torch.float64), -1)
    counts = torch.tensor([math.log(math.comb(16, int(row.sum()))) for row in by_ones], dtype=torch.float64)
    close((MissedMode().log_px(by_ones) + counts).logsumexp(0), 0.0)


def test_draws_of_one_mode_agree_on_half_of_px() -> None:
    x = torch.ones(200, 16, dtype=torch.float64)
    model = MissedMode(3, scale=1.5)
    with noise(5, "missed"):
        one, both = iwae(draw(model, x, 500)), iwae(draw(both_modes(3), x, 500))
    within(one, model.log_px(x) - math.log(2), resolve=0.02)
    within(both, model.log_px(x), resolve=0.02, sigmas=5)  # 1/2K of it is bias


@pytest.mark.parametrize(("width", "height"), [(0.02, 4.0), (0.3, 2.0), (1e-5, 5.5)])
def test_spike_is_scipys_integral(width: float, height: float) -> None:
    model = Spike(3, width=width, height=height)
    x = torch.tensor([[height], [0.0], [-1.0]], dtype=torch.float64)
    edges = [2 + side * k * width for k in (0, 0.5, 1, 2, 3, 9) for side in (-1, 1)]

    def loc(z: float) -> float:
        return height * math.exp(-0.5 * ((z - 2) / width) ** 2)

    for n, value in enumerate(x[:, 0].tolist()):
        inside = (2 - 9 * width, 2 + 9 * width)
        far = stats.norm.pdf(value) * (stats.norm.cdf(inside[0]) + stats.norm.sf(inside[1]))
        near = quad(lambda z, value=value: stats.norm.pdf(value - loc(z)) * stats.norm.pdf(z), *inside, points=edges)
        close(model.log_px(x)[n], math.log(far + near), atol=1e-9)
        gain = quad(lambda z, v=value: (v * loc(z) - loc(z) ** 2 / 2) * stats.norm.pdf(z), *inside, points=edges)
        close(model.elbo(x)[n], stats.norm.logpdf(value) + gain, atol=1e-9)


def test_ring_is_scipys_integral_over_the_radius() -> None:
    model, x = Ring(), torch.tensor([[-0.5], [0.3], [2.0], [6.0]], dtype=torch.float64)
    truth = [quad(lambda r, v=v: r * np.exp(-r * r / 2) * stats.norm.pdf(v, r * r, 0.5), 0, 5) for v in x[:, 0]]
    close(model.log_px(x), np.log(truth))


@pytest.mark.parametrize("wide", [False, True])
def test_ring_elbo_is_an_integral_in_the_plane(wide: bool) -> None:
    model, x = Ring(wide=wide), torch.tensor([[4.0]], dtype=torch.float64)
    m, sd = model.posterior(x).mean[0].numpy(), model.posterior(x).stddev[0].numpy()
    t = np.linspace(-9, 9, 181)
    z1, z2 = np.meshgrid(m[0] + sd[0] * t, m[1] + sd[1] * t, indexing="ij")
    log_q = stats.norm.logpdf(z1, m[0], sd[0]) + stats.norm.logpdf(z2, m[1], sd[1])
    log_p = stats.norm.logpdf(4.0, z1**2 + z2**2, 0.5) + stats.norm.logpdf(z1) + stats.norm.logpdf(z2)
    close(model.elbo(x), [(np.exp(log_q) * (log_p - log_q)).sum() * 0.1**2 * sd[0] * sd[1]], atol=1e-9)


@pytest.mark.parametrize(("D", "c"), [(2, 2.0), (2, 1.0), (4, 0.7)])
def test_funnel_is_nested_quadrature_of_the_raw_joint(D: int, c: float) -> None:
    model = Funnel(D, c=c)
    x = model.data(1)

    def given(z1: float, value: float) -> float:
        sd = math.exp(c * z1)
        edges = sorted({value + k * sd for k in (-9, -3, 0, 3, 9) if abs(value + k * sd) < 9})
        return quad(lambda z: math.exp(log_normal(value - z, sd) + log_normal(z, 1.0)), -9, 9, points=edges)

    def outer(z1: float) -> float:
        return math.exp(log_normal(z1, 1.0)) * math.prod(given(z1, value) for value in x[0].tolist())

    truth = integrate.fixed_quad(np.vectorize(outer), -7, 7, n=160 if D == 2 else 60)[0]
    close(model.log_px(x), [math.log(truth)], atol=1e-9)


def test_funnel_q_has_the_moments_of_the_posterior() -> None:
    model, x = Funnel(2, scale=0.7), torch.tensor([[1.5]], dtype=torch.float64)
    t, w = legendre(8, 110)
    z1, z2 = np.meshgrid(t, t, indexing="ij")
    joint = np.exp(-0.5 * ((1.5 - z2) * np.exp(-z1)) ** 2 - z1 - 0.5 * (z1**2 + z2**2)) * np.outer(w, w)
    for i in range(2):
        mean, var = mean_and_variance(t, joint.sum(1 - i))
        close(model.posterior(x).mean[0, i], mean, atol=1e-5)
        close(model.posterior(x).variance[0, i], 0.7 * var, atol=1e-5)


@pytest.mark.parametrize("name", ["funnel", "funnel_5", "funnel_10"])
def test_funnel_elbo_is_a_sum_of_one_dimensional_expectations(name: str) -> None:
    model = CASES[name].build()
    x = model.data(2)
    q = model.posterior(x)
    nodes, weights = np.polynomial.hermite_e.hermegauss(80)
    weights = weights / weights.sum()
    for n in range(2):
        loc, sd, data = q.mean[n].numpy(), q.stddev[n].numpy(), x[n].numpy()
        z1, z = loc[0] + sd[0] * nodes, loc[1:] + sd[1:] * nodes[:, None]
        error = weights @ (data - z) ** 2 @ np.ones(len(data))  # E (x_j - z_j)^2, summed over j
        recon = weights @ (
            -len(data) * (0.5 * math.log(2 * math.pi) + model.c * z1) - error * np.exp(-2 * model.c * z1) / 2
        )
        kl = 0.5 * (sd**2 + loc**2 - 1 - 2 * np.log(sd)).sum()
        close(model.elbo(x)[n], recon - kl, atol=1e-9)


def test_two_latents_agree_on_every_grid() -> None:
    model = TwoLatentMLP()
    x = model.data(2)
    truth = model.log_px(x, 801)
    for points in (201, 401):
        close(model.log_px(x, points), truth)
    assert (model.log_px(x, 21) - truth).abs().max() > 1e-6, "a grid too coarse to be right would show nothing"


def test_two_latents_are_a_gauss_legendre_integral_in_the_plane() -> None:
    model = TwoLatentMLP(shift=0.5, scale=0.4)
    x = model.data(1)
    W1, b1, W2, b2 = (part.numpy() for part in (model.W1, model.b1, model.W2, model.b2))
    t, w = legendre(9, 48)
    z = np.stack(np.meshgrid(t, t, indexing="ij"), -1)
    logits = np.tanh(z @ W1 + b1) @ W2 + b2
    log_px_z = -np.logaddexp(0, (1 - 2 * x[0].numpy()) * logits).sum(-1)
    joint = np.exp(log_px_z - 0.5 * (z**2).sum(-1)) / (2 * math.pi) * np.outer(w, w)
    close(model.log_px(x), [math.log(joint.sum())])
    for i in range(2):
        mean, var = mean_and_variance(t, joint.sum(1 - i))
        close(model.posterior(x).mean[0, i], mean + 0.5 * math.sqrt(var), atol=1e-5)  # q's own grid is coarse
        close(model.posterior(x).variance[0, i], 0.4 * var, atol=1e-5)


def test_two_latents_sum_to_one_over_all_images() -> None:
    every = torch.tensor(list(product([0.0, 1.0], repeat=10)), dtype=torch.float64)
    close(TwoLatentMLP().log_px(every, 121).logsumexp(0), 0.0)
