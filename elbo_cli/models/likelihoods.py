"""Families of p(x | z): what data they are a likelihood of, and the distribution made of a decoder's outputs."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.distributions import Distribution
from torch.nn.functional import softplus

from elbo_cli.models.pixels import (
    BernoulliLogits,
    ContinuousBernoulliLogits,
    DiscretizedLogistic,
    GaussianPixels,
    Levels,
    PoissonLogRate,
)


class Likelihood(nn.Module):
    """A family of p(x | z) for data of one shape.

    `outputs` numbers for every pixel come from the decoder as [..., outputs, *shape].
    """

    outputs = 1
    outputs_are_eta = True  # the decoder's outputs are Fisher's coordinates (gap/proposals/fisher.py)
    support = ""  # what x may be, in words
    cure = ""  # what to type when x is not

    def __init__(self, shape: Sequence[int]) -> None:
        super().__init__()
        self.shape = tuple(shape)

    def parts(self, parameters: Tensor) -> tuple[Tensor, ...]:
        """The decoder's outputs [..., outputs, *shape], one tensor [..., *shape] for each."""
        axis = -1 - len(self.shape)
        # a view's gradient is a view; that of unbind is a copy
        return (parameters.squeeze(axis),) if self.outputs == 1 else parameters.unbind(axis)

    def distribution(self, parameters: Tensor) -> Distribution:
        """p(x | z), batch [...], event `shape`."""
        raise AssertionError("each family gives its own")

    def supports(self, x: Tensor) -> Tensor:
        """Where x is a value that this likelihood gives a density to; a bool for each element."""
        raise AssertionError("each family gives its own")

    def variance(self) -> Tensor | None:
        """sigma^2 of N(mean, sigma^2), one or one for each pixel: it weighs errors against the KL. None elsewhere."""
        return None

    def start(self, mean: Tensor) -> Tensor | None:
        """Decoder outputs [outputs, *shape] at which E[x] is the training mean; None where there are none."""
        return None


class Bernoulli(Likelihood):
    """Binary pixels, from logits."""

    support = "0 or 1"
    cure = "type data.binarize=dynamic, or choose model.likelihood=continuous_bernoulli or gaussian"

    def distribution(self, parameters: Tensor) -> Distribution:
        """p(x | z) = prod sigma(l)^x sigma(-l)^(1-x)."""
        (logits,) = self.parts(parameters)
        return BernoulliLogits(logits, len(self.shape))

    def supports(self, x: Tensor) -> Tensor:
        """x is 0 or 1."""
        return (x == 0) | (x == 1)

    def start(self, mean: Tensor) -> Tensor:
        """The logit of the training mean, kept finite for pixels that never change."""
        return torch.logit(mean, eps=1e-3).unsqueeze(0)


class ContinuousBernoulli(Bernoulli):
    """Pixels in [0, 1]: Loaiza-Ganem and Cunningham (2019). https://arxiv.org/abs/1907.06845."""

    support = "between 0 and 1"
    cure = "scale the data (data.scale), or choose model.likelihood=gaussian"

    def distribution(self, parameters: Tensor) -> Distribution:
        """p(x | z) = prod C(l) sigma(l)^x sigma(-l)^(1-x)."""
        (logits,) = self.parts(parameters)
        return ContinuousBernoulliLogits(logits, len(self.shape))

    def supports(self, x: Tensor) -> Tensor:
        """0 <= x <= 1."""
        return (x >= 0) & (x <= 1)

    def start(self, mean: Tensor) -> Tensor:
        """The logit at which E[x] is the training mean, by bisection; within 100 for pixels that never change."""
        high = torch.full_like(mean, 100.0, dtype=torch.float64)
        low = -high
        for _ in range(60):
            middle = (low + high) / 2
            above = ContinuousBernoulliLogits(middle, mean.dim()).mean > mean
            low, high = torch.where(above, low, middle), torch.where(above, middle, high)
        return middle.to(mean.dtype).unsqueeze(0)


