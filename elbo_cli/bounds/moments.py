"""Moments of log-weights and of weights that arrive piece by piece, for N data at once, in float64."""

from dataclasses import dataclass

import torch
from torch import Tensor

ORDERS = torch.arange(1, 5, dtype=torch.float64).unsqueeze(1)  # [4, 1]


@dataclass(frozen=True, slots=True)
class Moments:
    """Mean and variance of the rows seen so far, for each of N data; a row may be -inf."""

    count: int
    centre: Tensor  # [N], mean of the finite rows' stand-ins; means something only where nothing vanished
    scatter: Tensor  # [N], sum of squared deviations from the centre
    vanished: Tensor  # [N], whether some row was -inf

    @classmethod
    def empty(cls, N: int) -> "Moments":
        """Of nothing yet."""
        zero = torch.zeros(N, dtype=torch.float64)
        return cls(0, zero, zero, torch.zeros(N, dtype=torch.bool))

    def plus(self, rows: Tensor) -> "Moments":
        """With the rows [n, N] added."""
        if len(rows) == 0:
            return self
        gone = rows == -torch.inf
        rows = rows.masked_fill(gone, 0.0)
        away = rows - rows[0]  # equal rows have exactly no scatter
        scatter = (away - away.mean(0)).square().sum(0)
        return self.joined(Moments(len(rows), rows[0] + away.mean(0), scatter, gone.any(0)))

    def joined(self, other: "Moments") -> "Moments":
        """With what another has seen, by the pairwise update of Chan et al. (1979): stable in any order."""
        apart, n, count = other.centre - self.centre, other.count, self.count + other.count
        return Moments(
            count,
            other.centre if self.count == 0 else self.centre + apart * (n / count),
            self.scatter + other.scatter + apart.square() * (self.count * n / count),
            self.vanished | other.vanished,
        )

    @property
    def mean(self) -> Tensor:
        """[N]; -inf where a row was."""
        return self.centre.masked_fill(self.vanished, -torch.inf)

    @property
    def variance(self) -> Tensor:
        """Unbiased, [N]; inf where a row was -inf, nan for one row: one row says nothing of its spread."""
        spread = self.scatter / (self.count - 1) if self.count > 1 else torch.full_like(self.scatter, torch.nan)
        return spread.masked_fill(self.vanished, torch.inf)


@dataclass(frozen=True, slots=True)
class PowerSums:
    """Sums over weights, scaled by the largest so that none over- or underflows, for each of N data."""

    peak: Tensor  # [N], log of the largest weight; -inf before there is one
    powers: Tensor  # [4, N], sum_k (w_k / exp peak)^j for j = 1..4
    cross: Tensor  # [N], sum_k (w_k / exp peak) (log w_k - peak)

    @classmethod
    def empty(cls, N: int) -> "PowerSums":
        """Of nothing yet."""
        zero = torch.zeros(N, dtype=torch.float64)
        return cls(zero - torch.inf, zero.expand(4, N), zero)

    def plus(self, log_w: Tensor) -> "PowerSums":
        """With the log-weights [n, N] added."""
        if len(log_w) == 0:
            return self
        peak = torch.maximum(self.peak, log_w.amax(0))
        origin = peak.masked_fill(peak == -torch.inf, 0.0)
        drop = self.peak - origin  # <= 0; -inf before the first weight
        shrink = drop.exp()
        level = log_w - origin
        w = level.exp()
        square = w * w
        powers = torch.stack((w.sum(0), square.sum(0), (square * w).sum(0), (square * square).sum(0)))
        old = shrink * (self.cross + self.powers[0] * drop.masked_fill(shrink == 0, 0.0))
        cross = old + (w * level.masked_fill(w == 0, 0.0)).sum(0)  # w log w -> 0 with w
        return PowerSums(peak, self.powers * shrink.pow(ORDERS) + powers, cross)

    @property
    def log_sum(self) -> Tensor:
        """The log of sum_k w_k, [N]; -inf where every weight is 0."""
        return torch.where(self.peak == -torch.inf, self.peak, self.peak + self.powers[0].log())

    @property
    def ess(self) -> Tensor:
        """Effective sample size (sum w)^2 / sum w^2, [N]; 0 where every weight is 0."""
        return (self.powers[0].square() / self.powers[1]).nan_to_num(0.0)

    @property
    def tilted_mean(self) -> Tensor:
        """The weights' own mean of log w, sum_k w_k log w_k / sum_k w_k, [N]; nan where every weight is 0."""
        return self.peak + self.cross / self.powers[0]
