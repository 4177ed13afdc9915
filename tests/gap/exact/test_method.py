"""`--method exact`: the truth where it can be had, and no claim to it where it cannot."""

import copy
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import (
    Bernoulli,
    Categorical,
    Cauchy,
    Distribution,
    Independent,
    MixtureSameFamily,
    Normal,
    Poisson,
    TransformedDistribution,
    Uniform,
)
from torch.distributions.transforms import AffineTransform

from elbo_cli import build
from elbo_cli import config as configs
from elbo_cli.bounds.draws import LatentVariableModel, draw
from elbo_cli.data.split import Split
from elbo_cli.errors import RunError, UserError
from elbo_cli.gap.exact import method as exact_module
from elbo_cli.gap.exact import quadrature
from elbo_cli.gap.exact.method import applies, exact
from elbo_cli.gap.importance import importance
from elbo_cli.gap.settings import Settings
from elbo_cli.models.vae import VAE
from elbo_cli.records import GapFindings, GapRow, Interval
from elbo_cli.training.loop import fit
from tests.gap.exact.test_closed_form import density, linear_vae
from tests.oracles import (
    Funnel,
    GapOracle,
    LinearGaussian,
    MissedMode,
    Oracle,
    Ring,
    Spike,
    TwoLatentMLP,
    WithPosterior,
    both_modes,
    random_linear_gaussian,
)
from tests.oracles.comparison import close
from tests.oracles.oracle import diagonal_normal, independent


class Double(Split):
    """Data as the oracles have them."""

    def batch(self, index: Tensor) -> Tensor:
        assert isinstance(self.values, Tensor)
        return self.values[index]


def run(model: LatentVariableModel, data: Tensor | Split, **settings: object) -> GapFindings:
    split = data if isinstance(data, Split) else Double("test", data, "oracle")
    work = exact(model, split, Settings(**settings))  # type: ignore[arg-type]
    while True:
        try:
            tick = next(work)
        except StopIteration as stop:
            assert tick.done == tick.total == len(split)
            found: GapFindings = stop.value
            return found


def column(found: GapFindings, name: str) -> Tensor:
    return torch.tensor([getattr(row, name) for row in found.rows], dtype=torch.float64)


ORACLES: dict[str, Callable[[], GapOracle]] = {
    "a network": TwoLatentMLP,
    "a network with a crude q": lambda: TwoLatentMLP(shift=0.5, scale=0.4),
    "two modes, of which q holds one": MissedMode,
    "a ring, q a spot on it": Ring,
    "a ring, q over all of it": lambda: Ring(wide=True),
    "a spike where nothing points to it": lambda: Spike(1, centre=2.11),
    "a line": lambda: random_linear_gaussian(8, 1, sigma=0.3),
    "a plane": lambda: random_linear_gaussian(8, 2, shift=0.4, scale=0.7),
    "a plane, seen sharply": lambda: random_linear_gaussian(8, 2, sigma=0.01),
}


@pytest.mark.parametrize("name", ORACLES)
def test_the_trapezoid_is_exact_on_every_oracle_of_one_or_two_latents(name: str) -> None:
    model = ORACLES[name]()
    x = model.data(6)
    assert applies(model, x) == "trapezoid"
    found = run(model, x)
    close(column(found, "log_px"), model.log_px(x), atol=2e-9)  # as far as the oracles go where all is sharp
    close(column(found, "elbo"), model.elbo(x), atol=2e-9)
    close(column(found, "gap"), model.gap(x), atol=2e-9)
    assert found.verdict.word == "resolved"
    assert found.error == pytest.approx(2e-6, rel=0.3)


@pytest.mark.parametrize("name", ["funnel", "steep funnel", "spike"])
def test_where_a_grid_cannot_follow_the_error_is_said_and_holds(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quadrature, "MOST", 2**17)
    model = {"funnel": Funnel(2), "steep funnel": Funnel(2, c=2.0), "spike": Spike(2, centre=2.0437)}[name]
    x = model.data(6)
    with torch.no_grad():
        found = exact_module._trapezoid(model, x, Settings(), 0)
    assert (found.error > 1e-5).any()
    for value, truth in ((found.log_px, model.log_px(x)), (found.elbo, model.elbo(x)), (found.gap, model.gap(x))):
        assert ((value - truth).abs() <= found.error).all()


