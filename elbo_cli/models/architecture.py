"""What a network is made of: widths, activations, normalisations."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from elbo_cli.errors import UserError, choose

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "tanh": nn.Tanh,
    "relu": nn.ReLU,
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "softplus": nn.Softplus,
    "leaky_relu": nn.LeakyReLU,
}


GROUPS = 8  # of units of a layer, at most


def _layer_norm(width: int) -> list[nn.Module]:
    """Over all units of a datum: Ba et al. (2016)."""
    _refuse_constant("layer", width)
    return [nn.GroupNorm(1, width)]


def _group_norm(width: int) -> list[nn.Module]:
    """Over each of up to eight groups, of two units or more, of a datum: Wu and He (2018)."""
    _refuse_constant("group", width)
    return [nn.GroupNorm(max(g for g in range(1, GROUPS + 1) if width % g == 0 and width // g > 1), width)]


def _refuse_constant(norm: str, width: int) -> None:
    if width == 1:
        raise UserError(f"norm: {norm} makes a layer of one unit constant. Give it two or more, or type norm: none.")


# A batch's statistics are not among them: p(x | z) of a datum would depend on the others of its batch.
NORMS: dict[str, Callable[[int], list[nn.Module]]] = {
    "none": lambda width: [],
    "layer": _layer_norm,
    "group": _group_norm,
    "weight": lambda width: [],  # of the weights and not of the units: Salimans and Kingma (2016)
}


@dataclass(frozen=True, slots=True)
class Architecture:
    """What a network is made of: its kind, the widths of its layers, its activation and normalisation."""

    kind: str = "mlp"
    hidden: Sequence[int] = (200, 200)
    channels: Sequence[int] = (32, 64)
    activation: str = "tanh"
    norm: str = "none"
    modules: Callable[[], nn.Module] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "modules", choose(ACTIVATIONS, self.activation, "activation"))

    def activate(self, width: int) -> list[nn.Module]:
        """The normalisation and the activation behind a layer; `width` counts its outputs (channels, for a picture).

        Raises:
            UserError: a layer of one unit is to be normalised: there is nothing left of it then.
        """
        return [*choose(NORMS, self.norm, "normalisation")(width), self.modules()]

    def weigh(self, layer: nn.Module) -> nn.Module:
        """A layer, its weights as directions and lengths where that is the normalisation."""
        return weight_norm(layer) if self.norm == "weight" else layer
