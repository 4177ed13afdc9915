"""What families of p(z) and q(z | x) may be told beside the number of latents."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, slots=True)
class Choices:
    """A config's choices for the families that know them."""

    rank: int = 5  # of a low-rank covariance
    components: int = 50  # of a mixture; pseudo-inputs of a VampPrior
    pseudo_inputs: Tensor | None = None  # where these begin, [components, *shape of a datum]
    flow: str = "realnvp"
    transforms: int = 4
    flow_hidden: Sequence[int] = (64, 64)
