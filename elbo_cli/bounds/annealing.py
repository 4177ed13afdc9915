"""Annealed importance sampling: a bound on log p(x) from below, and backwards from an exact draw, from above."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from elbo_cli.bounds.hmc import Kernel, Point

WARM_UP = 20  # rounds of tuning before the first temperature's step size counts


def _sigmoid(T: int, rad: float) -> Tensor:
    raw = torch.linspace(-rad, rad, T + 1, dtype=torch.float64).sigmoid()
    return (raw - raw[0]) / (raw[-1] - raw[0])


def _linear(T: int, rad: float) -> Tensor:
    return torch.linspace(0, 1, T + 1, dtype=torch.float64)


SCHEDULES: dict[str, Callable[[int, float], Tensor]] = {"sigmoid": _sigmoid, "linear": _linear}


def schedule(T: int, kind: str = "sigmoid", rad: float = 4.0) -> Tensor:
    """Inverse temperatures 0 = beta_0 < ... < beta_T = 1, [T + 1] float64.

    Args:
        T: steps; 1 is plain importance sampling.
        kind: one of SCHEDULES. A sigmoid goes slowly at both ends, where the densities change most.
        rad: the sigmoid's argument runs from -rad to rad.

    Reference: Wu et al. (2017). https://arxiv.org/abs/1611.04273
    """
    assert T >= 1, T
    return SCHEDULES[kind](T, rad)


@dataclass(frozen=True, slots=True)
class StepSizes:
    """HMC step sizes, fixed before the run that they are used in; with them, what that run must not share."""

    values: Tensor  # [T - 1, N], for beta_1 .. beta_{T-1}; fewer rows while tuning goes on
    acceptance: Tensor  # [T - 1, N], mean probability of acceptance while they were tuned
    seed: int  # of the tuning's own noise
    start: Tensor  # [C, N, D], where the tuning's chains began


def tune(
    kernel: Kernel, z: Tensor, betas: Tensor, *, seed: int, target: float = 0.65, rounds: int | None = None
) -> Iterator[StepSizes]:
    """Find step sizes on a separate run. Yields what it has after each temperature; the last item is complete.

    A run that adapts its own steps is no Markov chain of the kind that the bound's proof needs, so the adapting is done
    here, with draws and noise that are thrown away. A datum's step is raised where its chains accept more than `target`
    and lowered where less.

    Args:
        kernel: HMC on the path.
        z: draws from q0, [C, N, D], for this purpose alone.
        betas: inverse temperatures, [T + 1], as `schedule` gives them.
        seed: of the noise; `anneal` refuses the same one.
        target: probability of acceptance to aim at.
        rounds: trajectories for each temperature; if None, one for T > 200 and more below, 200 in all.

    Raises:
        ArithmeticError: a log-density is nan or +inf where the chains begin.
    """
    per = max(1, math.ceil(200 / max(1, len(betas) - 2))) if rounds is None else rounds
    return _tune(kernel, z, betas.tolist(), seed, target, per)


def _tune(kernel: Kernel, z: Tensor, betas: list[float], seed: int, target: float, rounds: int) -> Iterator[StepSizes]:
    noise = _generator(z, seed)
    point = _begin(kernel, z)
    N, D = z.shape[1:]
    log_step = torch.full((N,), math.log(0.5 * D**-0.25), dtype=torch.float64, device=z.device)
    values, acceptance = log_step.new_empty(2, len(betas) - 2, N)
    yield StepSizes(values[:0], acceptance[:0], seed, z)
    for t, beta in enumerate(betas[1:-1]):
        history = []
        for i in range(rounds + (WARM_UP if t == 0 else 0)):
            point, probability = kernel.transition(point, beta, log_step.exp(), noise)
            history.append(torch.stack((log_step, probability.mean(0))))
            log_step = log_step + (0.5 if t == 0 and i < WARM_UP else 0.2) * (probability.mean(0) - target)
        mean = torch.stack(history[-rounds:]).mean(0)
        values[t], acceptance[t] = mean[0].exp(), mean[1]
        yield StepSizes(values[: t + 1], acceptance[: t + 1], seed, z)


@dataclass(frozen=True, slots=True)
class Chains:
    """C chains of N data on their way.

    After the last step log mean_c w_c is a lower bound, [N]: E[exp] = p(x). Backwards -log mean_c 1 / w_c is an upper
    one: E[exp -bound] = 1 / p(x), though all C chains begin at one exact draw.
    """

    step: int  # of T
    T: int
    z: Tensor  # [C, N, D]
    log_w: Tensor  # [C, N], float64: E[w] = p(x), or backwards E[1 / w] = 1 / p(x)
    acceptance: Tensor  # [N], mean probability of acceptance so far; nan for T = 1, which has no HMC


def anneal(
    kernel: Kernel, z: Tensor, betas: Tensor, steps: StepSizes, *, seed: int, reverse: bool = False
) -> Iterator[Chains]:
    r"""Annealed importance sampling. Yields the chains after each temperature; the last item is the result.

        log w = sum_{t=1}^T (beta_t - beta_{t-1}) (log p(x, z_{t-1}) - log q0(z_{t-1}))

    with z_0 ~ q0 and z_t ~ HMC(z_{t-1}) at beta_t: then E[w] = p(x). Backwards (bidirectional Monte Carlo) the chain
    begins with z_{T-1} ~ p(z | x), exact, and goes to z_0 by the same kernels in the opposite order; the same sum then
    has E[1 / w] = 1 / p(x). With T = 1 there is no HMC and w is the plain importance weight.

    Args:
        kernel: HMC on the path.
        z: [C, N, D]; draws from q0, or if `reverse` exact draws from p(z | x). Not those that `tune` saw.
        betas: inverse temperatures, [T + 1].
        steps: from a finished `tune` with the same betas.
        seed: of the noise of this run.
        reverse: from p(z | x) to q0, for an upper bound.

    Raises:
        ArithmeticError: a log-density is nan or +inf where the chains begin.

    Reference: Neal (2001), https://arxiv.org/abs/physics/9803008; Grosse et al. (2015), https://arxiv.org/abs/1511.02543
    """
    assert len(steps.values) == len(betas) - 2, f"{len(steps.values)} step sizes for {len(betas) - 2} temperatures"
    assert seed != steps.seed, f"the step sizes were tuned on the noise of this run, seed {seed}"
    assert not torch.equal(z, steps.start), "the step sizes were tuned on the draws of this run"
    return _anneal(kernel, z, betas.tolist(), steps.values, seed, reverse)


def _anneal(
    kernel: Kernel, z: Tensor, betas: list[float], values: Tensor, seed: int, reverse: bool
) -> Iterator[Chains]:
    T, noise = len(betas) - 1, _generator(z, seed)
    point = _begin(kernel, z)
    log_w = torch.zeros_like(point.log_joint)
    accepted = log_w.new_zeros(z.shape[1])
    order = range(T, 0, -1) if reverse else range(1, T + 1)
    for done, t in enumerate(order, 1):
        log_w = log_w + (betas[t] - betas[t - 1]) * point.log_ratio
        if done < T:
            inner = t - 1 if reverse else t  # the temperature that this term shares with the next
            point, probability = kernel.transition(point, betas[inner], values[inner - 1], noise)
            accepted = accepted + probability.mean(0)
        yield Chains(done, T, point.z, log_w, accepted / min(done, T - 1) if T > 1 else accepted / 0)


def _generator(z: Tensor, seed: int) -> torch.Generator:
    return torch.Generator(z.device).manual_seed(seed)


def _begin(kernel: Kernel, z: Tensor) -> Point:
    point = kernel.path.at(z)
    bad = ~(point.log_ratio < torch.inf)  # nan compares false
    if bad.any():
        c, n = bad.nonzero()[0].tolist()
        raise ArithmeticError(
            f"log p(x, z) = {point.log_joint[c, n].item()} and log q0(z) = {point.log_q0[c, n].item()} "
            f"at the start of chain {c} of datum {n} of its block."
        )
    return point
