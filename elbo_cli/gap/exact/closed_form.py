"""A linear-Gaussian VAE, which is factor analysis: log p(x), p(z | x) and the gap of a normal q in closed form."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, LowRankMultivariateNormal, MultivariateNormal, Normal

from elbo_cli.bounds.draws import LatentVariableModel
from elbo_cli.models.likelihoods import Gaussian
from elbo_cli.models.normals import Diagonal, FullNormal, LowRankNormal
from elbo_cli.models.perceptrons import Flat
from elbo_cli.models.priors import StandardNormal
from elbo_cli.models.vae import VAE

ROUNDING = 64 * torch.finfo(torch.float64).eps  # of the largest term of a sum: generous for some hundred terms


@dataclass(frozen=True, slots=True)
class LinearGaussian:
    """p(z) = N(0, I) and p(x | z) = N(W z + b, diag s^2), all in float64 on the CPU."""

    W: Tensor  # [P, D]
    b: Tensor  # [P]
    variance: Tensor  # s^2, [P]
    precision: Tensor  # Lambda = I + W' diag(s^-2) W, of p(z | x), [D, D]
    root: Tensor  # R of Lambda = R R', lower triangular

    @classmethod
    def of(cls, W: Tensor, b: Tensor, variance: Tensor) -> "LinearGaussian":
        """The model of W [P, D], b [P] and s^2 [P]."""
        precision = torch.eye(W.shape[1], dtype=W.dtype) + (W / variance[:, None]).mT @ W
        return cls(W, b, variance, precision, torch.linalg.cholesky(precision))

    @property
    def log_det(self) -> Tensor:
        """Log |Lambda|."""
        return 2 * self.root.diagonal().log().sum()

    def posterior_mean(self, x: Tensor) -> Tensor:
        """E[z | x] = Lambda^-1 W' diag(s^-2) (x - b), [N, D], for x [N, P]."""
        return torch.cholesky_solve((((x - self.b) / self.variance) @ self.W).mT, self.root).mT

    def log_px(self, x: Tensor) -> tuple[Tensor, Tensor]:
        r"""Log N(x; b, W W' + diag s^2) in nats, [N], and the size of its largest terms, [N].

            -1/2 [ P log 2 pi + sum log s^2 + log |Lambda| + |(x - b - W m) / s|^2 + |m|^2 ],    m = E[z | x]

        By the determinant lemma and Woodbury's identity, with the quadratic form as two sums of squares, which do not
        cancel. Reference: Tipping and Bishop (1999).
        """
        m = self.posterior_mean(x)
        square = ((x - self.b - m @ self.W.mT).square() / self.variance).sum(-1) + m.square().sum(-1)
        constant = len(self.b) * math.log(2 * math.pi) + self.variance.log().sum() + self.log_det
        return -0.5 * (constant + square), square + self.variance.log().abs().sum() + self.log_det

    def gap(self, x: Tensor, qz_x: Distribution) -> tuple[Tensor, Tensor]:
        r"""KL( q(z | x) || p(z | x) ) of a normal q = N(mu, V) in nats, [N], and the size of its largest terms, [N].

        1/2 [ tr(Lambda V) - D - log |V| - log |Lambda| + (mu - m)' Lambda (mu - m) ]
        """
        spread, log_det_V = self._spread(qz_x)
        delta = _exactly(qz_x.mean) - self.posterior_mean(x)
        distance = (delta @ self.root).square().sum(-1)
        kl = 0.5 * (spread - self.W.shape[1] - log_det_V - self.log_det + distance)
        return kl.clamp(min=0.0), spread + log_det_V.abs() + self.log_det + distance

    def _spread(self, qz_x: Distribution) -> tuple[Tensor, Tensor]:
        """tr(Lambda V) and log |V|, [N] each."""
        if isinstance(qz_x, MultivariateNormal | LowRankMultivariateNormal):
            scale = _exactly(qz_x.scale_tril)
            spread = (self.root.mT @ scale).square().sum((-2, -1))
            return spread, 2 * scale.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        sigma = _exactly(qz_x.stddev)
        return sigma.square() @ self.precision.diagonal(), 2 * sigma.log().sum(-1)

    def approximation_gap(self, qz_x: Distribution) -> float:
        """The least KL that a q of this family can have: 1/2 (sum log Lambda_jj - log |Lambda|) if it is diagonal.

        nan where it is not known, as for a covariance of low rank.
        """
        if isinstance(qz_x, MultivariateNormal):
            return 0.0
        if isinstance(qz_x, LowRankMultivariateNormal):
            return math.nan
        return 0.5 * max((self.precision.diagonal().log().sum() - self.log_det).item(), 0.0)


def knows(qz_x: Distribution) -> bool:
    """Whether q is a normal whose KL has a closed form here: diagonal, or with a covariance."""
    return type(qz_x) in (MultivariateNormal, FullNormal, LowRankNormal) or is_diagonal(qz_x)


def is_diagonal(qz_x: Distribution) -> bool:
    """Whether q is a diagonal normal, and nothing that only derives from it."""
    if not isinstance(qz_x, Independent) or type(qz_x) not in (Independent, Diagonal):
        return False
    return type(qz_x.base_dist) is Normal and len(qz_x.event_shape) == 1


def linear_gaussian(model: LatentVariableModel) -> LinearGaussian | None:
    """The model as a linear-Gaussian one, or None where it is not certain to be that.

    By what it is made of, and not by how it behaves: a decoder that is flat wherever one looks may have a spike
    elsewhere. So this knows elbo's own VAEs with a linear decoder, a Gaussian likelihood and a standard normal prior;
    the affine map is then held against the model's own likelihood, lest the two part ways.
    """
    if type(model) is not VAE or type(model.latent) is not StandardNormal or type(model.visible) is not Gaussian:
        return None
    layer = _only_layer(model.decoder)
    if layer is None:
        return None
    W = _exactly(layer.weight)
    b = W.new_zeros(len(W)) if layer.bias is None else _exactly(layer.bias)
    variance = (2 * _exactly(model.visible.log_sigma)).exp().expand(model.visible.shape).flatten()
    assert variance.shape == b.shape, f"sigma^2 of {tuple(variance.shape)} pixels, and {tuple(b.shape)} outputs"
    return LinearGaussian.of(W, b, variance) if _agree(model, W, b, variance) else None


def _only_layer(decoder: nn.Module) -> nn.Linear | None:
    """The linear layer that is all of a decoder; None where there is more, or a layer that is more than linear."""
    if type(decoder) is not Flat or type(decoder.net) is not nn.Sequential or len(decoder.net) != 1:
        return None
    return decoder.net[0] if type(decoder.net[0]) is nn.Linear else None


@torch.no_grad()
def _agree(model: VAE, W: Tensor, b: Tensor, variance: Tensor) -> bool:
    """Whether log p(x | z) of the model is that of the affine map, at a few places, to the model's precision."""
    like = next(model.visible.parameters())
    z = torch.linspace(-3, 3, 4 * W.shape[1], dtype=torch.float64).sin().view(4, -1)
    x = (b + 0.5).expand(4, -1)
    white = (x - b - z @ W.mT).square() / variance
    truth = -0.5 * (white + variance.log() + math.log(2 * math.pi)).sum(-1)
    found = _exactly(model.likelihood(z.to(like)).log_prob(x.to(like).view(4, *model.visible.shape)))
    return bool(((found - truth).abs() < 1e-3 * (1 + white.sum(-1) + variance.log().abs().sum())).all())


def _exactly(value: Tensor) -> Tensor:
    return value.detach().to("cpu", torch.float64)
