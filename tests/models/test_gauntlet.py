"""Every q(z|x) and p(z) against integrals over a grid of two latents: densities, draws, KL, log p(x), shapes, types."""

import math
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor
from torch.distributions import Distribution

from elbo_cli.bounds.draws import closed_form_kl, draw, weigh
from elbo_cli.bounds.lower import elbo, iwae
from elbo_cli.gap.proposals.mixture import Component, Mixture
from elbo_cli.models.flows import FlowNormal
from elbo_cli.models.vae import VAE
from tests.models.families import ALL, POSTERIORS, PRIORS, pixels, vae
from tests.statistics import outside, within

CELLS = 300  # of a grid, along each latent; the rule of midpoints errs by the square of a cell
REACH = 9.0  # standard deviations of the draws that it goes out to


@dataclass(frozen=True)
class Grid:
    """Midpoints of cells over two latents, for one distribution with batch []."""

    z: Tensor  # [G, 2]
    area: float
    edges: Tensor  # [CELLS + 1, 2]

    @classmethod
    def around(cls, draws: Tensor) -> "Grid":
        """A grid that holds the draws [n, 2] with room to spare."""
        loc, reach = draws.mean(0), REACH * draws.std(0)
        edges = torch.stack(
            [torch.linspace(float(m - r), float(m + r), CELLS + 1).double() for m, r in zip(loc, reach, strict=True)], 1
        )
        middle = (edges[1:] + edges[:-1]) / 2
        sides = edges[1] - edges[0]
        return cls(torch.cartesian_prod(middle[:, 0], middle[:, 1]), float(sides.prod()), edges)

    def mass(self, log_p: Tensor) -> Tensor:
        """The integral of exp log_p [G, ...] over each cell."""
        return log_p.exp() * self.area

    def below(self, mass: Tensor, row: int, column: int) -> float:
        """The mass in z_1 < edge `row` and z_2 < edge `column`."""
        return float(mass.view(CELLS, CELLS)[:row, :column].sum())


def q_of(name: str, n: int = 0) -> tuple[VAE, Distribution]:
    """A model and its q(z | x) of one datum, batch [1]."""
    model = vae(POSTERIORS[name])
    return model, model.posterior(pixels(n + 3)[n + 2 :])


def p_of(name: str) -> tuple[VAE, Distribution]:
    model = vae(PRIORS[name])
    return model, model.prior()


EVERY: dict[str, Callable[[], tuple[VAE, Distribution]]] = {
    **{f"q: {name}": lambda name=name: q_of(name) for name in POSTERIORS},  # type: ignore[misc]
    **{f"p: {name}": lambda name=name: p_of(name) for name in PRIORS},  # type: ignore[misc]
}


def log_prob(d: Distribution, z: Tensor) -> Tensor:
    """At z [G, 2], [G]."""
    return (d.log_prob(z.unsqueeze(1)) if d.batch_shape else d.log_prob(z)).view(len(z))


@pytest.mark.parametrize("name", EVERY)
@torch.no_grad()
def test_a_density_integrates_to_one_and_its_draws_are_of_it(name: str) -> None:
    """The share of 40,000 draws in each of nine quadrants, resolved to 0.012; a density with its sigmas off by a fifth,
    or its latents exchanged, is seen.
    """
    _, d = EVERY[name]()
    z = d.sample(torch.Size([40_000])).view(-1, 2)
    grid = Grid.around(z)
    mass = grid.mass(log_prob(d, grid.z))
    assert abs(float(mass.sum()) - 1) < 3e-3
    corners = [(r, c) for r in quantiles(grid, z, 0) for c in quantiles(grid, z, 1)]
    inside = torch.stack([((z < torch.stack([grid.edges[r, 0], grid.edges[c, 1]])).all(1)) for r, c in corners], 1)
    truth = torch.tensor([grid.below(mass, r, c) for r, c in corners]).double()
    within(inside.double(), truth, resolve=0.012)
    wider = z.mean(0) + 1.2 * (z - z.mean(0))
    wrong = torch.stack([((wider < torch.stack([grid.edges[r, 0], grid.edges[c, 1]])).all(1)) for r, c in corners], 1)
    outside(wrong.double(), truth)


