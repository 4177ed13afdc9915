"""The product of matrices gives what each family's own log_prob gives."""

import pytest
import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, Normal

from elbo_cli.gap.exact.crossed import CROSSED, crossed
from elbo_cli.models.likelihoods import LIKELIHOODS, Options
from elbo_cli.models.pixels import BernoulliLogits
from tests.oracles.comparison import close

SHAPE = (2, 3)
OPTIONS = {"gaussian": ["shared", "per_pixel", 1e-3], "categorical": ["shared"]}


def px_z_and_x(name: str, sigma: float | str, dtype: torch.dtype) -> tuple[Distribution, Tensor]:
    """p(x | z) of five z, batch [5, 1], and seven x that it gives."""
    likelihood = LIKELIHOODS[name](SHAPE, Options(sigma, levels=4)).to(dtype)
    with torch.no_grad():
        for parameter in likelihood.parameters():
            parameter.add_(torch.linspace(0.0, 0.5, parameter.numel(), dtype=dtype).view(parameter.shape))
    px_z = likelihood.distribution(torch.randn(5, 1, likelihood.outputs, *SHAPE, dtype=dtype))
    return px_z, px_z.sample((7,))[:, 0, 0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("name", "sigma"), [(n, s) for n in LIKELIHOODS for s in OPTIONS.get(n, ["shared"])])
def test_every_likelihood_gives_every_x_at_every_z(name: str, sigma: float | str, dtype: torch.dtype) -> None:
    px_z, x = px_z_and_x(name, sigma, dtype)
    each = torch.stack([px_z.log_prob(datum) for datum in x], -1)[:, 0]
    torch.testing.assert_close(crossed(px_z, x), each, rtol=1e-5 if dtype == torch.float32 else 1e-10, atol=1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_product_is_for_two_families_in_float64_alone(monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype) -> None:
    taken = []
    for family in list(CROSSED):
        monkeypatch.setitem(CROSSED, family, lambda px_z, x: taken.append(type(px_z)) or torch.zeros(()))
    for name in LIKELIHOODS:
        crossed(*px_z_and_x(name, "shared", dtype))
    assert taken == (list(CROSSED) if dtype == torch.float64 else [])


def test_a_foreign_family_broadcasts_by_itself() -> None:
    z, x = torch.randn(5, 1, 3, dtype=torch.float64), torch.randn(7, 3, dtype=torch.float64)
    normal = Independent(Normal(z, 0.3), 1)
    close(crossed(normal, x), normal.log_prob(x))


def test_means_far_from_zero_and_a_narrow_sigma_do_not_cancel() -> None:
    likelihood = LIKELIHOODS["gaussian"](SHAPE, Options(1e-4)).double()
    mean = 3.0 + 1e-4 * torch.randn(5, 1, 1, *SHAPE, dtype=torch.float64)
    x = 3.0 + 1e-4 * torch.randn(7, *SHAPE, dtype=torch.float64)
    px_z = likelihood.distribution(mean)
    close(crossed(px_z, x), px_z.log_prob(x), atol=1e-10)


def test_large_logits_lose_nothing() -> None:
    """softplus(l) - l is 2e-9 at a logit of 20, where torch's own begins to leave it out: of each pixel."""
    px_z = LIKELIHOODS["bernoulli"](SHAPE, Options("shared")).double().distribution(torch.full((1, 1, 1, *SHAPE), 20.5))
    px_z = BernoulliLogits(px_z.logits.double(), 2)
    close(crossed(px_z, torch.ones(2, *SHAPE).double()), px_z.log_prob(torch.ones(2, *SHAPE).double()), atol=1e-12)
