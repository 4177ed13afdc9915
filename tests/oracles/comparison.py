"""How an exact answer is compared with an oracle: by its absolute error in nats, in float64."""

import torch
from torch import Tensor


def close(found: Tensor, truth: object, atol: float = 1e-10) -> None:
    torch.testing.assert_close(
        found, torch.as_tensor(truth, dtype=torch.float64), rtol=0, atol=atol, check_stride=False
    )