def quantiles(grid: Grid, z: Tensor, axis: int) -> list[int]:
    """The edges nearest to the quartiles of some draws."""
    levels = torch.quantile(z[:, axis], torch.tensor([0.25, 0.5, 0.75], dtype=z.dtype))
    return [int((grid.edges[:, axis] - level).abs().argmin()) for level in levels]


@pytest.mark.parametrize("name", POSTERIORS)
def test_the_density_of_a_draw_is_that_of_its_copy(name: str) -> None:
    """A remembered draw has the density that is computed back from its numbers, and the same gradient."""
    model, q = q_of(name)
    z = q.rsample(torch.Size([50]))
    kept, fresh = q.log_prob(z), q.log_prob(z.view_as(z))
    torch.testing.assert_close(kept, fresh, rtol=0, atol=1e-9)
    weights = [*model.encoder.parameters(), *model.family.parameters()]
    ours, theirs = (torch.autograd.grad(value.sum(), weights, retain_graph=True) for value in (kept, fresh))
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-7)


@pytest.mark.parametrize("name", POSTERIORS)
def test_a_draw_made_without_gradients_is_not_remembered_where_they_are_wanted(name: str) -> None:
    _, q = q_of(name)
    z = q.sample(torch.Size([3]))
    assert q.log_prob(z).requires_grad


@pytest.mark.parametrize("name", POSTERIORS)
@torch.no_grad()
def test_its_kl_is_the_integral_and_the_closed_form_where_there_is_one(name: str) -> None:
    """KL(q || p) over a grid: >= 0, what draws average to, and what the formula says."""
    model, q = q_of(name)
    draws = draw(model, pixels(3)[2:].expand(20_000, -1), 1)
    grid = Grid.around(draws.z.reshape(-1, 2))
    log_q = log_prob(q, grid.z)
    kl = float((grid.mass(log_q) * (log_q - model.prior().log_prob(grid.z))).sum())
    assert kl > 0
    within((draws.log_qz_x - draws.log_pz).view(-1, 1), kl, resolve=0.1)
    outside((draws.log_pz - draws.log_qz_x).view(-1, 1), kl)
    closed = closed_form_kl(q, model.prior())
    assert (closed is not None) == (name in ("diagonal_normal", "lowrank_normal", "full_normal"))
    if closed is not None:
        assert closed.item() == pytest.approx(kl, abs=2e-4)


@pytest.mark.parametrize("name", ALL)
@torch.no_grad()
def test_weights_average_to_the_integral_over_z(name: str) -> None:
    """E[w] = p(x) under q with a share of the prior, whose weights are bounded, and E_q[log w] is the ELBO, all by one
    grid. Weights that leave the draws' own density out are seen.
    """
    model, x = vae(ALL[name]), pixels(12)[11:]
    grid = Grid.around(torch.cat([model.posterior(x).sample((500,)).view(-1, 2), model.prior().sample((500,))]))
    log_pxz = model.likelihood(grid.z).log_prob(x.expand(len(grid.z), -1)) + model.prior().log_prob(grid.z)
    log_px, log_q = float(grid.mass(log_pxz).sum().log()), log_prob(model.posterior(x), grid.z)
    many = x.expand(4_000, -1)
    own = draw(model, many, 16)
    truth = float((grid.mass(log_q) * (log_pxz - log_q)).sum())
    within(elbo(own).view(-1, 1), truth, resolve=0.03 * abs(truth))
    mixture = Mixture((Component(model.posterior(many), 0.7), Component(model.prior(), 0.3)))
    z = mixture.sample(8, len(many))
    draws = weigh(model, many, z, mixture.log_prob(z))
    within((iwae(draws) - log_px).exp().view(-1, 1), 1.0, resolve=0.1)
    wrong = replace(draws, log_qz_x=torch.zeros_like(draws.log_pz))
    outside((iwae(wrong) - log_px).exp().view(-1, 1), 1.0)


