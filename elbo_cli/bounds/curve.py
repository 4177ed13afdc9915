"""The K-curve: the bound L_k for k = 1, 4, 16, ... on the same draws, and what its steps say of the rest."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from elbo_cli.bounds.moments import Moments


def powers_of_four(K: int) -> tuple[int, ...]:
    """1, 4, 16, ... up to K."""
    return tuple(4**j for j in range((K.bit_length() + 1) // 2))


def curve_sizes(K: int) -> tuple[int, ...]:
    """The k at which the curve is measured: the powers of 4 up to K, and K itself."""
    powers = powers_of_four(K)
    return powers if powers[-1] == K else (*powers, K)


def log_mean_exp(log_w: Tensor, axis: int = 0) -> Tensor:
    """The log of the mean of exp(log_w) over an axis."""
    return log_w.logsumexp(axis) - math.log(log_w.shape[axis])


class CurveStream:
    """L_k, averaged over disjoint blocks of k successive draws, while the draws arrive.

    A block of 4k draws is four blocks of k, so every level needs to keep at most three unfinished blocks:
    memory O(N log K). Draws left over at the end, too few to fill a block, do not count for that k.
    """

    def __init__(self, K: int, N: int) -> None:
        self.K = K
        levels = len(powers_of_four(K))
        self.moments = [Moments.empty(N) for _ in range(levels)]
        self._waiting = [torch.empty(0, N, dtype=torch.float64) for _ in range(levels)]

    def add(self, blocks: Tensor, level: int = 0) -> None:
        """Take L of the next blocks of 4^level draws, [n, N]; at level 0 those are the log-weights themselves."""
        self.moments[level] = self.moments[level].plus(blocks)
        if level + 1 < len(self.moments):
            blocks = torch.cat((self._waiting[level], blocks))
            full = len(blocks) // 4
            self._waiting[level] = blocks[4 * full :].clone()  # a view would keep the whole tile alive
            if full:
                self.add(log_mean_exp(blocks[: 4 * full].reshape(full, 4, -1), 1), level + 1)

    def measured(self, log_px: Tensor, spread: Tensor) -> tuple[Tensor, Tensor]:
        """The curve and the variance of each of its points, both [C, N].

        Args:
            log_px: L_K over all draws, [N]; the curve's last point.
            spread: squared coefficient of variation of the weights, [N]. Where there is but one block of k draws, the
                variance is spread / k (delta method); elsewhere it is that between blocks.
        """
        curve, variance = [], []
        for k, moments in zip(powers_of_four(self.K), self.moments, strict=True):
            curve.append(log_px if k == self.K else moments.mean)
            variance.append(moments.variance / moments.count if moments.count > 1 else spread / k)
        if len(curve_sizes(self.K)) > len(curve):
            curve.append(log_px)
            variance.append(spread / self.K)
        return torch.stack(curve), torch.stack(variance)


@dataclass(frozen=True, slots=True)
class Trend:
    """The last steps of a mean K-curve, in nats per datum, and what they would add up to if they went on."""

    increment: float  # L_{16m} - L_{4m}, where 16m is the last power of 4
    increment_se: float  # over data, Monte Carlo noise included
    rho: float  # increment over the one before: 1/4 in the 1/K regime; nan for K < 16, inf if the one before is not > 0
    rho_se: float
    remainder: float  # increment * rho / (1 - rho): an extrapolation, not a bound; inf for rho >= 1


def trend(ks: tuple[int, ...], curve: Tensor) -> Trend:
    r"""How fast the mean K-curve still rises.

        rho = (L_{16m} - L_{4m}) / (L_{4m} - L_m),    remainder = (L_{16m} - L_{4m}) rho / (1 - rho)

    over the last three powers of 4. Where the weights' variance is finite and K large enough, L_K - log p(x) goes as
    -1/K and rho is 1/4; a rho near 1 says that K is far too small, and then the remainder too is far too small. The
    standard error of rho is that of a ratio of means over data, by the delta method, and so needs two data.

    Args:
        ks: the curve's sizes, as `curve_sizes` gives them.
        curve: L_k for each, [C, N].
    """
    powers = [i for i, k in enumerate(ks) if k in powers_of_four(ks[-1])]
    if len(powers) < 3 or curve[powers[0]].isnan().any():  # a curve of a few draws, or padded to three points
        return Trend(*[math.nan] * 5)
    first, middle, last = (curve[i] for i in powers[-3:])
    before, after = middle - first, last - middle
    increment, previous = after.mean().item(), before.mean().item()
    if not (math.isfinite(increment) and math.isfinite(previous)):  # a weight of 0: some L_m is -inf
        return Trend(increment, math.nan, math.inf, math.inf, math.inf)
    if increment <= 0:  # it rises no more: what is left is noise
        return Trend(increment, _standard_error(after), 0.0, _standard_error(after, previous), 0.0)
    rho = increment / previous if previous > 0 else math.inf
    rho_se = _standard_error(after - rho * before, previous) if previous > 0 else math.inf
    remainder = increment * rho / (1 - rho) if rho < 1 else math.inf
    return Trend(increment, _standard_error(after), rho, rho_se, remainder)


def _standard_error(values: Tensor, unit: float = 1.0) -> float:
    """Of the mean of values [N], in units of `unit`; it takes two data."""
    se = values.std().item() / math.sqrt(len(values)) if len(values) > 1 else math.nan
    if se == 0:
        return 0.0
    return se / abs(unit) if unit else math.inf
