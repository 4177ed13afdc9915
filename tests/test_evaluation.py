"""The ELBO of a split: z sampled, beta 1, every datum once, means over data and not over blocks."""

import math

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Bernoulli, Distribution, Independent, MultivariateNormal, Normal, StudentT

from elbo_cli import evaluation
from elbo_cli.bounds.draws import LatentVariableModel
from elbo_cli.data.split import Split
from elbo_cli.errors import RunError
from elbo_cli.evaluation import BLOCK, TILE, Measured, _folded, _moments, evaluate, measure
from elbo_cli.records import Evaluation
from tests.oracles import CASES, WithPosterior, both_modes, student_posterior
from tests.oracles.comparison import close
from tests.statistics import within

CPU = torch.device("cpu")


def split_of(x: Tensor) -> Split:
    return Split("test", x.float(), "oracle")


def measured(model: LatentVariableModel, x: Tensor, K: int = 1, seed: int = 0) -> Measured:
    return measure(model, split_of(x), K, seed, CPU)


def evaluated(model: LatentVariableModel, x: Tensor, samples: int = 1, seed: int = 0) -> Evaluation:
    return evaluate(model, split_of(x), data="oracle", samples=samples, seed=seed, device=CPU)


@pytest.mark.parametrize("sizes", [[1], [5], [3, 4], [250, 250, 1], [1, 1, 1, 1], [7, 100, 2]])
def test_moments_that_arrive_in_blocks_are_those_of_all_rows(sizes: list[int]) -> None:
    rows = torch.randn(sum(sizes), 3, dtype=torch.float64) * 5 + 1e6
    moments = _folded([_moments(block) for block in rows.split(sizes)], sizes)
    assert moments is not None
    torch.testing.assert_close(moments.mean, rows.mean(0), rtol=1e-14, atol=0)
    expected = (rows - rows.mean(0)).square().sum(0)
    torch.testing.assert_close(moments.scatter, expected, rtol=1e-7, atol=0)


def test_moments_of_what_was_once_missing_are_missing() -> None:
    assert _folded([_moments(rows) for rows in (torch.ones(2, 3), None, torch.ones(2, 3))], [2, 2, 2]) is None


def test_moments_are_float64_whatever_comes() -> None:
    moments = _folded([_moments(torch.tensor([[16_777_217.0], [16_777_219.0]]))], [2])
    assert moments is not None
    assert moments.mean.dtype == torch.float64


def test_of_a_single_datum_nothing_varies() -> None:
    assert measured(CASES["crude"].build(), CASES["crude"].build().data(1)).variance_of_means.tolist() == [0.0] * 3


@pytest.mark.parametrize("name", ["crude", "probit"])
@pytest.mark.parametrize("K", [1, 5])
def test_the_elbo_is_the_elbo(name: str, K: int) -> None:
    """Against its closed form. At z = mu, the commonest fault, the reconstruction would be better than it is."""
    model = CASES[name].build()
    x, R = model.data(4), 1500
    truth = model.elbo(x.float())  # type: ignore[attr-defined]
    within(measured(model, x.repeat(R, 1), K).elbo.view(R, 4), truth, resolve=0.4)
    at_mean = measured(WithPosterior(model, lambda x: Deterministic(model.posterior(x))), x, K).elbo
    assert (at_mean - truth > 0.8).all()


class Deterministic(Independent):
    """q's densities, with z = mu in the place of draws."""

    def __init__(self, q: Distribution) -> None:
        assert isinstance(q, Independent)
        super().__init__(q.base_dist, 1, validate_args=False)

    def rsample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:  # noqa: B008  # as torch has it
        return self.mean.expand(*sample_shape, *self.mean.shape)


def test_the_parts_make_the_whole() -> None:
    found = measured(CASES["crude"].build(), CASES["crude"].build().data(30), K=4)
    close(found.elbo, found.reconstruction - found.kl)
    assert (found.iwae > found.elbo - 10).all()
    for part in (found.elbo, found.reconstruction, found.kl, found.iwae):
        assert part.shape == (30,)
        assert part.dtype == torch.float64


def test_at_the_posterior_every_draw_says_log_px() -> None:
    model = CASES["exact"].build()
    x = model.data(20)
    close(measured(model, x, K=3).iwae, model.log_px(x.float()), atol=1e-9)


def test_means_are_over_data_and_not_over_blocks() -> None:
    """The last block is short, and its data are unlike the others."""
    model = CASES["crude"].build()
    x = model.data(BLOCK + 3)
    x[BLOCK:] += 20
    found = evaluated(model, x)
    values = torch.tensor([row.elbo for row in found.rows], dtype=torch.float64)
    assert found.examples == len(found.rows) == BLOCK + 3
    assert [row.index for row in found.rows] == list(range(BLOCK + 3))
    assert found.elbo.mean == pytest.approx(values.mean().item(), abs=1e-9)
    assert found.elbo.se_data == pytest.approx(values.std().item() / math.sqrt(BLOCK + 3))
    blocks = (values[:BLOCK].mean() + values[BLOCK:].mean()).item() / 2
    assert abs(blocks - found.elbo.mean) > 100, "blind"
    assert found.elbo.mean == pytest.approx(found.reconstruction.mean - found.kl.mean)


