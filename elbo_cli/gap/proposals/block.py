"""A precision that the likelihood adds to on some latents alone: the others cost nothing."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, Normal

FELT = 0.05  # information, in units of the prior's: a latent that no datum of a block feels more is left to the prior


@dataclass(frozen=True, slots=True)
class Block:
    """A precision P + G where G is 0 but for some latents, and P diagonal but where those are all."""

    P: Tensor  # of the prior, [D, D] or [N, D, D]
    information: Tensor  # G of those latents, [N, A, A]
    latents: Tensor  # [A]
    root: Tensor  # lower Cholesky factor of P + G of those latents, [N, A, A]

    @classmethod
    def of(cls, P: Tensor, information: Tensor, latents: Tensor, damping: Tensor | float = 0.0) -> "Block":
        """With the diagonal of P + G larger by a share `damping`, a number or [N, 1]."""
        precision = information + _part(P, latents)
        ridge = torch.diag_embed(damping * precision.diagonal(dim1=-2, dim2=-1))
        return cls(P, information, latents, cholesky(precision + ridge))

    def damped(self, damping: Tensor) -> "Block":
        """The same with its diagonal larger by a share [N]."""
        return Block.of(self.P, self.information, self.latents, damping[:, None])

    def with_information(self, information: Tensor) -> "Block":
        """The same with another G."""
        return Block.of(self.P, information, self.latents)

    def keep(self, felt: "Felt") -> "Block":
        """The same with G on some of its latents alone."""
        return Block.of(self.P, felt.only(_part(self.information, felt.latents)), self.latents[felt.latents])

    def where(self, mine: Tensor, other: "Block") -> "Block":
        """The same for the data where `mine` [N] holds, and the other for the rest."""
        here = mine[:, None, None]
        P = self.P if self.P.dim() == 2 else torch.where(here, self.P, other.P)
        information = torch.where(here, self.information, other.information)
        return Block(P, information, self.latents, torch.where(here, self.root, other.root))

    @property
    def rest(self) -> Tensor:
        """The diagonal of P, [D] or [N, D]: the precision of the latents without information."""
        return self.P.diagonal(dim1=-2, dim2=-1)

    def solve(self, gradient: Tensor) -> Tensor:
        """(P + G)^-1 g for g [N, D], [N, D]."""
        step = gradient / self.rest
        step[:, self.latents] = torch.cholesky_solve(gradient[:, self.latents, None], self.root).squeeze(-1)
        return step

    def shifts(self, e: Tensor) -> Tensor:
        """R'^-1 e for points e [S, D] of N(0, I), the same for all data, [S, N, D]."""
        shifted = (e.unsqueeze(1) / self.rest.sqrt()).expand(-1, len(self.root), -1).clone()
        mine = e[:, self.latents].expand(len(self.root), -1, -1)
        felt = torch.linalg.solve_triangular(self.root, mine, upper=False, left=False)
        shifted[..., self.latents] = felt.movedim(0, 1)
        return shifted

    def whole(self) -> Tensor:
        """The lower Cholesky factor of all latents, [N, D, D]."""
        root = torch.diag_embed(self.rest.sqrt()).expand(len(self.root), -1, -1).clone()
        root[:, self.latents[:, None], self.latents] = self.root
        return root


@dataclass(frozen=True, slots=True)
class Felt:
    """Which latents the likelihood says something of."""

    latents: Tensor  # [A], that some datum of the block feels: they are computed for all
    pairs: Tensor  # [N, A, A], of those that the datum feels itself: the rest is dropped, so that company is no matter

    @classmethod
    def of(cls, block: Block, prior: Distribution) -> "Felt":
        """By the information of a block on all latents; all of them for a prior that ties latents together."""
        excess = block.information.diagonal(dim1=-2, dim2=-1) / block.rest
        apart = isinstance(prior, Independent) and isinstance(prior.base_dist, Normal)
        mine = (excess > FELT) | (not apart)
        latents = mine.any(0).nonzero().squeeze(-1)
        own = mine[:, latents]
        return cls(latents, own.unsqueeze(-1) & own.unsqueeze(-2))

    def only(self, information: Tensor) -> Tensor:
        """Information [N, A, A] on each datum's own latents."""
        return information.masked_fill(~self.pairs, 0.0)


def cholesky(precision: Tensor) -> Tensor:
    """The lower Cholesky factor; the identity's for a datum whose curvature is not finite or not positive."""
    safe = precision.nan_to_num(posinf=0.0, neginf=0.0)
    root, failed = torch.linalg.cholesky_ex(safe)
    bad = (failed > 0) | ~precision.isfinite().flatten(1).all(1)
    return torch.where(bad[:, None, None], torch.eye(precision.shape[-1], dtype=root.dtype, device=root.device), root)


def _part(matrix: Tensor, latents: Tensor) -> Tensor:
    return matrix[..., latents[:, None], latents]
