"""The ELBO of a model on a split: beta = 1, no free bits, z sampled; per datum, in nats."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import Distribution

from elbo_cli.bounds.draws import Draws, LatentVariableModel, draw, kl_per_latent, mean_of
from elbo_cli.bounds.lower import elbo, iwae, kl, reconstruction
from elbo_cli.bounds.moments import Moments
from elbo_cli.data.split import Split
from elbo_cli.errors import RunError
from elbo_cli.estimates import estimate
from elbo_cli.models.chain import Chain
from elbo_cli.models.pixels import discrete
from elbo_cli.ranks import joined, ranks
from elbo_cli.records import Evaluation, EvaluationRow
from elbo_cli.runtime import noise

BLOCK = 250  # data to a block of noise: fixed, so that the answer depends on the seed and on nothing else
TILE, CELLS = 512, 2**24  # draws of a block decoded together, at most, and values of x: memory stays, whatever K is
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


def _moments(rows: Tensor | None) -> Tensor:
    """Mean and sum of squared deviations of rows [n, D], [2, D]; of no rows, [2, 0]."""
    if rows is None:
        return torch.empty(2, 0, dtype=torch.float64)
    rows = rows.double().cpu()
    mean = rows.mean(0)
    return torch.stack([mean, (rows - mean).square().sum(0)])


@torch.no_grad()
def measure(model: LatentVariableModel, split: Split, K: int, seed: int, device: torch.device) -> Measured:
    """ELBO, reconstruction, KL and L_K of every datum of `split`, from K draws of q each; ranks share the blocks."""
    if isinstance(model, torch.nn.Module):
        model.eval()
    blocks = torch.split(torch.arange(len(split)), BLOCK)
    # every rank measures the first one, which tells it how many latents there are
    mine = sorted({0, *range(len(blocks))[ranks().strided]})
    own = {number: _measured(model, split.batch(blocks[number]), K, seed, number, device) for number in mine}
    return _gathered(own, [len(index) for index in blocks])


@dataclass(frozen=True, slots=True)
class Block:
    """What was measured on a block of n data, float64 on the CPU; moments are [2, D] as `_moments` gives them."""

    table: Tensor  # [4, n]: ELBO, reconstruction, KL, L_K
    latents: Tensor  # moments of the KL of each latent
    means: Tensor  # moments of E_q[z | x]
    halves: Tensor  # moments of half the difference of two estimates of it
    layers: tuple[int, ...]

    @property
    def parts(self) -> tuple[Tensor, ...]:
        """What ranks tell each other."""
        return self.table, self.latents, self.means, self.halves


def _measured(model: LatentVariableModel, x: Tensor, K: int, seed: int, number: int, device: torch.device) -> Block:
    with noise(seed, "measure", number, device=device):
        qz_x = model.posterior(x)
        table = _table(model, x, K, qz_x)
    with noise(seed, "measure", number, "means", device=device):
        one, other = _mean(qz_x), _mean(qz_x)
    latents = _moments(kl_per_latent(qz_x, model.prior()))
    return Block(table, latents, _moments((one + other) / 2), _moments((one - other) / 2), layers(qz_x))


def _table(model: LatentVariableModel, x: Tensor, K: int, qz_x: Distribution) -> Tensor:
    """ELBO, reconstruction, KL and L_K of a block, [4, n]: means over tiles of draws, and for L_K the log of a mean."""
    tile = max(1, min(TILE, CELLS // (BLOCK * math.prod(x.shape[1:]))))
    sizes = [min(tile, K - first) for first in range(0, K, tile)]
    tables = torch.stack([_of_draws(draw(model, x, k, qz_x)) for k in sizes])  # [tiles, 4, n]
    share = torch.tensor(sizes, dtype=torch.float64).view(-1, 1) / K
    means = (tables[:, :3] * share.unsqueeze(1)).sum(0)
    return torch.cat([means, (tables[:, 3] + share.log()).logsumexp(0, keepdim=True)])


def _of_draws(draws: Draws) -> Tensor:
    return torch.stack([elbo(draws), reconstruction(draws), kl(draws), iwae(draws)]).double().cpu()


def _gathered(own: Mapping[int, Block], sizes: Sequence[int]) -> Measured:
    """What all ranks measured on blocks of these sizes, put together in the blocks' order."""
    first, mine = own[0], range(len(sizes))[ranks().strided]
    shapes = [shape for n in sizes for shape in ((4, n), *(part.shape for part in first.parts[1:]))]
    pieces = joined({4 * number + i: part for number in mine for i, part in enumerate(own[number].parts)}, shapes)
    table = torch.cat(pieces[::4], 1)
    latents, means, halves = (_folded(pieces[place::4], sizes) for place in (1, 2, 3))
    assert means is not None
    assert halves is not None
    # the covariance of two independent estimates of a mean: the noise of neither enters it
    rows = max(sum(sizes) - 1, 1)  # a single row has no variance
    moving = means.scatter / rows - halves.scatter / rows
    per_latent = None if latents is None else latents.mean
    return Measured(table[0], table[1], table[2], table[3], per_latent, moving, first.layers)


def _folded(parts: Sequence[Tensor], sizes: Sequence[int]) -> Moments | None:
    """The moments of all rows, from those of blocks of these sizes as `_moments` gives them; None of no rows."""
    if not all(part.shape[1] for part in parts):
        return None
    whole = Moments.empty(parts[0].shape[1])
    for n, (mean, squares) in zip(sizes, parts, strict=True):
        whole = whole.joined(Moments(n, mean, squares, whole.vanished))
    return whole


def _mean(qz_x: Distribution) -> Tensor:
    """E_q[z | x], [N, D]: q's own, or an estimate from draws where q does not know it."""
    if isinstance(qz_x, Chain):
        return qz_x.average_mean(MEANS)
    return mean_of(qz_x, 2 * MEANS)


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
        RunError: the ELBO of some datum is not a finite number, or a covariance not positive definite.
    """
    try:
        measured = measure(model, split, samples, seed, device)
    except torch.linalg.LinAlgError as error:  # type: ignore[attr-defined]  # its documented name
        raise RunError(f"On {data} a covariance is not positive definite: the model gives no density.") from error
    bad = (~measured.elbo.isfinite()).nonzero()
    if len(bad):
        raise RunError(
            f"The ELBO of datum {int(bad[0])} of {data} is {measured.elbo[bad[0]].item()}: "
            "the model gives no finite number."
        )
    per_latent = None if measured.kl_per_latent is None else tuple(measured.kl_per_latent.tolist())
    columns = (measured.elbo.tolist(), measured.reconstruction.tolist(), measured.kl.tolist())
    elbo = estimate(measured.elbo)
    return Evaluation(
        data=data,
        split=split.name,
        examples=len(split),
        elbo=elbo,
        reconstruction=estimate(measured.reconstruction),
        kl=estimate(measured.kl),
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


@torch.no_grad()
def _bits_per_dim(model: LatentVariableModel, split: Split, elbo: float) -> float | None:
    """-ELBO / (dimensions ln 2) for discrete data, an upper bound; a density's would depend on the unit of x."""
    with noise(0, "kind", device=split.device):  # any z will do, and none may be taken from the global generator
        px_z = model.likelihood(model.posterior(next(split.blocks(1))).sample())
    return -elbo / (math.prod(split.shape) * math.log(2)) if discrete(px_z) else None
