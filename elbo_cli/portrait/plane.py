"""A model of two latents, seen from above: its manifold, its data, and true posteriors beside the q's for them."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.distributions import Distribution

from elbo_cli.bounds.draws import LatentVariableModel, log_joint
from elbo_cli.data.split import Split
from elbo_cli.portrait.pictures import array, expectation
from elbo_cli.portrait.records import Plane, Posterior
from elbo_cli.records import GapRow
from elbo_cli.runtime import noise

ACROSS = 13  # pictures of the manifold, each way
REACH = 2.4  # of the manifold: 98 % of a standard normal prior, each way
COARSE, FINE = 97, 101  # points of the grids that find the posterior, and that show it
WIDE = 5.0  # of the first of them
DEPTH = 8.0  # nats below its peak, where a density is no longer shown


@torch.no_grad()
def plane(
    model: LatentVariableModel, split: Split, rows: Sequence[GapRow], show: tuple[GapRow, ...], seed: int
) -> Plane | None:
    """What a model of two latents looks like; None for another.

    Args:
        model: the three distributions.
        split: the data that were measured.
        rows: of all of them.
        show: those whose posterior is shown.
        seed: of what can only be drawn.
    """
    if tuple(model.prior().event_shape) != (2,):
        return None
    at = torch.linspace(-REACH, REACH, ACROSS)
    z = torch.cartesian_prod(at.flip(0), at).flip(1).to(split.device)  # rows from the top: y falls, x rises
    with noise(seed, "portrait", "plane", device=split.device):
        manifold = array(expectation(model.likelihood(z)))
        means = torch.cat([expectation(model.posterior(x)) for x in split.blocks(250)])
    return Plane(
        at=tuple(at.tolist()),
        manifold=manifold.reshape(ACROSS, ACROSS, *manifold.shape[1:]),
        means=array(means),
        gaps=array(torch.tensor([row.gap for row in rows])),
        posteriors=tuple(_posterior(model, split, row, seed) for row in show),
    )


def _posterior(model: LatentVariableModel, split: Split, row: GapRow, seed: int) -> Posterior:
    x = split.batch(torch.tensor([row.index]))
    q = model.posterior(x)
    with noise(seed, "portrait", "posterior", row.index, device=split.device):
        low, high = _where(model, x, q)
    axes = [torch.linspace(float(a), float(b), FINE) for a, b in zip(low, high, strict=True)]
    z = _grid(axes, split.device)
    cell = float((axes[0][1] - axes[0][0]) * (axes[1][1] - axes[1][0]))
    log_p = _log_joint(model, x, z)
    density = (log_p - log_p.logsumexp(0)).exp() / cell
    of_q = _log_prob(q, z).exp()
    return Posterior(
        index=row.index,
        gap=row.gap,
        x=array(axes[0]),
        y=array(axes[1]),
        density=array(density.view(FINE, FINE)),
        q=array(of_q.view(FINE, FINE)),
    )


def _where(model: LatentVariableModel, x: Tensor, q: Distribution) -> tuple[Tensor, Tensor]:
    """The box that holds the posterior and q, with a margin.

    Looked for on a wide grid, and around q's own draws as well: a sharp posterior slips through a wide grid.
    """
    around = q.sample(torch.Size([500]))[:, 0].double().cpu()
    centre, spread = around.mean(0), around.std(0)
    wide = torch.linspace(-WIDE, WIDE, COARSE).double()
    near = [torch.linspace(float(c - 6 * s), float(c + 6 * s), COARSE) for c, s in zip(centre, spread, strict=True)]
    z = torch.cat([_grid([wide, wide], x.device), _grid(near, x.device)])
    held = z[_log_joint(model, x, z) > _log_joint(model, x, z).max() - DEPTH].cpu().double()
    low = torch.minimum(held.amin(0), centre - 3 * spread)
    high = torch.maximum(held.amax(0), centre + 3 * spread)
    margin = 0.06 * (high - low).max()
    return low - margin, high + margin


def _grid(axes: list[Tensor], device: torch.device) -> Tensor:
    """Points [G * G, 2], the second latent slowest: rows are y."""
    return torch.cartesian_prod(axes[1], axes[0]).flip(1).to(device, torch.float32)


def _log_joint(model: LatentVariableModel, x: Tensor, z: Tensor) -> Tensor:
    log_px_z, log_pz = log_joint(model, x, z.unsqueeze(1))
    return (log_px_z.double() + log_pz.double()).squeeze(1)


def _log_prob(q: Distribution, z: Tensor) -> Tensor:
    return q.log_prob(z.unsqueeze(1)).double().squeeze(1)