def test_a_block_has_the_noise_of_its_number() -> None:
    model = CASES["crude"].build()
    x = model.data(BLOCK + 7)
    assert (measured(model, x).elbo[:BLOCK] == measured(model, x[:BLOCK]).elbo).all()
    changed = x.clone()
    changed[BLOCK:] = 0
    assert (measured(model, changed).elbo[:BLOCK] == measured(model, x).elbo[:BLOCK]).all()


def test_a_seed_has_its_numbers_and_another_has_others() -> None:
    model = CASES["crude"].build()
    x = model.data(10)
    first = evaluated(model, x, seed=3)
    torch.manual_seed(77)
    assert evaluated(model, x, seed=3) == first
    assert evaluated(model, x, seed=4).elbo != first.elbo


def test_the_global_generator_is_left_as_it_was() -> None:
    model = CASES["probit"].build()
    state = torch.get_rng_state()
    evaluated(model, model.data(10))
    assert (torch.get_rng_state() == state).all()


def test_more_draws_say_the_same_with_less_noise() -> None:
    model = CASES["crude"].build()
    x = model.data(1).repeat(500, 1)
    one, many = measured(model, x, K=1).elbo, measured(model, x, K=16).elbo
    assert 3 < one.std() / many.std() < 5
    within(one - many, 0.0, resolve=0.6)


class Watching(WithPosterior):
    """Keeps how many draws are decoded at once."""

    def __init__(self, name: str) -> None:
        inner = CASES[name].build()
        super().__init__(inner, inner.posterior)
        self.seen: list[int] = []

    def likelihood(self, z: Tensor) -> Distribution:
        self.seen.append(len(z))
        return self.model.likelihood(z)


