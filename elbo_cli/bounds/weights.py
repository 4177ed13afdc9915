"""All that `gap` says of the log-weights of a block of data, from tiles, without ever holding [K, N] of them."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from elbo_cli.bounds.curve import CurveStream, curve_sizes
from elbo_cli.bounds.jackknife import EXACT, jackknife
from elbo_cli.bounds.moments import PowerSums
from elbo_cli.bounds.pareto import khat, tail_size

PIECE = 2048  # draws digested together, wherever the tiles were cut: so the answer does not depend on the cut


@dataclass(frozen=True, slots=True)
class WeightSummary:
    """What K log-weights of each of N data say: [N] float64 in nats per datum, unless noted.

    A weight may be 0 (log w = -inf: z outside the support of p(x, z)). Then `elbo` is -inf and `gap`, `var_log_w`,
    `se_elbo` and `se_gap` are inf. One draw says nothing of its own spread: for K = 1 every s.e. is nan.
    """

    K: int
    log_px: Tensor  # L_K = log 1/K sum_k w_k
    elbo: Tensor  # 1/K sum_k log w_k
    gap: Tensor  # L_K - elbo on the same draws; >= 0 by Jensen's inequality
    se_log_px: Tensor  # sqrt(1/ESS - 1/K), delta method; far too small where the draws miss the large weights
    se_elbo: Tensor
    se_gap: Tensor  # of the difference: L_K and elbo share their draws
    var_log_w: Tensor  # nats^2
    ess: Tensor  # (sum w)^2 / sum w^2, draws
    max_weight: Tensor  # the largest weight's share of their sum
    khat: Tensor  # Pareto shape
    jackknife: Tensor  # JVI of the first order; not a bound
    ks: tuple[int, ...]  # C sizes: 1, 4, 16, ..., K
    curve: Tensor  # [C, N], mean of L_k over disjoint blocks of k draws
    curve_var: Tensor  # [C, N], nats^2, variance of that mean


class WeightStream:
    """Takes the log-weights of K draws for each of N data, tile by tile; K is fixed beforehand.

    Memory is O(N sqrt K) for the largest weights and O(N log K) for the curve. Everything is summed in float64 on the
    CPU, in pieces of 2,048 draws in the order of the draws, so the summary is the same to the last bit however the
    tiles were cut. The tiles' order is the draws' order: it decides only which blocks the curve is made of.
    """

    def __init__(self, K: int, N: int) -> None:
        assert min(K, N) >= 1, (K, N)
        self.K, self.N = K, N
        self.seen = 0
        self._keep = min(K, max(tail_size(K) + 1, EXACT))
        self._waiting: list[Tensor] = []  # tiles, until there is a piece of them
        self._largest = torch.empty(0, N, dtype=torch.float64)  # [<= keep, N], descending
        self._rest = PowerSums.empty(N)  # of all that are not among the largest
        self._curve = CurveStream(K, N)

    def add(self, log_w: Tensor) -> None:
        """Take the next draws' log-weights [k, N], any k.

        Raises:
            ArithmeticError: one of them is nan or +inf; the message says which.
        """
        assert log_w.shape == (len(log_w), self.N), f"log_w {tuple(log_w.shape)} is not [k, {self.N}]"
        assert self.seen + len(log_w) <= self.K, f"{self.seen} + {len(log_w)} draws are more than K = {self.K}"
        log_w = log_w.detach().cpu().double()
        self._refuse(log_w)
        self.seen += len(log_w)
        self._waiting.append(log_w)
        if self.seen == self.K or sum(map(len, self._waiting)) >= PIECE:
            for piece in torch.split(torch.cat(self._waiting), PIECE):
                self._waiting = []
                if len(piece) == PIECE or self.seen == self.K:
                    self._digest(piece)
                else:
                    self._waiting = [piece.clone()]  # a view would keep all of the pieces alive

    def _refuse(self, log_w: Tensor) -> None:
        bad = ~(log_w < torch.inf)  # nan compares false
        if bad.any():
            k, n = bad.nonzero()[0].tolist()
            raise ArithmeticError(f"log w of draw {self.seen + k} of datum {n} of its block is {log_w[k, n].item()}.")

    def _digest(self, piece: Tensor) -> None:
        self._curve.add(piece)
        ranked = torch.cat((self._largest, piece)).sort(0, descending=True).values
        self._largest = ranked[: self._keep].clone()
        self._rest = self._rest.plus(ranked[self._keep :])

    def summary(self) -> WeightSummary:
        """The summary of all K draws; every one of them must have come."""
        assert self.seen == self.K, f"{self.seen} of K = {self.K} draws have come"
        K, total, log_w = self.K, self._rest.plus(self._largest), self._curve.moments[0]
        log_px, elbo = total.log_sum - math.log(K), log_w.mean
        spread = _squared_cv(total.ess, K)
        curve, curve_var = self._curve.measured(log_px, spread)
        return WeightSummary(
            K=K,
            log_px=log_px,
            elbo=elbo,
            gap=_gap(log_px, elbo),
            se_log_px=(spread / K).sqrt(),
            se_elbo=(log_w.variance / K).sqrt(),
            se_gap=_se_gap(log_w.variance, spread, total.tilted_mean - elbo, K),
            var_log_w=log_w.variance,
            ess=total.ess,
            max_weight=(1 / total.powers[0]).clamp(max=1),
            khat=khat(self._largest[: tail_size(K) + 1], K),
            jackknife=jackknife(self._largest, self._rest, K),
            ks=curve_sizes(K),
            curve=curve,
            curve_var=curve_var,
        )


def _squared_cv(ess: Tensor, K: int) -> Tensor:
    """CV^2 of the weights, K / ESS - 1, [N]: >= 0 but for rounding; nan for one draw."""
    return (K / ess - 1).clamp(min=0) if K > 1 else torch.full_like(ess, torch.nan)


def _gap(log_px: Tensor, elbo: Tensor) -> Tensor:
    """L_K - elbo, [N]; Jensen's inequality holds on the draws themselves, so only rounding is clamped."""
    gap = (log_px - elbo).masked_fill(elbo == -torch.inf, torch.inf)
    assert not (gap < -1e-9 * (1 + elbo.abs())).any(), f"a gap below 0: {gap.min().item()}"
    return gap.clamp(min=0)


def _se_gap(variance: Tensor, spread: Tensor, tilt: Tensor, K: int) -> Tensor:
    """Standard error of L_K - elbo on the same draws, [N], from its influence function.

        phi_k = w_k / mean w - 1 - (log w_k - mean log w),    Var phi = CV^2 + Var(log w) - 2 tilt

    where tilt = sum_k w_k log w_k / sum_k w_k - mean log w is the covariance of w / mean w and log w.
    """
    if K == 1:
        return torch.full_like(variance, torch.nan)
    return (
        ((spread + variance * (K - 1) / K - 2 * tilt).clamp(min=0) / K).sqrt().masked_fill(variance.isinf(), torch.inf)
    )
