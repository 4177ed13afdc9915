"""Models with known log p(x): the well-behaved, the heavy-tailed, the hopeless and those whose draws lie."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch

from tests.oracles.curved import Funnel, Ring
from tests.oracles.disjoint import Logistic, PoissonCounts, Probit
from tests.oracles.gaussian_posteriors import (
    hopeless,
    infinite_variance,
    orthogonal,
    slightly_crude,
    student_posterior,
)
from tests.oracles.linear_gaussian import LinearGaussian, best_mean_log_px, maximum_likelihood, random_linear_gaussian
from tests.oracles.multimodal import MissedMode, Spike, both_modes
from tests.oracles.oracle import DTYPE, GapOracle, Oracle, WithPosterior
from tests.oracles.two_latents import TwoLatentMLP

__all__ = [
    "CASES",
    "Case",
    "Funnel",
    "GapOracle",
    "LinearGaussian",
    "Logistic",
    "MissedMode",
    "Oracle",
    "PoissonCounts",
    "Probit",
    "Ring",
    "Spike",
    "TwoLatentMLP",
    "WithPosterior",
    "best_mean_log_px",
    "both_modes",
    "hopeless",
    "infinite_variance",
    "maximum_likelihood",
    "orthogonal",
    "pixels",
    "random_linear_gaussian",
    "slightly_crude",
    "student_posterior",
]


def pixels(D: int, steepest: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Slopes a from 0.2 to `steepest` and offsets b between -1.5 and 1.5 for D latents that drive a pixel each."""
    a = torch.linspace(0.2, steepest, D, dtype=DTYPE)
    return a, 1.5 * torch.sin(torch.arange(D, dtype=DTYPE))


@dataclass(frozen=True, slots=True)
class Case:
    """An oracle, and what draws of its q alone (`--proposal posterior`) come to with K of the order of 1,000."""

    build: Callable[[], Oracle]
    expect: Literal["well-behaved", "heavy", "hopeless", "blind"]
    note: str


CASES: dict[str, Case] = {
    "exact": Case(
        lambda: random_linear_gaussian(8, 3, q="exact"),
        "well-behaved",
        "q = p(z | x) with full covariance: every weight is log p(x), for every K",
    ),
    "diagonal": Case(
        lambda: random_linear_gaussian(8, 3, seed=3),
        "well-behaved",
        "the best diagonal q, gap 0.22: the tail index is 0.58, infinite variance, though L_1000 is within 0.01",
    ),
    "crude": Case(
        lambda: random_linear_gaussian(8, 3, shift=0.3, scale=1.3, shrink=0.9),
        "well-behaved",
        "approximation and amortisation gap at once; CV^2 depends on x, bounded weights",
    ),
    "diagonal_20x10": Case(
        lambda: random_linear_gaussian(20, 10, size=0.3),
        "heavy",
        "the best diagonal q in 10 latents: infinite variance, 0.02 short at K = 1000, rho 0.39",
    ),
    "crude_50": Case(
        lambda: random_linear_gaussian(100, 50, sigma=1.0, size=0.1, shift=0.1, scale=1.1),
        "heavy",
        "50 latents, finite CV^2 near 29: 0.02 short at K = 1000, rho 0.3, khat about 0.5",
    ),
    "slightly_crude": Case(slightly_crude, "well-behaved", "CV^2 = 1.000 for every x: L_K - log p(x) = -1/2K"),
    "infinite_variance": Case(
        infinite_variance, "heavy", "tail index 0.65 in 3 latents: 0.04 short at K = 1000, rho 0.5"
    ),
    "student": Case(student_posterior, "well-behaved", "heavy-tailed q, bounded weights, no closed-form KL"),
    "hopeless": Case(hopeless, "hopeless", "posterior N(0, I) in 100 dimensions: 6.5 short at K = 1000, 4 at 50,000"),
    "probit": Case(
        lambda: Probit(*pixels(50, 0.8)), "well-behaved", "50 latents, Bernoulli, q moment-matched, gap 0.007"
    ),
    "probit_crude": Case(
        lambda: Probit(*pixels(50, 2.0), shift=0.3, scale=0.5),
        "hopeless",
        "50 latents, q narrow and shifted: 1.8 short at K = 1000, rho 0.7, khat 1.3",
    ),
    "logistic": Case(
        lambda: Logistic(*pixels(50, 1.5)), "well-behaved", "50 latents, Bernoulli, moment-matched, gap 0.01"
    ),
    "poisson": Case(
        lambda: PoissonCounts(*pixels(10, 0.8)),
        "well-behaved",
        "counts; the tail index says infinite variance, but nothing of it shows before enormous K",
    ),
    "two_latents": Case(TwoLatentMLP, "well-behaved", "a tanh network, q moment-matched: gap 0.18, -0.001 at K = 1000"),
    "two_latents_crude": Case(
        lambda: TwoLatentMLP(shift=0.5, scale=0.4),
        "heavy",
        "the same network with q off by half an sd and narrow: 0.03 short at K = 1000, rho 0.8",
    ),
    "missed_mode": Case(
        MissedMode, "blind", "ln 2 short with ESS/K 0.76, khat 0.4 and a flat curve: q holds one of two modes"
    ),
    "missed_mode_10": Case(lambda: MissedMode(10), "blind", "the same with nine latents that drive nothing"),
    "both_modes": Case(both_modes, "well-behaved", "the same model, q a mixture that holds both modes, no rsample"),
    "spike": Case(
        Spike,
        "heavy",
        "4/5 of p(x) in 1/600 of q: at K = 1000 one datum in five has no draw in it, and looks perfect",
    ),
    "needle": Case(
        lambda: Spike(3, width=1e-5, height=5.5),
        "blind",
        "3/4 of p(x) in a millionth of q: all weights equal and 1.34 short; no gradient shows it; bounds still hold",
    ),
    "ring_spot": Case(
        Ring, "hopeless", "q is a spot on a ring: 1.8 short at K = 1000, rho 0.8, though weights are bounded"
    ),
    "ring_wide": Case(
        lambda: Ring(wide=True), "well-behaved", "q holds the whole ring: ELBO 50 short, L_1000 within 0.005"
    ),
    "funnel": Case(
        lambda: Funnel(2, c=2.0, scale=0.4), "heavy", "q narrow in a steep funnel: 0.05 short at K = 1000, rho 0.6"
    ),
    "funnel_5": Case(
        lambda: Funnel(5, c=2.0),
        "heavy",
        "q moment-matched to a steep funnel: ELBO 130 short, L_1000 0.09 short, rho 0.7, khat 0.7",
    ),
    "funnel_10": Case(lambda: Funnel(10, scale=0.6), "heavy", "10 latents, q narrow: 0.1 short at K = 1000, khat 0.7"),
}
