"""What a step needs where several processes learn from one batch: gradient, noise and means are the batch's.

Each rank has its own rows of every batch. Noise is drawn for the whole batch on each of them, from the same seed, and
each keeps its rows: so the same noise meets the same datum however many processes there are.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from elbo_cli.errors import UserError
from elbo_cli.ranks import ranks, summed


def pool(parameters: Iterable[nn.Parameter], n: int) -> None:
    """`pool_flat` for the gradients of parameters, where they are."""
    if ranks().size == 1:
        return
    held = [p.grad for p in parameters if p.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in held])
    pool_flat(flat, n)
    for gradient, piece in zip(held, torch.split(flat, [g.numel() for g in held]), strict=True):
        gradient.copy_(piece.view_as(gradient))


def pool_flat(gradient: Tensor, n: int) -> None:
    """Turn the gradient of the mean over this rank's n data into that of the mean over the whole batch, on every rank.

        g = sum_r n_r g_r / sum_r n_r

    One message of all gradients: the networks of a VAE fit one bucket, and a model here is three distributions that no
    single forward calls, which is what DistributedDataParallel would have to wrap.
    """
    if ranks().size > 1:
        total = summed(torch.cat([gradient, gradient.new_ones(1)]) * n)
        torch.div(total[:-1], total[-1], out=gradient)


def centred(rows: Tensor) -> Tensor:
    """The rows [n, D] of this rank, moved so that their mean is that of the whole batch; gradients are as they were."""
    if ranks().size == 1:
        return rows
    n = rows.new_full((1,), len(rows))
    total = summed(torch.cat([rows.detach().sum(0), n]))
    return rows + (total[:-1] / total[-1] - rows.detach().mean(0))


def own_rows(B: int) -> slice:
    """Which rows of a batch of B are this rank's; of one with fewer data than ranks, which only the last is, all."""
    return ranks().rows(B) if ranks().size <= B else slice(0, B)


def own_sums(sums: Tensor, B: int) -> Tensor:
    """A rank's sums over its rows of a batch of B, to be added up: of rows that all have, the first rank's count."""
    return sums if ranks().size <= B or ranks().first else torch.zeros_like(sums)


def own_noise(B: int) -> AbstractContextManager[object]:
    """Draw z [K, B, ...] inside for a batch of B, and keep this rank's rows of it."""
    return nullcontext() if ranks().size == 1 else RowsOfNoise(torch.arange(B)[own_rows(B)], B)


class RowsOfNoise(TorchFunctionMode):
    """Inside, every tensor of noise [K, n, ...] is drawn as [K, total, ...], of which the rows `own` [n] are kept.

    A torch.distributions that is reparameterised draws by a function of `DRAWN`, with sample and batch axes first.
    """

    def __init__(self, own: Tensor, total: int) -> None:
        super().__init__()
        self.own, self.total = own, total

    def __torch_function__(
        self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Torch calls it in the place of each of its functions."""
        given = dict(kwargs or {})
        if func in UNSHARED:
            raise UserError(f"q(z | x) draws by {func.__name__}, which processes cannot share. Train in one process.")
        return DRAWN[func](self, args, given) if func in DRAWN else func(*args, **given)

    def wide(self, shape: Sequence[int]) -> list[int]:
        """The shape with all rows."""
        K, n, *event = shape
        assert n == len(self.own), f"noise {tuple(shape)} has no {len(self.own)} rows"
        return [K, self.total, *event]

    def kept(self, drawn: Tensor) -> Tensor:
        """The rows that are kept."""
        return drawn.index_select(1, self.own.to(drawn.device))


Drawn = Callable[[RowsOfNoise, tuple[Any, ...], dict[str, Any]], Tensor]


def _of_size(function: Callable[..., Tensor]) -> Drawn:
    def drawn(rows: RowsOfNoise, args: tuple[Any, ...], given: dict[str, Any]) -> Tensor:
        shape = given.pop("size", args[0] if len(args) == 1 and not isinstance(args[0], int) else args)
        return rows.kept(function(rows.wide(shape), **given))

    return drawn


def _like(function: Callable[..., Tensor]) -> Drawn:
    def drawn(rows: RowsOfNoise, args: tuple[Any, ...], given: dict[str, Any]) -> Tensor:
        return rows.kept(function(args[0].new_empty(rows.wide(args[0].shape)), **given))

    return drawn


def _in_place(method: Callable[..., Tensor]) -> Drawn:
    def drawn(rows: RowsOfNoise, args: tuple[Any, ...], given: dict[str, Any]) -> Tensor:
        into, *more = args
        copied: Tensor = into.copy_(rows.kept(method(into.new_empty(rows.wide(into.shape)), *more, **given)))
        return copied

    return drawn


def _normal(rows: RowsOfNoise, args: tuple[Any, ...], given: dict[str, Any]) -> Tensor:
    """torch.normal(mean, std) of two tensors, which torch computes so too."""
    mean, std = args
    noise: Tensor = rows.kept(mean.new_empty(rows.wide(mean.shape)).normal_()) * std + mean
    return noise


DRAWN: dict[Any, Drawn] = {
    torch.rand: _of_size(torch.rand),
    torch.randn: _of_size(torch.randn),
    torch.rand_like: _like(torch.rand_like),
    torch.randn_like: _like(torch.randn_like),
    torch.normal: _normal,
    Tensor.normal_: _in_place(Tensor.normal_),
    Tensor.uniform_: _in_place(Tensor.uniform_),
    Tensor.exponential_: _in_place(Tensor.exponential_),
}

UNSHARED = {torch.bernoulli, torch.multinomial, torch.poisson, torch.randint, torch.randperm, torch._standard_gamma}
UNSHARED |= {
    Tensor.bernoulli_,
    Tensor.cauchy_,
    Tensor.log_normal_,
    Tensor.geometric_,
    Tensor.random_,
    Tensor.multinomial,
}
