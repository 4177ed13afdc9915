"""How the weight of the KL rises: beta(epoch), the same for every resumption because the epoch is all that it asks."""

import math
from collections.abc import Callable

Share = Callable[[int], float]  # epoch (1, 2, ...) -> the share of beta that it has, from 0 to 1
STEEP = 12.0  # of the sigmoid: it has 5 % after a quarter of the warm-up and 95 % after three


def linear(epochs: int, cycles: int) -> Share:
    """In equal steps from 0, to 1 at epoch `epochs` + 1. Sonderby et al. (2016). https://arxiv.org/abs/1602.02282."""
    return lambda epoch: min(1.0, (epoch - 1) / epochs)


def sigmoid(epochs: int, cycles: int) -> Share:
    """A logistic curve from 0, its middle at half the warm-up. Bowman et al. (2016). https://arxiv.org/abs/1511.06349.

    Stretched so that it begins at 0 and ends at 1 exactly, as the others do.
    """

    def logistic(t: float) -> float:
        return 1 / (1 + math.exp(-STEEP * (t - 0.5)))

    low, high = logistic(0.0), logistic(1.0)
    return lambda epoch: (logistic(min(1.0, (epoch - 1) / epochs)) - low) / (high - low)


def cyclical(epochs: int, cycles: int) -> Share:
    """Cycles of equal length, each from 0 to 1 in its first half and at 1 in its second; 1 after them.

    Fu et al. (2019), with R = 1/2. https://arxiv.org/abs/1903.10145
    """
    length = epochs / cycles
    return lambda epoch: 1.0 if epoch > epochs else min(1.0, 2 * math.fmod(epoch - 1, length) / length)


WARM_UPS: dict[str, Callable[[int, int], Share]] = {
    "linear": linear,
    "sigmoid": sigmoid,
    "cyclical": cyclical,
}


def warm_up(beta: float, epochs: int, schedule: str = "linear", cycles: int = 1) -> Callable[[int], float]:
    """beta(epoch) for epochs 1, 2, ...: the schedule's share of beta while it warms up, and beta afterwards.

    Args:
        beta: where it ends.
        epochs: of the warm-up; 0: none.
        schedule: a name in WARM_UPS.
        cycles: of the cyclical one.
    """
    if not epochs:
        return lambda epoch: beta
    share = WARM_UPS[schedule](epochs, cycles)
    return lambda epoch: beta * share(epoch)
