"""Families of q(z | x): how many numbers the encoder gives for D latents, and the distribution made of them."""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from elbo_cli.models.choices import Choices
from elbo_cli.models.flows import FlowNormal, Transforms
from elbo_cli.models.normals import FullNormal, LowRankNormal, normal


class Posterior(nn.Module):
    """A family of q(z | x) over D latents: a module, because a flow has weights of its own."""

    size: int  # how many numbers the encoder gives

    def __init__(self, D: int) -> None:
        super().__init__()
        self.D = D

    def distribution(self, parameters: Tensor) -> Distribution:
        """q(z | x), batch [...], event [D], from the encoder's [..., size]."""
        raise AssertionError("each family gives its own")


class DiagonalNormal(Posterior):
    """N(mu, diag sigma^2) from mu, then log sigma."""

    def __init__(self, D: int) -> None:
        super().__init__(D)
        self.size = 2 * D

    def distribution(self, parameters: Tensor) -> Distribution:
        """z_j = mu_j + sigma_j e_j."""
        mu, log_sigma = parameters.chunk(2, dim=-1)
        return normal(mu, log_sigma.exp())


class LowRankNormalPosterior(Posterior):
    """N(mu, S (I + W W' / D) S), S = diag sigma and W [D, rank]: near the diagonal family where W is small."""

    def __init__(self, D: int, rank: int) -> None:
        super().__init__(D)
        self.rank, self.size = min(rank, D), (2 + min(rank, D)) * D

    def distribution(self, parameters: Tensor) -> Distribution:
        """z = mu + S ( e + W a / sqrt D )."""
        mu, log_sigma, W = torch.split(parameters, [self.D, self.D, self.rank * self.D], dim=-1)
        sigma = log_sigma.exp()
        factor = sigma.unsqueeze(-1) * W.reshape(*W.shape[:-1], self.D, self.rank) / math.sqrt(self.D)
        return LowRankNormal(mu, factor, sigma.square())


class FullNormalPosterior(Posterior):
    """N(mu, L L') with L = S (I + U / sqrt D), S = diag sigma and U strictly lower triangular."""

    rows: Tensor
    columns: Tensor

    def __init__(self, D: int) -> None:
        super().__init__(D)
        rows, columns = torch.tril_indices(D, D, offset=-1)
        self.register_buffer("rows", rows, persistent=False)
        self.register_buffer("columns", columns, persistent=False)
        self.size = 2 * D + len(rows)

    def distribution(self, parameters: Tensor) -> Distribution:
        """z = mu + L e."""
        mu, log_sigma, below = torch.split(parameters, [self.D, self.D, len(self.rows)], dim=-1)
        sigma = log_sigma.exp()
        U = below.new_zeros(*below.shape[:-1], self.D, self.D)
        U[..., self.rows, self.columns] = sigma[..., self.rows] * below / math.sqrt(self.D)
        return FullNormal(mu, U + torch.diag_embed(sigma))


class FlowPosterior(Posterior):
    """z = mu + sigma f(e; h) from mu, log sigma and a context h [D] for the transforms; begins as a diagonal normal.

    Reference: Kingma et al. (2016), https://arxiv.org/abs/1606.04934 (mu, sigma and h from the encoder).
    """

    def __init__(self, D: int, choices: Choices) -> None:
        super().__init__(D)
        self.size = 3 * D
        self.transforms = Transforms(choices.flow, D, D, choices.transforms, choices.flow_hidden)

    def distribution(self, parameters: Tensor) -> Distribution:
        """f runs the way that draws take: a draw with its own density is one pass, whatever the kind."""
        mu, log_sigma, context = parameters.chunk(3, dim=-1)
        return FlowNormal(mu, log_sigma.exp(), self.transforms(context), smooth=self.transforms.smooth)


POSTERIORS: dict[str, Callable[[int, Choices], Posterior]] = {
    "diagonal_normal": lambda D, choices: DiagonalNormal(D),
    "lowrank_normal": lambda D, choices: LowRankNormalPosterior(D, choices.rank),
    "full_normal": lambda D, choices: FullNormalPosterior(D),
    "flow": FlowPosterior,
}