@pytest.mark.parametrize("closed", [True, False])  # whether there is a closed form of the KL
def test_draws_in_tiles_say_what_they_say_at_once(closed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Noise comes sixteen numbers at a time: tiles of 16 data are the same draws as the whole."""
    model = Watching("crude")
    if not closed:
        model.encoder = model.model.true_posterior  # type: ignore[attr-defined]
    x = model.data(16)
    whole = measured(model, x, K=10)
    assert model.seen == [10]
    monkeypatch.setattr(evaluation, "CELLS", 3 * BLOCK * x.shape[1])
    tiled = measured(model, x, K=10)
    assert model.seen[1:] == [3, 3, 3, 1]
    for one, other in ((tiled.elbo, whole.elbo), (tiled.reconstruction, whole.reconstruction), (tiled.kl, whole.kl)):
        close(one, other)
    close(tiled.iwae, whole.iwae)


def test_no_tile_has_more_draws_than_memory_is_meant_for() -> None:
    model = Watching("crude")
    measured(model, model.data(1), K=TILE + 1)
    assert model.seen == [TILE, 1]


def test_a_covariance_that_cannot_be_factored_is_told_with_its_data() -> None:
    inner = CASES["crude"].build()

    def flat(x: Tensor) -> Distribution:
        return MultivariateNormal(torch.zeros(len(x), 3), -torch.eye(3), validate_args=False)

    with pytest.raises(RunError, match="On oracle a covariance is not positive definite"):
        evaluated(WithPosterior(inner, flat), inner.data(3))


class Encoded:
    """q(z | x) = N(x, 1/4): its means are the data themselves."""

    def prior(self) -> Distribution:
        return Independent(Normal(torch.zeros(3), torch.ones(3)), 1)

    def posterior(self, x: Tensor) -> Distribution:
        return Independent(Normal(x, torch.full_like(x, 0.5)), 1)

    def likelihood(self, z: Tensor) -> Distribution:
        return Independent(Normal(z, 1.0), 1)


def test_a_unit_is_active_over_the_whole_split() -> None:
    """Within each block nothing moves; from block to block two units do, one of them too little. Variances: 0.0101,
    0.0099 and 0.
    """
    sides = torch.cat([torch.full((BLOCK,), -1.0), torch.full((BLOCK,), 1.0)])
    unit = sides / sides.std()
    x = torch.stack([unit * 0.0101**0.5, unit * 0.0099**0.5, torch.ones(2 * BLOCK)], 1)
    found = measured(Encoded(), x)
    assert found.variance_of_means is not None
    torch.testing.assert_close(
        found.variance_of_means, torch.tensor([0.0101, 0.0099, 0.0]).double(), rtol=1e-5, atol=1e-9
    )
    assert found.active_units == 1
    assert evaluated(Encoded(), x).active_units == 1


def test_the_kl_of_a_latent_is_its_mean_over_the_data() -> None:
    x = torch.randn(BLOCK + 5, 3)
    x[BLOCK:] += 9
    found = evaluated(Encoded(), x)
    expected = (0.5 * (0.25 + x.double().square() - 1) - math.log(0.5)).mean(0)
    assert found.kl_per_latent is not None
    torch.testing.assert_close(torch.tensor(found.kl_per_latent, dtype=torch.float64), expected, rtol=1e-6, atol=1e-6)
    assert sum(found.kl_per_latent) == pytest.approx(found.kl.mean, rel=1e-6)
    assert found.latents == 3


def test_where_q_does_not_tell_its_means_are_drawn_and_its_kl_is_not_split() -> None:
    student = student_posterior()
    x = student.data(6)
    found = evaluated(student, x, samples=4)
    assert found.kl_per_latent is None
    assert found.latents == 3
    assert evaluated(both_modes(), both_modes().data(6)).elbo.mean < 0

    class NoMean(Encoded):
        def posterior(self, x: Tensor) -> Distribution:
            return Silent(super().posterior(x))

    assert evaluated(NoMean(), torch.randn(4, 3)).active_units == evaluated(Encoded(), torch.randn(4, 3)).active_units


class Silent(Distribution):
    """A distribution that does not know its mean."""

    has_rsample = False

    def __init__(self, base: Distribution) -> None:
        super().__init__(base.batch_shape, base.event_shape, validate_args=False)
        self.base = base

    def sample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:  # noqa: B008  # as torch has it
        return self.base.sample(sample_shape)

    def log_prob(self, value: Tensor) -> Tensor:
        return self.base.log_prob(value)


def test_bits_per_dimension_are_of_discrete_data_alone() -> None:
    probit, normal = CASES["probit"].build(), CASES["crude"].build()
    found = evaluated(probit, probit.data(20))
    assert found.bits_per_dim == pytest.approx(-found.elbo.mean / (50 * math.log(2)))
    assert evaluated(normal, normal.data(20)).bits_per_dim is None
    counts = CASES["poisson"].build()
    assert evaluated(counts, counts.data(20)).bits_per_dim is not None


def test_bits_per_dimension_are_of_all_pixels_of_a_picture() -> None:
    class Pictures(Encoded):
        def posterior(self, x: Tensor) -> Distribution:
            return super().posterior(x.flatten(1)[:, :3])

        def likelihood(self, z: Tensor) -> Distribution:
            return Independent(Bernoulli(logits=torch.zeros(*z.shape[:-1], 1, 4, 5)), 3)

    x = torch.zeros(7, 1, 4, 5)
    found = evaluated(Pictures(), x)
    assert found.reconstruction.mean == pytest.approx(-20 * math.log(2))
    assert found.bits_per_dim == pytest.approx(-found.elbo.mean / (20 * math.log(2)))


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_datum_without_a_number_is_named(bad: float) -> None:
    class Broken(Encoded):
        def likelihood(self, z: Tensor) -> Distribution:
            return Independent(Spoilt(z, bad), 1)

    x = torch.zeros(BLOCK + 9, 3)
    x[BLOCK + 4] = 1
    with pytest.raises(RunError, match=rf"datum {BLOCK + 4} of oracle is -?(nan|inf)"):
        evaluated(Broken(), x)


class Spoilt(StudentT):
    """A likelihood that is no number where x is 1."""

    def __init__(self, loc: Tensor, bad: float) -> None:
        super().__init__(4.0, loc, 1.0, validate_args=False)
        self.bad = bad

    def log_prob(self, value: Tensor) -> Tensor:
        log_p: Tensor = super().log_prob(value)
        return torch.where(value == 1, torch.full_like(log_p, self.bad), log_p)


def test_a_network_is_evaluated_as_such() -> None:
    """In eval mode and with no gradients kept."""

    class Dropped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.drop, self.weight = nn.Dropout(0.5), nn.Parameter(torch.ones(3))

        def prior(self) -> Distribution:
            return Independent(Normal(torch.zeros(3), torch.ones(3)), 1)

        def posterior(self, x: Tensor) -> Distribution:
            return Independent(Normal(self.drop(x * self.weight), torch.ones(3)), 1)

        def likelihood(self, z: Tensor) -> Distribution:
            assert not torch.is_grad_enabled()
            return Independent(Normal(z, 1.0), 1)

    model, x = Dropped(), torch.ones(50, 3)
    found = measured(model, x)
    close(found.kl, torch.full((50,), 1.5))
    assert not model.training
    assert model.weight.grad is None
    assert not found.elbo.requires_grad
