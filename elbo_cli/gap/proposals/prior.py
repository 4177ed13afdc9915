"""How a prior bends: the precision that it adds to a normal near p(z | x), positive definite for every family."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, MultivariateNormal, Normal
from torch.func import hessian, vmap

from elbo_cli.bounds.draws import mean_of
from elbo_cli.gap.proposals.jacobian import along, by_hand, forward_mode
from elbo_cli.models.chain import Chain, Link
from elbo_cli.models.flows import FlowNormal
from elbo_cli.models.mixtures import MixturePrior, component_log_prob
from elbo_cli.models.plain import plain_layers
from elbo_cli.models.posteriors import DiagonalNormal

DRAWS = 4096  # of a prior whose moments stand for its curvature
FLOOR = 1e-3  # of the largest eigenvalue: a proposal must be wide where the prior bends the wrong way


def prior_precision(pz: Distribution, z: Tensor) -> Tensor:
    """-d^2 log p(z) / dz^2 at z [N, D], or a positive definite matrix near it; broadcasts to [N, D, D].

    A normal has its own; a mixture of normals and a chain of layers have theirs by hand; for a flow the inverse of
    its variances stands in, and for any other prior the Hessian, lifted to be positive.
    """
    if isinstance(pz, Independent) and isinstance(pz.base_dist, Normal):
        return torch.diag(pz.base_dist.scale.square().reciprocal())
    known = CURVED.get(type(pz))
    if known is not None:
        return known(pz, z)
    with forward_mode():
        return lifted(-vmap(hessian(pz.log_prob))(z))


def lifted(bend: Tensor) -> Tensor:
    """A symmetric [N, D, D] with its eigenvalues below a thousandth of the largest lifted to that, where any are.

    Where a number is not finite there is no curvature to speak of: zero stands in.
    """
    bend = ((bend + bend.mT) / 2).nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)
    bad = torch.linalg.cholesky_ex(bend)[1] > 0
    if not bad.any():
        return bend
    values, vectors = torch.linalg.eigh(bend[bad])
    floor = FLOOR * values.abs().amax(-1, keepdim=True).clamp(min=FLOOR)
    mended = bend.clone()
    mended[bad] = (vectors * values.clamp(min=floor).unsqueeze(-2)) @ vectors.mT
    return mended


def _mixture(pz: MixturePrior, z: Tensor) -> Tensor:
    r"""sum_c r_c P_c - Cov_r( P_c (z - mu_c) ), r the shares of the components at z; lifted, as it may bend both ways.

    Components that are neither diagonal nor full normals are taken for normals with their variances.
    """
    components = pz.components
    share = (pz.log_pi + component_log_prob(components, z)).softmax(-1).to(z.dtype)  # [N, C]
    shift = z.unsqueeze(-2) - mean_of(components, DRAWS)  # [N, C, D]
    if isinstance(components, MultivariateNormal):
        matrices = components.precision_matrix
        mean, pull = torch.einsum("nc,cde->nde", share, matrices), torch.einsum("cde,nce->ncd", matrices, shift)
    else:
        precision = _variance(components).reciprocal()
        mean, pull = torch.diag_embed(share @ precision), shift * precision
    pull = pull - torch.einsum("nc,ncd->nd", share, pull).unsqueeze(-2)
    return lifted(mean - torch.einsum("nc,ncd,nce->nde", share, pull, pull))


def _moments(pz: Distribution, z: Tensor) -> Tensor:
    """1 / Var z_j of the prior: the curvature of the normal with its variances."""
    return torch.diag(_variance(pz).reciprocal())


def _variance(p: Distribution) -> Tensor:
    """Var z_j, [..., D]; of draws where a distribution does not know its own."""
    try:
        return p.variance
    except NotImplementedError:
        return p.sample(torch.Size([DRAWS])).var(0)


def _chain(pz: Chain, z: Tensor) -> Tensor:
    r"""The precision of p(first) prod p(child | parent), every link adding the Fisher information of its normal.

        r = (child - m(parent)) / s(parent),    P = P(first) + sum_links J_r' J_r + 2 J_{log s}' J_{log s}

    Positive definite, and exact where m is linear and s a constant.
    """
    parts, places = pz.parts(z), pz.places
    full = z.new_zeros(*z.shape, z.shape[-1])
    full[:, places[0], places[0]] = prior_precision(pz.first, parts[0])
    for link, parent, at, child in zip(pz.links, parts, places, places[1:], strict=False):
        s, J, J_log_s = _slopes(link, parent)
        J_r = J / s.unsqueeze(-1)
        full[:, child, child] += torch.diag_embed(s.square().reciprocal())
        full[:, child, at] -= J_r / s.unsqueeze(-1)
        full[:, at, child] -= (J_r / s.unsqueeze(-1)).mT
        full[:, at, at] += J_r.mT @ J_r + 2 * J_log_s.mT @ J_log_s
    return full


def _slopes(link: Link, parent: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """s [N, C] of a link's diagonal normal, and the derivatives of its mean and of its log s, [N, C, D] each."""

    def both(parent: Tensor) -> tuple[Tensor, Tensor]:
        q = link(parent)
        return torch.cat([q.mean, q.stddev.log()], -1), q.stddev

    layers = plain_layers(link.net)
    basis = torch.eye(parent.shape[-1], dtype=parent.dtype, device=parent.device)
    if layers is None or not isinstance(link.family, DiagonalNormal):
        slopes, s = along(both, parent, basis)
    else:
        (_, slopes), s = by_hand(layers, parent, basis), both(parent)[1]
    J, J_log_s = slopes.permute(1, 2, 0).chunk(2, dim=1)
    return s, J, J_log_s


# What is not here has its Hessian taken, which must then pass through torch.func twice.
CURVED: dict[type[Distribution], Callable[..., Tensor]] = {
    MixturePrior: _mixture,
    FlowNormal: _moments,
    Chain: _chain,
}