class Gaussian(Likelihood):
    """N(mean(z), sigma^2): sigma a fixed number, one learned number, or one learned number for each pixel."""

    support = "a finite number"
    cure = "mend the data"

    def __init__(self, shape: Sequence[int], sigma: float | str = "shared") -> None:
        super().__init__(shape)
        size = tuple(shape) if sigma == "per_pixel" else ()
        start = torch.full(size, math.log(sigma) if isinstance(sigma, float | int) else 0.0)
        self.log_sigma = nn.Parameter(start, requires_grad=isinstance(sigma, str))

    def distribution(self, parameters: Tensor) -> Distribution:
        """p(x | z) = N(x; mean, sigma^2)."""
        (mean,) = self.parts(parameters)
        return GaussianPixels(mean, self.log_sigma.exp(), len(self.shape))

    def supports(self, x: Tensor) -> Tensor:
        """x is finite."""
        return x.isfinite()

    def variance(self) -> Tensor:
        """sigma^2, [] or `shape`; it has a gradient where it is learnt."""
        return (2 * self.log_sigma).exp()

    def start(self, mean: Tensor) -> Tensor:
        """The training mean itself."""
        return mean.unsqueeze(0)


class Counts(Likelihood):
    """Poisson counts with rate exp(output)."""

    support = "a whole number that is not negative"
    cure = "give raw counts (data.scale=1), or choose model.likelihood=gaussian"

    def distribution(self, parameters: Tensor) -> Distribution:
        """p(x | z) = prod rate^x exp(-rate) / x!."""
        (log_rate,) = self.parts(parameters)
        return PoissonLogRate(log_rate, len(self.shape))

    def supports(self, x: Tensor) -> Tensor:
        """x is 0, 1, 2, ..."""
        return (x >= 0) & (x == x.round()) & x.isfinite()

    def start(self, mean: Tensor) -> Tensor:
        """The logarithm of the training mean, kept finite where nothing was ever counted."""
        return mean.clamp(min=1e-3).log().unsqueeze(0)


class LeveledPixels(Likelihood):
    """Pixels of L levels, given as x = level / (L - 1)."""

    outputs_are_eta = False

    def __init__(self, shape: Sequence[int], levels: int = 256) -> None:
        super().__init__(shape)
        self.levels = levels
        self.support = f"one of {levels} levels k/{levels - 1}"
        self.cure = "type model.levels=L for data of L levels, with data.binarize=none"

    def supports(self, x: Tensor) -> Tensor:
        """x is a level k / (L - 1), to float32."""
        level = x * (self.levels - 1)
        return (level >= -1e-3) & (level <= self.levels - 1 + 1e-3) & ((level - level.round()).abs() < 1e-3)


class CategoricalPixels(LeveledPixels):
    """A probability of its own for every level of every pixel."""

    def __init__(self, shape: Sequence[int], levels: int = 256) -> None:
        super().__init__(shape, levels)
        self.outputs = levels

    def distribution(self, parameters: Tensor) -> Distribution:
        """p(x | z) = prod softmax(output)_level."""
        return Levels(parameters.movedim(-1 - len(self.shape), -1), len(self.shape))


class LogisticPixels(LeveledPixels):
    """A logistic density, put into the bins of the levels; the outermost bins take the tails.

    Salimans et al. (2017). https://arxiv.org/abs/1701.05517
    """

    outputs = 2

    def distribution(self, parameters: Tensor) -> Distribution:
        """p(x | z) = prod [ F(x + half a bin) - F(x - half a bin) ], from mean and log scale."""
        mean, log_scale = self.parts(parameters)
        # softplus keeps the scale positive and its logarithm linear for small scales: no bin can underflow to nothing
        return DiscretizedLogistic(mean, softplus(log_scale) + 1e-4, self.levels, len(self.shape))

    def start(self, mean: Tensor) -> Tensor:
        """The training mean, and a scale of about a tenth of the range."""
        return torch.stack([mean, torch.full_like(mean, -2.0)])


@dataclass(frozen=True, slots=True)
class Options:
    """What a likelihood may be told beside the shape of a datum."""

    sigma: float | str = "shared"
    levels: int = 256


LIKELIHOODS: dict[str, Callable[[Sequence[int], Options], Likelihood]] = {
    "bernoulli": lambda shape, options: Bernoulli(shape),
    "continuous_bernoulli": lambda shape, options: ContinuousBernoulli(shape),
    "gaussian": lambda shape, options: Gaussian(shape, options.sigma),
    "poisson": lambda shape, options: Counts(shape),
    "categorical": lambda shape, options: CategoricalPixels(shape, options.levels),
    "discretized_logistic": lambda shape, options: LogisticPixels(shape, options.levels),
}