def test_an_error_above_the_tolerance_is_partial_and_names_another_method(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quadrature, "MOST", 2**14)
    found = run(Spike(2, centre=2.0437), Spike(2).data(3))
    assert found.verdict.word == "partial"
    assert "3 of 3 data need a finer grid" in found.verdict.reason
    assert found.verdict.advice == "--method importance"
    assert found.error == math.inf
    assert found.certified.log_px_at_least is None
    assert found.certified.gap_at_least is None
    assert "does not come to rest" in found.certified.withheld


def test_a_decoder_with_kinks_is_integrated_to_its_stated_error() -> None:
    """A ReLU network over the line, against a grid of 80,001 points."""
    net = nn.Sequential(nn.Linear(1, 64), nn.ReLU(), nn.Linear(64, 12)).double()
    with torch.no_grad():
        net[0].bias.mul_(3)
        net[2].weight.mul_(8)
    line = diagonal_normal(torch.zeros(1, dtype=torch.float64), 1.0)
    model = Foreign(1, line, lambda z: independent(Bernoulli(logits=net(z), validate_args=False)))
    x = torch.bernoulli(torch.full((5, 12), 0.5, dtype=torch.float64))
    z = torch.linspace(-10, 10, 80_001, dtype=torch.float64)[:, None, None]
    with torch.no_grad():
        log_joint = torch.cat([model.likelihood(z).log_prob(datum) for datum in x], 1) + line.log_prob(z)
        found = exact_module._trapezoid(model, x, Settings(), 0)
    truth = log_joint.logsumexp(0) + math.log(20 / 80_000)
    assert ((found.log_px - truth).abs() < found.error).all()
    assert (found.log_px - truth).abs().max() > 1e-8  # kinks they are
    assert found.error.max() < 4e-4


@pytest.mark.parametrize("sigma", [0.3, "shared", "per_pixel"])
def test_a_linear_gaussian_vae_is_in_closed_form(sigma: float | str) -> None:
    model, x = linear_vae(5, sigma), torch.randn(150, 2, 4, dtype=torch.float64)
    assert applies(model, x) == "closed form"
    found = run(model, x)
    close(column(found, "log_px"), density(model).log_prob(x.flatten(1)))
    with torch.no_grad():
        log_w = draw(model, x, 4000).log_w
    off = (log_w.mean(0) - column(found, "elbo")) / (log_w.std(0) / 4000**0.5)
    assert off.abs().max() < 5
    assert off.std() < 1.2  # a systematic error would widen it
    assert found.verdict.resolved
    assert "closed form" in found.verdict.reason
    assert found.error is not None
    assert found.error < 1e-10
    assert found.decodes == 0
    assert found.approximation_gap is not None
    assert found.amortisation_gap is not None
    assert found.approximation_gap.mean + found.amortisation_gap.mean == pytest.approx(found.gap.mean)
    assert 0 < found.approximation_gap.mean < found.gap.mean


def test_closed_form_and_trapezoid_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    model, x = linear_vae(2), torch.randn(5, 2, 4, dtype=torch.float64)
    closed = run(model, x)
    monkeypatch.setattr(exact_module, "linear_gaussian", lambda model: None)
    grid = run(model, x)
    assert "trapezoid" in grid.verdict.reason
    for name in ("log_px", "elbo", "gap"):
        close(column(grid, name), column(closed, name), atol=1e-9)


