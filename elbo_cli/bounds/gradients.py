"""Estimators of the gradient of a bound, as functions of draws: the number is the bound's, the gradient its own."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from torch import Tensor

from elbo_cli.bounds.draws import Draws
from elbo_cli.bounds.lower import BOUNDS, elbo, iwae


def sticking_elbo(draws: Draws) -> Tensor:
    r"""The ELBO whose gradient reaches q through z alone: sticking the landing.

        1/K sum_k log w_k,    d log q / d phi  =  (d log q / d z) (dz / d phi)

    The score, d log q(z | x) / d phi at a fixed z, has expectation 0 and is left out; at q = p(z | x) nothing else is
    left, so the gradient of the encoder is 0 for every draw. Unbiased. The closed KL is not used: its gradient has no
    draws in it that could cancel those of log p(x | z).

    Args:
        draws: K draws, whose log q(z | x) is of their path alone (`draw(..., path=True)`).

    Returns:
        The ELBO in nats, [N].

    Reference: Roeder, Wu and Duvenaud (2017). https://arxiv.org/abs/1703.09194
    """
    return elbo(replace(draws, kl=None))


def dreg(draws: Draws) -> Tensor:
    r"""L_K with the doubly reparameterised gradient: unbiased, and its signal-to-noise rises with K.

        encoder: sum_k v_k^2 (d log w_k / d z_k) (dz_k / d phi)       decoder: sum_k v_k d log w_k / d theta

    with v_k = w_k / sum_j w_j. The number is L_K; the surrogate sum_k v_k log w_k lends its gradient alone, and a hook
    on z multiplies what comes back through it by v once more. Of tempered draws it is by 1 - beta + beta v: the score
    that the second reparameterisation turns into a path comes beta times.

    Args:
        draws: K draws, whose log q(z | x) is of their path alone (`draw(..., path=True)`). To be used once: the hook
            stays on z.

    Returns:
        L_K in nats, [N].

    Reference: Tucker et al. (2018). https://arxiv.org/abs/1810.04152
    """
    v = draws.log_w.detach().softmax(0)
    if draws.z.requires_grad:  # not where only the decoder is trained
        again = (1 - draws.beta + draws.beta * v).unsqueeze(-1).to(draws.z.dtype)
        # z itself: a hook on a copy never fires
        draws.z.register_hook(lambda gradient: again * gradient)  # type: ignore[no-untyped-call]
    surrogate = (v * draws.log_w).sum(0)
    return iwae(draws).detach() + surrogate - surrogate.detach()


@dataclass(frozen=True, slots=True)
class Gradient:
    """An estimator: for each bound that it knows, a function of draws whose number is the bound."""

    of: Mapping[str, Callable[[Draws], Tensor]]
    path: bool = True  # whether it wants log q(z | x) of the path alone


GRADIENTS: dict[str, Gradient] = {
    "standard": Gradient({name: bound.estimate for name, bound in BOUNDS.items()}, path=False),
    "stl": Gradient({"elbo": sticking_elbo, "iwae": iwae}),  # of L_K with K > 1 it is biased: Tucker et al. (2018)
    "dreg": Gradient({"iwae": dreg}),
}
