"""Each estimator of a bound's gradient: what it is on average beside the exact gradient, and its signal and noise.

`python -m benchmarks gradients` prints the numbers of docs/gradients.md and draws docs/figures/gradients.svg.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, Normal

from benchmarks.compare import Row
from benchmarks.figures import lines
from elbo_cli.bounds.draws import draw
from elbo_cli.bounds.gradients import GRADIENTS
from elbo_cli.bounds.lower import iwae
from elbo_cli.runtime import noise
from tests.bounds.test_gradients import Deaf, Toy, estimates, hook_on_a_copy, truth

D, OFFSET = 10, 0.3  # latents, and how far q's mean is from the posterior's in each
KS = (1, 4, 16, 64, 256)
REPEATS, TILE = 5000, 500


@dataclass(frozen=True)
class Shifted:
    """Rainforth et al. (2018): p(z) = N(m, I), p(x | z) = N(z, I), q = N(x / 2 + b, 2/3 I); the optimum is b = m / 2.

    m is of the decoder's side, b of the encoder's; each of R repeats has its own, so that each has its own gradient.
    """

    b: Tensor  # [R, D]
    m: Tensor  # [R, D]

    def prior(self) -> Distribution:
        return Independent(Normal(self.m, 1.0), 1)

    def posterior(self, x: Tensor) -> Distribution:
        return Independent(Normal(x / 2 + self.b, math.sqrt(2 / 3)), 1)

    def likelihood(self, z: Tensor) -> Distribution:
        return Independent(Normal(z, 1.0), 1)


def study() -> Iterator[Row]:
    yield from means()
    found = list(ratios())
    yield from found
    series = {f"{each['side']}, {each['gradient']}": each["snr"] for each in found}
    lines("gradients", "signal / noise of the gradient of L_K", "K", KS, series)


def means() -> Iterator[Row]:
    """d L_2 / d (mu, log sigma) of q with one latent: exact by a quadrature, and the mean over 80,000 estimates."""
    exact = [part.item() for part in truth(iwae, 2)[:2]]
    contenders = {name: (gradient.of["iwae"], gradient.path, Toy) for name, gradient in GRADIENTS.items()}
    mistakes = {
        "dreg, the hook on a copy of z": (hook_on_a_copy, True, Toy),
        "dreg, the score left in": (GRADIENTS["dreg"].of["iwae"], False, Toy),
        "dreg, the decoder's path stopped": (GRADIENTS["dreg"].of["iwae"], True, Deaf),
    }
    for name, (estimate, path, of) in (contenders | mistakes).items():
        with noise(0, "gradients"):
            g = torch.cat(estimates(estimate, 2, 80_000, path=path, of=of)[:2], 1)
        mean, se = g.mean(0), g.std(0) / math.sqrt(len(g))
        row = {"gradient": name, "exact": exact, "mean": mean.tolist(), "se": se.tolist()}
        yield row | {"sigmas": max((abs(mean - torch.tensor(exact)) / se).tolist())}


def ratios() -> Iterator[Row]:
    """|E g| / sqrt(tr Cov g) of the encoder's and of the decoder's gradient, for each estimator and K."""
    for name in GRADIENTS:
        yield {"side": "encoder", "gradient": name, "K": KS, "snr": [ratio(name, K, 0) for K in KS]}
    yield {"side": "decoder", "gradient": "standard", "K": KS, "snr": [ratio("standard", K, 1) for K in KS]}


def ratio(name: str, K: int, side: int) -> float:
    with noise(0, "ratio", name, K):
        g = torch.cat([gradients(name, K)[side] for _ in range(REPEATS // TILE)])
    variance = g.var(0).sum()
    squared = g.mean(0).square().sum() - variance / len(g)  # unbiased for |E g|^2
    return math.sqrt(max(squared.item(), 0.0) / variance.item())


def gradients(name: str, K: int) -> list[Tensor]:
    """TILE estimates of d L_K / d b and d L_K / d m, [TILE, D] each, at one x."""
    gradient = GRADIENTS[name]
    model = Shifted(*(torch.full((TILE, D), start).double().requires_grad_() for start in (OFFSET, 0.0)))
    value = gradient.of["iwae"](draw(model, torch.ones(TILE, D).double(), K, path=gradient.path))
    return list(torch.autograd.grad(value.sum(), (model.b, model.m)))
