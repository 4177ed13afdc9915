"""Adam and AdamW by torch's own fused kernels, without `torch.optim`, whose first use imports a compiler for a second.

State, names and settings are those of torch.optim.Adam(fused=True): a checkpoint of one is a checkpoint of the other.
"""

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor

ALIGNED = 16  # floats to a cache line: a product runs faster on weights that begin at one


class Flat:
    """Tensors of the shapes of others, side by side in one buffer of zeros: one kernel does for all of them."""

    def __init__(self, like: Sequence[Tensor]) -> None:
        sizes = [-(-tensor.numel() // ALIGNED) * ALIGNED for tensor in like]
        self.whole = torch.zeros(sum(sizes), dtype=like[0].dtype, device=like[0].device)
        starts = accumulate(sizes[:-1], initial=0)
        self.parts = [self.whole[a : a + t.numel()].view(t.shape) for a, t in zip(starts, like, strict=True)]


class Adam:
    r"""Adam. Kingma and Ba (2015). https://arxiv.org/abs/1412.6980.

        m <- b1 m + (1 - b1) g,   v <- b2 v + (1 - b2) g^2
        w <- w - lr m / (1 - b1^t) / (sqrt(v / (1 - b2^t)) + eps)

    Args:
        parameters: float32 weights, all on one device (the CPU or CUDA).
        lr: learning rate; training sets it anew in `param_groups`, epoch by epoch.
        betas: b1 and b2.
        eps: added to the root.
        weight_decay: of AdamW: the share of lr w that is taken off the weights at each step.
    """

    kernel = staticmethod(torch._fused_adam_)  # what torch.optim.Adam(fused=True) calls

    def __init__(
        self,
        parameters: Sequence[Tensor],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        self.parameters = list(parameters)
        settings = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        self.param_groups: list[dict[str, Any]] = [{"params": self.parameters, **settings}]
        self.mean, self.square = Flat(self.parameters), Flat(self.parameters)
        self.steps = torch.zeros(len(self.parameters), device=self.parameters[0].device)
        self.first = self.steps[0]

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for parameter in self.parameters:
            parameter.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """Move every parameter that has a gradient."""
        moved = [i for i, parameter in enumerate(self.parameters) if parameter.grad is not None]
        gradients = [parameter.grad for parameter in self.parameters if parameter.grad is not None]
        every = (self.parameters, self.mean.parts, self.square.parts, list(self.steps.unbind()))
        weights, means, squares, steps = ([part[i] for i in moved] for part in every)
        torch._foreach_add_(steps, 1)
        self._move(weights, gradients, means, squares, steps)

    @torch.no_grad()
    def step_flat(self, weights: Flat, gradients: Flat) -> None:
        """Move all parameters at once, where `weights` holds them and `gradients` is in the same order."""
        self.steps.add_(1)
        self._move([weights.whole], [gradients.whole], [self.mean.whole], [self.square.whole], [self.first])

    def _move(self, weights: list[Tensor], gradients: list[Tensor], *state: list[Tensor]) -> None:
        means, squares, steps = state
        group = self.param_groups[0]
        (b1, b2), lr, decay, eps = (group[name] for name in ("betas", "lr", "weight_decay", "eps"))
        settings = {"lr": lr, "beta1": b1, "beta2": b2, "weight_decay": decay, "eps": eps}
        self.kernel(weights, gradients, means, squares, [], steps, amsgrad=False, maximize=False, **settings)

    def state_dict(self) -> dict[str, Any]:
        """Moments and counts by the parameter's number, empty for what never moved; as torch.optim gives them."""
        slots = zip(self.steps.unbind(), self.mean.parts, self.square.parts, strict=True)
        state = {
            i: {"step": t, "exp_avg": mean, "exp_avg_sq": square} for i, (t, mean, square) in enumerate(slots) if t > 0
        }
        group = {name: value for name, value in self.param_groups[0].items() if name != "params"}
        return {"state": state, "param_groups": [group | {"params": list(range(len(self.parameters)))}]}

    @torch.no_grad()
    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take moments and counts over, torch.optim's as well."""
        for i, slots in state_dict["state"].items():
            self.steps[i] = slots["step"]
            self.mean.parts[i].copy_(slots["exp_avg"])
            self.square.parts[i].copy_(slots["exp_avg_sq"])


class AdamW(Adam):
    """Adam with decoupled weight decay. Loshchilov and Hutter (2019). https://arxiv.org/abs/1711.05101."""

    kernel = staticmethod(torch._fused_adamw_)
