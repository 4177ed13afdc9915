"""Arrays that were taken from a model, as frozen records: all that a report sees of it. Nats per datum."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from elbo_cli.records import Evaluation, GapFindings

Array = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Beside:
    """Some data beside their reconstructions, and what they were chosen for."""

    quantity: str  # what `nats` holds: reconstruction or gap
    index: tuple[int, ...]  # which data of the split
    nats: tuple[float, ...]
    data: Array  # [n, *shape]
    means: Array  # [n, *shape], E[x | z] at a draw z of q(z | x)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Samples:
    """Draws from the prior: z ~ p(z), with E[x | z] and a draw of x."""

    means: Array  # [n, *shape]
    draws: Array  # [n, *shape]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Traversal:
    """E[x | z] while one latent moves and the others stay at the mean of q for one datum."""

    index: int  # the datum
    latents: tuple[int, ...]  # which latents, the largest KL first
    kl: tuple[float | None, ...]  # of each, nats
    at: tuple[float, ...]  # where the moving latent stands
    means: Array  # [latents, steps, *shape]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class LogWeights:
    """Log-weights of one datum under each proposal, log w = log p(x, z) - log q(z)."""

    index: int
    role: str  # easy, typical or worst: of the data that were measured, by their gap
    gap: float
    log_px: float  # the best known
    log_w: dict[str, Array]  # proposal -> [K]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Posterior:
    """The true posterior of one datum over two latents, on a grid, and the q that stands for it."""

    index: int
    gap: float
    x: Array  # [G], first latent
    y: Array  # [G], second latent
    density: Array  # [G, G], p(z | x), rows are y
    q: Array  # [G, G]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Plane:
    """A model of two latents: what it decodes over the plane, where the data lie in it, and two posteriors."""

    at: tuple[float, ...]  # of both axes, latents in standard deviations of a normal prior
    manifold: Array  # [rows from the top, columns, *shape], E[x | z]
    means: Array  # [n, 2], E_q[z | x]
    gaps: Array  # [n]
    posteriors: tuple[Posterior, ...]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Portrait:
    """All that is shown of one model."""

    evaluation: Evaluation
    gap: GapFindings  # the best known: exact where the model allows it
    curves: dict[str, GapFindings]  # proposal -> importance sampling on the same data
    weights: tuple[LogWeights, ...]
    typical: Beside
    worst_reconstructed: Beside
    worst_gap: Beside
    samples: Samples
    traversal: Traversal
    data: Array  # [n, *shape], the first of the split
    plane: Plane | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Of a datum."""
        return self.data.shape[1:]

    @property
    def exact(self) -> bool:
        """Whether log p(x) is known."""
        return self.gap.method == "exact"
