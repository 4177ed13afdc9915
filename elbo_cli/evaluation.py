"""The ELBO of a model on a split: beta = 1, no free bits, z sampled; per datum, in nats."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import Distribution

from elbo_cli.bounds.average import average
from elbo_cli.bounds.draws import LatentVariableModel, draw, kl_per_latent
from elbo_cli.bounds.lower import elbo, iwae, kl, reconstruction
from elbo_cli.data.split import Split
from elbo_cli.errors import RunError
from elbo_cli.models.chain import Chain
from elbo_cli.models.pixels import discrete
from elbo_cli.records import Estimate, Evaluation, EvaluationRow
from elbo_cli.runtime import noise

BLOCK = 250  # data to a block of noise: fixed, so that the answer depends on the seed and on nothing else
MEANS = 16  # draws for either estimate of E_q[z | x], where layers hide it; twice as many of a q with no mean
ACTIVE = 0.01  # Burda et al. (2016), section 5.2: a unit u is active when Var_x( E_q[u | x] ) > 0.01


@dataclass(frozen=True, slots=True)
class Measured:
    """What was measured on N data, in nats: everything [N] unless it says otherwise, float64 on the CPU."""

    elbo: Tensor
    reconstruction: Tensor
    kl: Tensor
    iwae: Tensor
    kl_per_latent: Tensor | None  # [D], the mean over data
    variance_of_means: Tensor  # [D], Var_x( E_q[z | x] ) over the whole split
    layers: tuple[int, ...]  # latents of each stochastic layer

    @property
    def active(self) -> Tensor:
        """Which latents have a posterior mean that moves with x: Var_x( E_q[z | x] ) > 0.01, [D]."""
        return self.variance_of_means > ACTIVE

    @property
    def active_units(self) -> int:
        """The number of them."""
        return sum(self.active_per_layer)

    @property
    def active_per_layer(self) -> tuple[int, ...]:
        """Active units of each stochastic layer."""
        return tuple(int(layer.sum()) for layer in torch.split(self.active, list(self.layers)))


class Moments:
    """Mean and variance of rows [n, D] that arrive in blocks, in float64; None once a block had no rows to give."""

    def __init__(self) -> None:
        self.count = 0
        self.mean: Tensor | None = torch.zeros(())
        self.squares = torch.zeros(())

    def add(self, rows: Tensor | None) -> None:
        """Take in a block (Chan et al. 1983: the update that does not cancel)."""
        if rows is None or self.mean is None:
            self.mean = None
            return
        rows = rows.double().cpu()
        n, mean = len(rows), rows.mean(0)
        shift, total = mean - self.mean, self.count + len(rows)
        self.squares = self.squares + (rows - mean).square().sum(0) + shift.square() * (self.count * n / total)
        self.mean = self.mean + shift * (n / total)
        self.count = total

    @property
    def variance(self) -> Tensor | None:
        """The sample variance; zero for a single row."""
        return None if self.mean is None else self.squares / max(self.count - 1, 1)


@torch.no_grad()
def measure(model: LatentVariableModel, split: Split, K: int, seed: int, device: torch.device) -> Measured:
    """ELBO, reconstruction, KL and L_K of every datum of `split`, from K draws of q each."""
    rows, latents, means, halves = [], Moments(), Moments(), Moments()
    if isinstance(model, torch.nn.Module):
        model.eval()
    for number, x in enumerate(split.blocks(BLOCK)):
        with noise(seed, "measure", number, device=device):
            qz_x = model.posterior(x)
            draws = draw(model, x, K, qz_x)
        rows.append(torch.stack([elbo(draws), reconstruction(draws), kl(draws), iwae(draws)]).cpu())
        latents.add(kl_per_latent(qz_x, model.prior()))
        with noise(seed, "measure", number, "means", device=device):
            one, other = _mean(qz_x), _mean(qz_x)
        means.add((one + other) / 2)
        halves.add((one - other) / 2)
    table = torch.cat(rows, 1)
    assert means.variance is not None
    assert halves.variance is not None
    # the covariance of two independent estimates of a mean: the noise of neither enters it
    moving = means.variance - halves.variance
    return Measured(table[0], table[1], table[2], table[3], latents.mean, moving, layers(qz_x))


def _mean(qz_x: Distribution) -> Tensor:
    """E_q[z | x], [N, D]: q's own, or an estimate from draws where q does not know it."""
    if isinstance(qz_x, Chain):
        return qz_x.average_mean(MEANS)
    try:
        return qz_x.mean
    except NotImplementedError:
        return qz_x.sample(torch.Size([2 * MEANS])).mean(0)


def layers(qz_x: Distribution) -> tuple[int, ...]:
    """Latents of each stochastic layer."""
    return qz_x.sizes if isinstance(qz_x, Chain) else (qz_x.event_shape.numel(),)


def evaluate(
    model: LatentVariableModel, split: Split, *, data: str, samples: int, seed: int, device: torch.device
) -> Evaluation:
    """ELBO, reconstruction and KL of a split with standard errors across data.

    Args:
        model: the three distributions.
        split: the data, all of which are measured.
        data: what they are, for the report.
        samples: draws of q for each datum.
        seed: of those draws.
        device: where to work.

    Raises:
        RunError: the ELBO of some datum is not a finite number.
    """
    measured = measure(model, split, samples, seed, device)
    bad = (~measured.elbo.isfinite()).nonzero()
    if len(bad):
        raise RunError(
            f"The ELBO of datum {int(bad[0])} of {data} is {measured.elbo[bad[0]].item()}: "
            "the model gives no finite number."
        )
    per_latent = None if measured.kl_per_latent is None else tuple(measured.kl_per_latent.tolist())
    columns = (measured.elbo.tolist(), measured.reconstruction.tolist(), measured.kl.tolist())
    elbo = _estimate(measured.elbo)
    return Evaluation(
        data=data,
        split=split.name,
        examples=len(split),
        elbo=elbo,
        reconstruction=_estimate(measured.reconstruction),
        kl=_estimate(measured.kl),
        latents=sum(measured.layers),
        active_units=measured.active_units,
        layers=measured.layers,
        active_per_layer=measured.active_per_layer,
        active=tuple(measured.active.tolist()),
        kl_per_latent=per_latent,
        bits_per_dim=_bits_per_dim(model, split, elbo.mean),
        rows=tuple(
            EvaluationRow(index=n, elbo=e, reconstruction=r, kl=k)
            for n, (e, r, k) in enumerate(zip(*columns, strict=True))
        ),
    )


def _estimate(values: Tensor) -> Estimate:
    mean = average(values)
    return Estimate(mean.mean, mean.se_data)


@torch.no_grad()
def _bits_per_dim(model: LatentVariableModel, split: Split, elbo: float) -> float | None:
    """-ELBO / (dimensions ln 2) for discrete data, an upper bound; a density's would depend on the unit of x."""
    with noise(0, "kind", device=split.device):  # any z will do, and none may be taken from the global generator
        px_z = model.likelihood(model.posterior(next(split.blocks(1))).sample())
    return -elbo / (math.prod(split.shape) * math.log(2)) if discrete(px_z) else None