@pytest.mark.parametrize("name", ALL)
def test_gradients_reach_every_parameter(name: str) -> None:
    model = vae(ALL[name])
    draws = draw(model, pixels(20), 3)
    (-iwae(draws).mean()).backward()
    for which, parameter in model.named_parameters():
        assert parameter.grad is not None, which
        assert parameter.grad.isfinite().all(), which
        assert parameter.grad.abs().sum() > 0, which


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", ALL)
def test_shapes_and_types_are_those_of_the_waist_and_nothing_is_made_elsewhere(name: str, dtype: torch.dtype) -> None:
    """Within the `meta` device whatever is made without a device of its own is made there, and cannot meet the data."""
    model, x = vae(ALL[name]).to(dtype), pixels(6).to(dtype)
    with torch.device("meta"):
        q, p = model.posterior(x), model.prior()
        z = q.rsample(torch.Size([4]))
        drawn = p.sample(torch.Size([7, 3]))
        densities = (q.log_prob(z), q.log_prob(z.clone()), p.log_prob(z), p.log_prob(drawn))
    assert (q.batch_shape, q.event_shape, p.batch_shape, p.event_shape) == ((6,), (2,), (), (2,))
    assert (z.shape, drawn.shape) == ((4, 6, 2), (7, 3, 2))
    assert [tuple(density.shape) for density in densities] == [(4, 6), (4, 6), (4, 6), (7, 3)]
    for value in (z, drawn, *densities):
        assert (value.dtype, value.device.type) == (dtype, "cpu")
        assert value.isfinite().all()
    assert p.sample().shape == (2,)


@pytest.mark.parametrize("name", ALL)
def test_its_weights_are_all_of_its_state(name: str) -> None:
    """A twin with other weights becomes the same model by its state alone, which shares no memory within itself."""
    model, twin = vae(ALL[name]), vae(ALL[name], seed=1)
    x, z = pixels(4), torch.randn(3, 4, 2, dtype=torch.float64)
    assert not torch.allclose(model.posterior(x).log_prob(z), twin.posterior(x).log_prob(z))
    state = model.state_dict()
    assert len({tensor.data_ptr() for tensor in state.values()}) == len(state)
    twin.load_state_dict(state)
    torch.testing.assert_close(model.posterior(x).log_prob(z), twin.posterior(x).log_prob(z), rtol=0, atol=0)
    torch.testing.assert_close(model.prior().log_prob(z), twin.prior().log_prob(z), rtol=0, atol=0)


@pytest.mark.parametrize("kind", ["realnvp", "nsf", "maf"])
@pytest.mark.parametrize("D", [1, 2, 5])
def test_a_flow_begins_at_the_normal_that_it_bends(kind: str, D: int) -> None:
    """As q it starts as the diagonal normal of the same numbers, as p as N(0, I): one latent too."""
    from elbo_cli.models.choices import Choices
    from elbo_cli.models.posteriors import POSTERIORS as FAMILIES
    from elbo_cli.models.priors import PRIORS as OURS

    choices = Choices(flow=kind, transforms=3)
    flow = FAMILIES["flow"](D, choices).double()
    numbers, z = torch.randn(4, 3 * D).double(), torch.randn(6, 4, D).double()
    plain = FAMILIES["diagonal_normal"](D, choices).distribution(numbers[:, : 2 * D])
    torch.testing.assert_close(flow.distribution(numbers).log_prob(z), plain.log_prob(z), rtol=0, atol=1e-12)
    p = OURS["flow"](D, choices).double()(lambda x: plain)
    assert isinstance(p, FlowNormal)
    expected = -0.5 * z.square().sum(-1) - 0.5 * D * math.log(2 * math.pi)
    torch.testing.assert_close(p.log_prob(z), expected, rtol=0, atol=1e-12)
    assert p.sample(torch.Size([3])).shape == (3, D)


def test_a_flow_leaves_torchs_checks_as_they_were() -> None:
    """In a process of its own: importing zuko turns them off, for every distribution and for good."""
    text = (
        "import torch, {}\n"
        "from torch.distributions import Bernoulli\n"
        "Bernoulli(logits=torch.zeros(1)).log_prob(torch.tensor([0.5]))"
    )
    ours = "elbo_cli.models.flows; elbo_cli.models.flows.need_zuko('it')"
    theirs, own = (subprocess.run([sys.executable, "-c", text.format(it)], stderr=-1) for it in ("zuko", ours))
    assert theirs.returncode == 0, "blind: zuko leaves them alone"
    assert b"support" in own.stderr
