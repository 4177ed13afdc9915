"""Distributions over the pixels of a datum, written so that no logarithm ever meets a zero."""

import math

import torch
from torch import Size, Tensor
from torch.distributions import Distribution, constraints
from torch.nn.functional import logsigmoid


def softplus(x: Tensor) -> Tensor:
    """log(1 + exp x); linear from 40 on, where float64 sees no difference."""
    return torch.nn.functional.softplus(x, threshold=40.0)


class Pixels(Distribution):
    """A factorised distribution over pixels: batch [...], event the last `event_dims` axes."""

    arg_constraints: dict[str, constraints.Constraint] = {}  # noqa: RUF012  # torch's own class attribute
    has_rsample = False
    discrete = True  # a probability mass, not a density

    def __init__(self, like: Tensor, event_dims: int) -> None:
        split = like.dim() - event_dims
        super().__init__(like.shape[:split], like.shape[split:], validate_args=False)

    def total(self, per_pixel: Tensor) -> Tensor:
        """The sum over the pixels of a datum."""
        return per_pixel.flatten(-len(self.event_shape)).sum(-1)


class BernoulliLogits(Pixels):
    """Binary pixels from logits: log p(x) = sum log sigma( (2 x - 1) l ). Takes x in {0, 1}; exact at any logit."""

    def __init__(self, logits: Tensor, event_dims: int) -> None:
        super().__init__(logits, event_dims)
        self.logits = logits

    @property
    def mean(self) -> Tensor:
        """E[x] = sigma(l)."""
        return self.logits.sigmoid()

    def log_prob(self, value: Tensor) -> Tensor:
        """log p(x) in nats, for x that broadcasts against batch and event."""
        # one term and no difference of two large ones: x l - softplus(l) cancels where x = 1 is all but certain
        return self.total(logsigmoid((2 * value - 1) * self.logits))

    def sample(self, sample_shape: Size | list[int] | tuple[int, ...] = ()) -> Tensor:
        """Draws of x in {0, 1}."""
        return torch.bernoulli(self.mean.expand(*sample_shape, *self.batch_shape, *self.event_shape))


class ContinuousBernoulliLogits(BernoulliLogits):
    """Pixels in [0, 1]: log p(x) = sum (x - 1) l + log sigma(l) + log C(l), with C(l) = l / tanh(l / 2).

    The constant is 2 atanh(1 - 2 lambda) / (1 - 2 lambda) at lambda = sigma(l), written in l so that it stays exact
    where lambda rounds to 0 or 1. Loaiza-Ganem and Cunningham (2019). https://arxiv.org/abs/1907.06845
    """

    discrete = False

    @property
    def mean(self) -> Tensor:
        """E[x] = 1 / (1 - exp(-l)) - 1 / l, and 1/2 + l/12 near zero."""
        small = self.logits.abs() < 1e-2
        safe = torch.where(small, torch.ones_like(self.logits), self.logits)
        return torch.where(small, 0.5 + self.logits / 12, -1 / torch.expm1(-safe) - 1 / safe)

    def log_prob(self, value: Tensor) -> Tensor:
        """log p(x) in nats."""
        small = self.logits.abs() < 1e-2
        safe = torch.where(small, torch.ones_like(self.logits), self.logits)
        log_c = torch.where(small, math.log(2) + self.logits.square() / 12, (safe / torch.tanh(safe / 2)).log())
        return self.total((value - 1) * self.logits - softplus(-self.logits) + log_c)

    def sample(self, sample_shape: Size | list[int] | tuple[int, ...] = ()) -> Tensor:
        """Draws of x by the inverse of the distribution function, F(x) = expm1(l x) / expm1(l)."""
        u = torch.rand(
            *sample_shape, *self.batch_shape, *self.event_shape, dtype=self.logits.dtype, device=self.logits.device
        )
        # for l > 0 the mirror image 1 - x has logit -l, whose exponential does not overflow
        negative = -self.logits.abs()
        small = negative > -1e-4
        safe = torch.where(small, -torch.ones_like(negative), negative)
        x = torch.where(small, u, torch.log1p(u * torch.expm1(safe)) / safe)
        return torch.where(self.logits > 0, 1 - x, x)


class GaussianPixels(Pixels):
    """Pixels N(mean, sigma^2) with a sigma that does not depend on z; sigma broadcasts against the mean."""

    discrete = False

    def __init__(self, mean: Tensor, sigma: Tensor, event_dims: int) -> None:
        super().__init__(mean, event_dims)
        self.loc, self.sigma = mean, sigma

    @property
    def mean(self) -> Tensor:
        """E[x]."""
        return self.loc

    def log_prob(self, value: Tensor) -> Tensor:
        """log p(x) = sum -1/2 ((x - mean) / sigma)^2 - log sigma - 1/2 log 2 pi, in nats."""
        white = (value - self.loc) * self.sigma.reciprocal()
        log_sigma = self.sigma.log().expand(self.event_shape).sum()  # once, and not for each z
        constant = 0.5 * math.log(2 * math.pi) * self.event_shape.numel()
        return -0.5 * self.total(white.square()) - log_sigma - constant

    def sample(self, sample_shape: Size | list[int] | tuple[int, ...] = ()) -> Tensor:
        """Draws of x."""
        shape = (*sample_shape, *self.batch_shape, *self.event_shape)
        return self.loc + self.sigma * torch.randn(shape, dtype=self.loc.dtype, device=self.loc.device)