@pytest.mark.parametrize("D", [2, 4])
def test_a_q_that_is_no_normal_leaves_log_px_in_closed_form(D: int) -> None:
    """The ELBO is then an integral over two latents, and over four the mean of draws, with the error of draws."""

    def mixture(parameters: Tensor) -> Distribution:
        mu, log_sigma = parameters.chunk(2, -1)
        loc = mu.unsqueeze(-2) + torch.tensor([[-0.5], [0.5]], dtype=mu.dtype)
        parts = diagonal_normal(loc, 0.5 * log_sigma.exp().unsqueeze(-2).expand_as(loc))
        return MixtureSameFamily(Categorical(torch.ones(*mu.shape[:-1], 2)), parts, validate_args=False)

    model, x = linear_vae(D), torch.randn(5, 2, 4, dtype=torch.float64)
    model.family.distribution = mixture
    found = run(model, x)
    close(column(found, "log_px"), density(model).log_prob(x.flatten(1)))
    log_w = draw(model, x, 20_000).log_w.detach()
    se = (log_w.std(0) / 20_000**0.5).square() + column(found, "se_elbo").square()
    assert ((log_w.mean(0) - column(found, "elbo")).abs() < 5 * se.sqrt()).all()
    assert (column(found, "se_elbo") > 0).all() == (D > 2)
    assert found.approximation_gap is None


DIGITS = """
data: {name: digits, valid: 100, test: 60}
model: {latent_dim: 2, encoder: {hidden: [64]}, decoder: {hidden: [64]}}
optim: {lr: 0.01}
train: {epochs: 8, batch_size: 100, gap_every: 0}
"""


@pytest.fixture(scope="module")
def digits() -> tuple[VAE, Split]:
    experiment = build.experiment(configs.loads(DIGITS, source="digits"))
    for _ in fit(experiment):
        pass
    return experiment.model.eval(), experiment.data.test


@pytest.fixture(scope="module")
def truth(digits: tuple[VAE, Split]) -> GapFindings:
    return run(*digits)


def test_importance_sampling_meets_the_truth_on_a_vae_trained_on_digits(
    digits: tuple[VAE, Split], truth: GapFindings
) -> None:
    work = importance(*digits, Settings(K=500))
    while True:
        try:
            next(work)
        except StopIteration as stop:
            sampled = stop.value
            break
    assert truth.gap.mean > 0.05
    for name, resolve in (("log_px", 0.01), ("elbo", 0.05), ("gap", 0.05)):
        there, here = getattr(sampled, name), getattr(truth, name)
        assert 4 * there.se_mc < resolve
        assert abs(there.mean - here.mean) < 4 * there.se_mc + 1e-4  # float32 networks there, float64 here
    off = torch.tensor([(s.log_px - t.log_px) / s.se_log_px for s, t in zip(sampled.rows, truth.rows, strict=True)])
    assert off.abs().max() < 5
    shifted = torch.tensor(
        [(s.log_px - t.log_px - 0.05) / s.se_log_px for s, t in zip(sampled.rows, truth.rows, strict=True)]
    )
    assert shifted.abs().max() > 5


def test_digits_by_a_plain_grid_are_the_same(digits: tuple[VAE, Split], truth: GapFindings) -> None:
    """361^2 points and no cleverness: the integral as anyone would write it."""
    model, split = digits
    x = next(split.blocks(4)).double()
    axis, total = torch.linspace(-9, 9, 361, dtype=torch.float64), torch.full((4,), -math.inf, dtype=torch.float64)
    model = copy.deepcopy(model).double()
    with torch.no_grad():
        for first in axis:
            z = torch.stack([first.expand(361), axis], -1).unsqueeze(1)
            log_joint = model.likelihood(z).log_prob(x) + model.prior().log_prob(z)
            total = torch.logaddexp(total, log_joint.logsumexp(0))
    close(total + 2 * math.log(18 / 360), column(truth, "log_px")[:4], atol=1e-8)