class PoissonLogRate(Pixels):
    """Counts from log rates: log p(x) = sum x l - exp(l) - log x!, exact too where exp(l) rounds to 0."""

    def __init__(self, log_rate: Tensor, event_dims: int) -> None:
        super().__init__(log_rate, event_dims)
        self.log_rate = log_rate

    @property
    def mean(self) -> Tensor:
        """E[x] = exp(l)."""
        return self.log_rate.exp()

    def log_prob(self, value: Tensor) -> Tensor:
        """log p(x) in nats, a log mass."""
        return self.total(value * self.log_rate - self.log_rate.exp() - torch.lgamma(value + 1))

    def sample(self, sample_shape: Size | list[int] | tuple[int, ...] = ()) -> Tensor:
        """Draws of x in 0, 1, 2, ..."""
        return torch.poisson(self.mean.expand(*sample_shape, *self.batch_shape, *self.event_shape).detach())


class Levels(Pixels):
    """Pixels of L levels, x = k / (L - 1), from logits [..., *event, L]."""

    def __init__(self, logits: Tensor, event_dims: int) -> None:
        super().__init__(logits[..., 0], event_dims)
        self.logits = logits
        self.last = logits.shape[-1] - 1

    @property
    def mean(self) -> Tensor:
        """E[x]."""
        levels = torch.arange(self.last + 1, dtype=self.logits.dtype, device=self.logits.device)
        return self.logits.softmax(-1) @ levels / self.last

    def log_prob(self, value: Tensor) -> Tensor:
        """log p(x) in nats, a log mass."""
        level = (value * self.last).round().long()
        shape = torch.broadcast_shapes(level.shape, self.logits.shape[:-1])  # type: ignore[no-untyped-call]  # torch
        log_p = self.logits.log_softmax(-1).expand(*shape, -1)
        return self.total(log_p.gather(-1, level.expand(shape).unsqueeze(-1)).squeeze(-1))

    def sample(self, sample_shape: Size | list[int] | tuple[int, ...] = ()) -> Tensor:
        """Draws of x among the levels."""
        q = torch.distributions.Categorical(logits=self.logits, validate_args=False)
        levels: Tensor = q.sample(Size(sample_shape))  # type: ignore[no-untyped-call]  # torch leaves it untyped
        return levels.to(self.logits.dtype) / self.last


class DiscretizedLogistic(Pixels):
    """Pixels of L levels, x = k / (L - 1): a logistic density in bins of width 1 / (L - 1), tails in the outermost.

    The mass of an inner bin [a, b] is sigma(b) sigma(-a) (1 - exp(a - b)): three factors, none of which cancels.
    """

    def __init__(self, loc: Tensor, scale: Tensor, levels: int, event_dims: int) -> None:
        super().__init__(loc, event_dims)
        self.loc, self.scale, self.levels = loc, scale, levels

    @property
    def mean(self) -> Tensor:
        """The location, within the range: the mean up to the discretisation and the tails."""
        return self.loc.clamp(0, 1)

    def log_prob(self, value: Tensor) -> Tensor:
        """log p(x) in nats, a log mass."""
        half = 0.5 / (self.levels - 1)
        below, above = (value - half - self.loc) / self.scale, (value + half - self.loc) / self.scale
        first, last = value < half, value > 1 - half
        inner = logsigmoid(above) + logsigmoid(-below) + torch.log(-torch.expm1(-2 * half / self.scale))
        return self.total(torch.where(first, logsigmoid(above), torch.where(last, logsigmoid(-below), inner)))

    def sample(self, sample_shape: Size | list[int] | tuple[int, ...] = ()) -> Tensor:
        """Draws of x among the levels: a logistic draw, rounded to its bin."""
        shape = (*sample_shape, *self.batch_shape, *self.event_shape)
        u = torch.rand(shape, dtype=self.loc.dtype, device=self.loc.device)
        x = self.loc + self.scale * torch.logit(u, eps=1e-7)
        return (x * (self.levels - 1)).round().clamp(0, self.levels - 1) / (self.levels - 1)


def discrete(px_z: Distribution) -> bool:
    """Whether a likelihood is a probability mass, so that bits per dimension mean something; if it says so."""
    if isinstance(px_z, Pixels):
        return px_z.discrete
    try:
        return bool(px_z.support.is_discrete)  # type: ignore[union-attr]  # None has none
    except (NotImplementedError, AttributeError):  # torch's own default, and a user's own that has no support
        return False