def test_the_answer_depends_on_neither_seed_nor_memory_nor_company(
    digits: tuple[VAE, Split], truth: GapFindings, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, split = digits
    monkeypatch.setattr(exact_module, "BLOCK", 7)
    other = run(model, split.first(10), seed=5, rows=64, K=7)
    for name in ("log_px", "elbo", "gap"):
        close(column(other, name), column(truth, name)[:10], atol=1e-10)


def test_the_model_and_its_precision_are_left_as_they_were(digits: tuple[VAE, Split]) -> None:
    model, split = digits
    before = {name: value.clone() for name, value in model.state_dict().items()}
    run(model, split.first(2))
    for name, value in model.state_dict().items():
        assert value.dtype == torch.float32
        assert torch.equal(value, before[name])


def test_the_record_says_what_is_exact_about_it(truth: GapFindings) -> None:
    assert truth.method == "exact"
    assert truth.samples == 0
    assert truth.examples == len(truth.rows) == 60
    assert truth.log_px.se_mc == truth.elbo.se_mc == truth.gap.se_mc == 0.0
    assert truth.log_px.se_data > 0
    assert truth.curve == ()
    assert (truth.rho, truth.khat_median, truth.ess, truth.jackknife) == (None, None, None, None)
    assert truth.decodes is not None
    assert truth.decodes > 100
    row = truth.rows[7]
    assert isinstance(row, GapRow)
    assert (row.index, row.se_log_px, row.samples) == (7, 0.0, 0)
    assert math.isnan(row.khat)
    assert row.gap == pytest.approx(row.log_px - row.elbo)
    assert truth.gap.mean == pytest.approx(truth.log_px.mean - truth.elbo.mean)
    assert truth.error is not None
    assert truth.certified.log_px_at_least == truth.log_px.mean - truth.error
    assert truth.interval == Interval(truth.log_px.mean - truth.error, truth.log_px.mean + truth.error)
    assert truth.certified.gap_at_least == pytest.approx(truth.gap.mean - truth.error)


# What looks like a case for a grid, and is none.


class Foreign(Oracle):
    """A likelihood, a prior and a q over D latents, all given."""

    def __init__(self, D: int, prior: Distribution, likelihood: Callable[[Tensor], Distribution] | None = None) -> None:
        self.latent_dim, self.pz, self.px = D, prior, likelihood

    def prior(self) -> Distribution:
        return self.pz

    def posterior(self, x: Tensor) -> Distribution:
        return diagonal_normal(torch.zeros(len(x), self.latent_dim, dtype=torch.float64), 1.0)

    def likelihood(self, z: Tensor) -> Distribution:
        return self.px(z) if self.px else diagonal_normal(z, 0.5)

    def log_px(self, x: Tensor) -> Tensor:
        raise NotImplementedError


ZERO = torch.zeros(2, dtype=torch.float64)
STANDARD = diagonal_normal(ZERO, 1.0)
REFUSED: dict[str, Callable[[], LatentVariableModel]] = {
    "three latents": lambda: random_linear_gaussian(8, 3),
    "latents of 0 and 1": lambda: Foreign(2, independent(Bernoulli(logits=ZERO, validate_args=False))),
    "counts, whose formula is nearly a density": lambda: Foreign(
        1, independent(Poisson(ZERO[:1] + 40, validate_args=False))
    ),
    "a prior within bounds": lambda: Foreign(2, independent(Uniform(ZERO - 1, ZERO + 1, validate_args=False))),
    "a prior that refuses what lies beyond its bounds": lambda: Foreign(2, independent(Uniform(ZERO - 1, ZERO + 1))),
    "a prior with tails that do not end": lambda: Foreign(1, independent(Cauchy(ZERO[:1], 1.0))),
    "a log_prob that is no density's": lambda: Foreign(2, Unnormalised(ZERO)),
    "a decoder with noise of its own": lambda: Foreign(
        2, STANDARD, lambda z: diagonal_normal(z + torch.randn_like(z), 1)
    ),
    "a decoder that overflows": lambda: Foreign(
        2, STANDARD, lambda z: diagonal_normal((200 * z).exp(), (200 * z).exp())
    ),
}


class Unnormalised(Independent):
    def __init__(self, loc: Tensor) -> None:
        super().__init__(Normal(loc, 1.0), 1)

    def log_prob(self, value: Tensor) -> Tensor:
        return super().log_prob(value) + 0.5


@pytest.mark.parametrize("name", REFUSED)
def test_no_exact_method_is_claimed_where_there_is_none(name: str) -> None:
    model = REFUSED[name]()
    x = torch.zeros(4, 8 if isinstance(model, LinearGaussian) else 2, dtype=torch.float64)
    assert applies(model, x) is None
    with pytest.raises(UserError, match=r"--method exact does not apply .* Type --method importance\."):
        run(model, x)


def test_other_priors_serve_as_well() -> None:
    """Far from 0, of another scale, of two humps, or without a mean of its own."""
    scale = torch.tensor([16.25, 0.34], dtype=torch.float64).sqrt()
    affine = TransformedDistribution(Normal(ZERO, 1.0), [AffineTransform(30.0, 4.0)])
    humps = MixtureSameFamily(
        Categorical(torch.ones(2, dtype=torch.float64)), diagonal_normal(torch.stack([ZERO - 3, ZERO + 3]), 0.3)
    )
    x = torch.tensor([[28.0, 33.0], [30.1, 35.0]], dtype=torch.float64)
    found = run(Foreign(2, Independent(affine, 1)), x)
    close(column(found, "log_px"), Normal(30.0, scale[0]).log_prob(x).sum(-1), atol=1e-8)
    found = run(Foreign(2, humps), x - 31)
    sides = [Normal(m, scale[1]).log_prob(x - 31).sum(-1) - math.log(2) for m in (-3.0, 3.0)]
    close(column(found, "log_px"), torch.logaddexp(*sides), atol=1e-8)


def test_a_mixture_for_q_and_a_likelihood_that_takes_no_z_for_many_x() -> None:
    class Strict(Independent):
        """Insists on a z for every x, as the contract of a model allows it to."""

        def log_prob(self, value: Tensor) -> Tensor:
            if self.batch_shape[-1] != len(value):
                raise ValueError("one z for each x")
            return super().log_prob(value)

    class Adapter(WithPosterior):
        def likelihood(self, z: Tensor) -> Distribution:
            return Strict(self.model.likelihood(z).base_dist, 1)

    mixture = both_modes()
    x = mixture.data(2)
    found, strict = run(mixture, x), run(Adapter(mixture.model, mixture.encoder), x)
    close(column(found, "log_px"), mixture.log_px(x))
    close(column(strict, "log_px"), mixture.log_px(x))
    close(column(strict, "elbo"), column(found, "elbo"))
    log_w = draw(mixture, x, 20_000).log_w
    assert ((log_w.mean(0) - column(found, "elbo")).abs() < 5 * log_w.std(0) / 20_000**0.5).all()


def test_a_q_that_is_no_density_shows_in_the_error() -> None:
    model = TwoLatentMLP()
    x = model.data(2)

    class Halved(Independent):
        def log_prob(self, value: Tensor) -> Tensor:
            return super().log_prob(value) - math.log(2)

    lame = WithPosterior(model, lambda x: Halved(model.posterior(x).base_dist, 1))
    assert run(lame, x).verdict.word == "partial"
    assert run(model, x).verdict.word == "resolved"


def test_a_foreign_model_in_float32_states_the_rounding_of_its_own() -> None:
    layer = nn.Linear(2, 5)
    model = Foreign(2, diagonal_normal(torch.zeros(2), torch.ones(2)), lambda z: diagonal_normal(layer(z), 0.1))
    model.posterior = lambda x: diagonal_normal(torch.zeros(len(x), 2), torch.full((2,), 0.5))  # type: ignore[method-assign]
    x = torch.randn(4, 5)
    found = run(model, Split("test", x, "foreign"))
    W, b = layer.weight.detach().double(), layer.bias.detach().double()
    exactly = torch.distributions.MultivariateNormal(b, W @ W.T + 0.01 * torch.eye(5, dtype=torch.float64))
    off = (column(found, "log_px") - exactly.log_prob(x.double())).abs().mean()
    assert found.error is not None
    assert off < found.error < 1e-3
    assert found.error > 1e-5


def test_a_number_that_is_none_is_told_with_the_datum(monkeypatch: pytest.MonkeyPatch) -> None:
    model = TwoLatentMLP()
    x = model.data(5)
    inner = model.likelihood

    def broken(z: Tensor) -> Distribution:
        return independent(
            Bernoulli(logits=inner(z).base_dist.logits / (z.sum(-1, keepdim=True) > -3.3), validate_args=False)
        )

    monkeypatch.setattr(exact_module, "applies", lambda model, x: "trapezoid")
    monkeypatch.setattr(model, "likelihood", broken)
    with pytest.raises(RunError, match=r"datum 0 is nan at z = \(.*\): the model gives no finite number"):
        run(model, x)
