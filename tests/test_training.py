"""Training: the loss is minus the bound, the records are means over data, and the seed decides everything."""

import copy
import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from elbo_cli import build
from elbo_cli import config as configs
from elbo_cli.data.linear_gaussian import best_log_px
from elbo_cli.data.split import Split
from elbo_cli.errors import RunError
from elbo_cli.evaluation import evaluate, measure
from elbo_cli.gap.probe import Probe
from elbo_cli.models.vae import VAE
from elbo_cli.presets import preset_text
from elbo_cli.records import EpochRecord, Tick
from elbo_cli.runtime import noise
from elbo_cli.training import Experiment, Objective, Probed, Progress, fit, records
from tests.experiments import BATCHES, CPU, P, dataset, experiment, numbers, vae, weights


def timeless(record: EpochRecord) -> EpochRecord:
    """A record without what a clock says."""
    probe = None if record.probe_seconds is None else 0.0
    return replace(record, seconds=0.0, probe_seconds=probe)


def trained(run: Experiment) -> list[EpochRecord]:
    return [timeless(record) for record in records(run)]


def changed(run: Experiment) -> Tensor:
    """By how much training changes the weights."""
    before = weights(run.model)
    trained(run)
    return weights(run.model) - before


# the loss


def closed_elbo(model: VAE, x: Tensor, sigma: float, beta: float = 1.0) -> Tensor:
    """The ELBO of linear maps, [N]: E_q |x - W z - b|^2 is |x - W mu - b|^2 + sum v_j |W_j|^2."""
    mu, log_sigma = model.encoder(x).chunk(2, -1)
    linear = model.decoder.net[0]  # type: ignore[index, union-attr]
    v = (2 * log_sigma).exp()
    error = (x - linear(mu)).square().sum(-1) + (v * linear.weight.square().sum(0)).sum(-1)
    kl = 0.5 * (v + mu.square() - 1 - 2 * log_sigma).sum(-1)
    return -0.5 * (P * math.log(2 * math.pi * sigma**2) + error / sigma**2) - beta * kl


@pytest.mark.parametrize("beta", [1.0, 0.3, 0.0])
def test_a_step_goes_along_the_gradient_of_the_elbo(beta: float) -> None:
    """One batch of all data, plain gradient descent with lr 1: the step is the gradient of the mean ELBO."""
    x, model = dataset().train.batch(torch.arange(sum(BATCHES))), vae(sigma=0.8)
    parameters = [p for p in model.parameters() if p.requires_grad]
    gradient = torch.autograd.grad(closed_elbo(model, x, 0.8, beta).mean(), parameters)
    expected = torch.cat([g.flatten() for g in gradient])
    objective = Objective(samples=2000, beta=lambda epoch: beta)
    step = changed(experiment(model=model, epochs=1, lr=1.0, batch_size=200, objective=objective))
    scale = expected.abs().max()
    torch.testing.assert_close(step / scale, expected / scale, rtol=0, atol=0.01)
    other = torch.autograd.grad(closed_elbo(model, x, 0.8, beta + 0.1).mean(), parameters)
    assert (torch.cat([g.flatten() for g in other]) - expected).abs().max() / scale > 0.01, "blind"


def log_px(W: Tensor, b: Tensor, x: Tensor, sigma: float) -> Tensor:
    """log N(x; b, W W' + sigma^2 I), [N], in float64."""
    covariance = W.double() @ W.double().T + sigma**2 * torch.eye(P, dtype=torch.float64)
    return torch.distributions.MultivariateNormal(b.double(), covariance).log_prob(x.double())


def decoder_of(model: VAE) -> tuple[Tensor, Tensor]:
    linear = model.decoder.net[0]  # type: ignore[index, union-attr]
    return linear.weight, linear.bias


def test_with_iwae_and_many_draws_the_decoder_goes_along_the_gradient_of_log_px() -> None:
    """With the ELBO it goes elsewhere: q is far from the posterior."""
    x = dataset().train.batch(torch.arange(130))
    steps = {}
    for bound in ("iwae", "elbo"):
        model = vae(sigma=0.8)
        before = [part.detach().clone() for part in decoder_of(model)]
        expected = torch.autograd.grad(log_px(*decoder_of(model), x, 0.8).mean(), decoder_of(model))
        changed(experiment(model=model, epochs=1, lr=1.0, batch_size=200, objective=Objective(bound, samples=5000)))
        moved = [after.detach() - part for after, part in zip(decoder_of(model), before, strict=True)]
        steps[bound] = max((m - e).abs().max() / e.abs().max() for m, e in zip(moved, expected, strict=True))
    assert steps["iwae"] < 0.1
    assert steps["elbo"] > 0.3


def test_with_one_draw_iwae_is_the_elbo_but_for_the_noise_of_its_kl() -> None:
    one = {"epochs": 1, "lr": 0.1, "batch_size": 200, "model": None}
    single, elbo = (changed(experiment(**one, objective=Objective(bound))) for bound in ("iwae", "elbo"))  # type: ignore[arg-type]
    assert (single - elbo).norm() / elbo.norm() < 0.5


def test_below_their_floor_free_bits_leave_no_kl() -> None:
    """With a floor out of reach the KL is a constant: the steps are those of the reconstruction alone."""
    freed = changed(experiment(lr=0.05, objective=Objective(free_bits=1e4)))
    blind = changed(experiment(lr=0.05, objective=Objective(beta=lambda epoch: 0.0)))
    full = changed(experiment(lr=0.05))
    torch.testing.assert_close(freed, blind)
    assert (freed - full).abs().max() > 1e-3


def test_free_bits_of_nothing_are_the_elbo() -> None:
    tiny = changed(experiment(lr=0.05, objective=Objective(free_bits=1e-30)))
    torch.testing.assert_close(tiny, changed(experiment(lr=0.05)))


def test_free_bits_are_weighed_by_beta_too() -> None:
    half = changed(experiment(lr=0.05, objective=Objective(free_bits=1e-30, beta=lambda epoch: 0.5)))
    torch.testing.assert_close(half, changed(experiment(lr=0.05, objective=Objective(beta=lambda epoch: 0.5))))


def test_a_gradient_is_clipped_to_its_norm() -> None:
    one = {"epochs": 1, "lr": 1.0, "batch_size": 200}
    assert changed(experiment(**one)).norm() > 1  # type: ignore[arg-type]
    assert changed(experiment(**one, clip_norm=0.01)).norm().item() == pytest.approx(0.01, rel=1e-3)  # type: ignore[arg-type]
    loose = changed(experiment(**one, clip_norm=1e6))  # type: ignore[arg-type]
    torch.testing.assert_close(loose, changed(experiment(**one)))  # type: ignore[arg-type]


def test_every_batch_is_a_step_and_the_learning_rate_is_the_epochs() -> None:
    run = experiment(epochs=3, lr=0.0)
    run = replace(run, plan=replace(run.plan, lr=lambda epoch: 0.1 * epoch))
    found = trained(run)
    assert [record.step for record in found] == [3, 6, 9]
    assert [record.lr for record in found] == pytest.approx([0.1, 0.2, 0.3])
    assert run.optimizer.param_groups[0]["lr"] == pytest.approx(0.3)


# the records


def still() -> VAE:
    """A decoder that ignores z: the ELBO of a datum has no noise in it."""
    model = vae()
    with torch.no_grad():
        model.decoder.net[0].weight.zero_()  # type: ignore[index, union-attr]
    return model


def test_a_short_last_batch_counts_by_its_data() -> None:
    """Where nothing is random and nothing moves, every column is the mean over all data: 130 in batches of 50."""
    model = still()
    run = experiment(model=model, epochs=2)
    x = run.data.train.batch(torch.arange(130))
    with torch.no_grad():
        elbo = closed_elbo(model, x, 0.8)
    for record in trained(run):
        assert record.train_elbo == pytest.approx(elbo.mean().item(), rel=1e-5)
        assert record.train_elbo == pytest.approx(record.train_reconstruction - record.train_kl, abs=1e-9)
    with noise(0, "order", 1):
        order = torch.randperm(130)
    mean_of_means = torch.stack([batch.mean() for batch in elbo[order].split(50)]).mean().item()
    assert abs(mean_of_means - elbo.mean().item()) > 1e-3, "blind"


def test_every_datum_is_seen_once_in_an_epoch_and_in_another_order_in_the_next() -> None:
    seen: list[Tensor] = []

    class Watched(Split):
        def batch(self, index: Tensor) -> Tensor:
            seen.append(index)
            return Split.batch(self, index)

    data = dataset()
    watched = Watched("train", data.train.values, "numbers")
    trained(experiment(epochs=2, data=replace(data, train=watched)))
    assert [len(index) for index in seen] == [*BATCHES, *BATCHES]
    first, second = torch.cat(seen[:3]), torch.cat(seen[3:])
    assert first.sort().values.tolist() == second.sort().values.tolist() == list(range(130))
    assert first.tolist() != second.tolist()


def test_the_columns_are_the_elbo_whatever_training_climbs() -> None:
    """beta, free bits and tempering never enter a record: at lr = 0 all objectives say the same of one model."""
    plain = trained(experiment())
    for objective in (
        Objective(beta=lambda epoch: 0.1),
        Objective(beta=lambda epoch: 7.0),
        Objective(free_bits=3.0),
        Objective(free_bits=3.0, beta=lambda epoch: 0.0),
    ):
        found = trained(experiment(objective=objective))
        assert [replace(r, beta=1.0) for r in found] == plain
        assert {r.beta for r in found} == {objective.beta(1)}


def test_for_iwae_the_bound_has_columns_of_its_own() -> None:
    plain, found = trained(experiment()), trained(experiment(objective=Objective("iwae", samples=50)))
    assert {(r.train_bound, r.valid_bound) for r in plain} == {(None, None)}
    for ours, record in zip(plain, found, strict=True):
        assert record.train_bound is not None
        assert record.valid_bound is not None
        assert record.train_bound > record.train_elbo
        assert record.valid_bound > (record.valid_elbo or 0.0)
        assert record.train_elbo == pytest.approx(ours.train_elbo, abs=1.0)
        assert record.score == record.valid_bound


def test_the_bound_that_is_reported_is_at_most_log_px() -> None:
    """A surrogate, such as sum of normalised weights times log w, would be above it."""
    model = vae(sigma=0.8)
    run = experiment(model=model, epochs=1, objective=Objective("iwae", samples=500))
    with torch.no_grad():
        truth = log_px(*decoder_of(model), run.data.train.batch(torch.arange(130)), 0.8).mean().item()
    (record,) = trained(run)
    assert record.train_bound is not None
    assert record.train_elbo < record.train_bound < truth + 0.02
    assert record.train_bound > truth - 0.5


def test_validation_is_the_same_data_with_the_same_noise_every_epoch() -> None:
    found = trained(experiment(epochs=4))
    assert len({(r.valid_elbo, r.valid_reconstruction, r.valid_kl, r.active_units) for r in found}) == 1
    assert len({r.train_elbo for r in found}) == 4, "training's noise is fresh"


def test_validation_is_what_evaluate_says() -> None:
    """At beta = 1 with no free bits, whatever the objective; the last epoch's columns are those of its weights."""
    run = experiment(epochs=2, lr=0.05, objective=Objective(beta=lambda epoch: 0.2, free_bits=0.5))
    last = trained(run)[-1]
    found = evaluate(run.model, run.data.valid, data="numbers", samples=1, seed=0, device=CPU)
    assert last.valid_elbo == found.elbo.mean
    assert last.valid_reconstruction == found.reconstruction.mean
    assert last.valid_kl == found.kl.mean
    assert last.active_units == found.active_units


def test_without_validation_data_its_columns_are_empty() -> None:
    data = dataset()
    found = trained(experiment(data=replace(data, valid=data.valid.first(0))))
    assert {(r.valid_elbo, r.valid_kl, r.active_units) for r in found} == {(None, None, None)}
    assert found[0].score == found[0].train_elbo


def test_the_warm_up_of_beta_is_in_the_records() -> None:
    found = trained(experiment(epochs=4, objective=Objective(beta=build.warm_up(0.5, 2))))
    assert [r.beta for r in found] == [0.0, 0.25, 0.5, 0.5]


def test_ticks_count_the_batches() -> None:
    events = list(fit(experiment(epochs=2, batch_size=1)))
    ticks = [event for event in events if isinstance(event, Tick)]
    assert [(t.done, t.total) for t in ticks] == [(50, 130), (100, 130), (130, 130)] * 2
    assert sum(not isinstance(event, Tick) for event in events) == 2


# what cannot go on


def broken(row: int, batch_size: int) -> tuple[Experiment, int]:
    """An experiment with a NaN in one datum, and the batch of the first epoch that holds it."""
    x = numbers(130, 1)
    x[row, 0] = math.nan
    with noise(0, "order", 1):
        place = torch.randperm(130).tolist().index(row)
    return experiment(data=dataset(x), batch_size=batch_size, lr=0.01), place // batch_size + 1


@pytest.mark.parametrize("row", [0, 17, 99])
@pytest.mark.parametrize("batch_size", [1, 50, 200])
def test_a_loss_that_is_no_number_stops_the_run_and_names_its_batch(row: int, batch_size: int) -> None:
    run, batch = broken(row, batch_size)
    with pytest.raises(RunError, match=f"epoch 1, batch {batch}\\. Lower optim.lr"):
        trained(run)


def test_a_run_that_diverges_later_says_when() -> None:
    run = experiment(epochs=50, lr=5.0)
    with pytest.raises(RunError, match=r"not finite at epoch \d+, batch \d+|validation ELBO is not finite"):
        trained(run)


def test_a_validation_that_is_no_number_stops_the_run() -> None:
    data = dataset()
    x = numbers(40, 2)
    x[5] = math.nan
    with pytest.raises(RunError, match="validation ELBO is not finite"):
        trained(experiment(data=replace(data, valid=Split("valid", x, "numbers"))))


# when it ends


def test_patience_ends_a_run_that_gets_no_better() -> None:
    assert len(trained(experiment(epochs=20, patience=3))) == 4, "the first epoch was the best"
    assert len(trained(experiment(epochs=20, patience=1))) == 2
    assert len(trained(experiment(epochs=6))) == 6


def test_patience_waits_while_it_gets_better() -> None:
    found = trained(experiment(epochs=8, lr=0.02, patience=1))
    scores = [r.score for r in found[:-1]]
    assert scores == sorted(scores)
    assert len(found) == 8 or found[-1].score <= scores[-1]


def test_the_best_epoch_is_that_of_the_highest_score() -> None:
    past = Progress()
    for epoch, score in enumerate((-5.0, -3.0, -4.0, -3.0), 1):
        past = past.after(EpochRecord(epoch=epoch, valid_elbo=score), None)
    assert past.best is not None
    assert (past.best.epoch, past.last.epoch) == (2, 4)
    assert past.patience_left(None)
    assert past.patience_left(3)
    assert not past.patience_left(2)


# the seed


def test_a_seed_has_its_run_to_the_bit_and_another_has_another() -> None:
    one, two = experiment(lr=0.02), experiment(lr=0.02)
    first = trained(one)
    torch.manual_seed(4321)
    torch.randn(17)
    assert trained(two) == first
    assert (weights(one.model) == weights(two.model)).all()
    assert trained(experiment(lr=0.02, seed=1))[0].train_elbo != first[0].train_elbo


def test_the_global_generator_is_left_as_it_was() -> None:
    run = experiment(epochs=1, probe=probe(vae()), gap_every=1)
    state = torch.get_rng_state()
    trained(run)
    assert (torch.get_rng_state() == state).all()


def with_adam(model: VAE) -> Experiment:
    run = experiment(model=model, epochs=5, lr=0.01, probe=probe(model), gap_every=2)
    return replace(run, optimizer=torch.optim.Adam(run.optimizer.param_groups[0]["params"], fused=True))


@pytest.mark.parametrize("stop", [1, 2, 4])
def test_a_run_taken_up_again_is_the_run_that_went_through(stop: int) -> None:
    """Weights, moments and progress are all that there is to know of the past."""
    whole, first = with_adam(vae()), with_adam(vae())
    expected = trained(whole)
    past = Progress()
    for event in fit(first):
        if not isinstance(event, Tick):
            past = event[1]
            if past.last.epoch == stop:
                break
    second = with_adam(copy.deepcopy(first.model))
    second.optimizer.load_state_dict(first.optimizer.state_dict())
    rest = [timeless(record) for record in records(second, past)]
    assert rest == expected[stop:]
    assert (weights(second.model) == weights(whole.model)).all()


# the ledger


def probe(model: VAE, examples: int = 40) -> Probe:
    return Probe(model, dataset().valid, examples, 64, 0, CPU)


@pytest.mark.parametrize("every", [1, 2])
def test_the_ledger_adds_up_to_the_change_of_the_elbo(every: int) -> None:
    """Delta ELBO on the probe is delta log p(x) - delta gap, from the untrained model to the last epoch."""
    model = vae()
    begin = probe(model)()
    found = trained(experiment(model=model, epochs=4, lr=0.02, probe=probe(model), gap_every=every))
    measured = [r for r in found if r.valid_gap is not None]
    assert [r.epoch for r in measured] == list(range(every, 5, every))
    before = begin.log_px - begin.gap
    for record in measured:
        assert None not in (record.valid_log_px, record.valid_gap, record.delta_log_px, record.delta_gap)
        after = record.valid_log_px - record.valid_gap  # type: ignore[operator]
        assert record.delta_log_px - record.delta_gap == pytest.approx(after - before, abs=1e-9)  # type: ignore[operator]
        before = after
    assert sum(r.delta_log_px or 0 for r in measured) == pytest.approx((measured[-1].valid_log_px or 0) - begin.log_px)


def test_the_probe_has_the_same_noise_every_epoch() -> None:
    """Of a model that stands still it says the same, and the ledger is all zeros."""
    model = vae()
    found = trained(experiment(model=model, probe=probe(model), gap_every=1))
    assert {(r.delta_log_px, r.delta_gap) for r in found} == {(0.0, 0.0)}
    assert len({(r.valid_log_px, r.valid_gap) for r in found}) == 1


def test_the_probe_is_the_gap() -> None:
    """Against log p(x) and the ELBO in closed form."""
    model = vae(sigma=0.8)
    found = Probe(model, dataset().valid, 40, 500, 0, CPU)()
    x = dataset().valid.batch(torch.arange(40))
    with torch.no_grad():
        truth = log_px(*decoder_of(model), x, 0.8).mean().item()
        elbo = closed_elbo(model, x, 0.8).mean().item()
    assert found.log_px == pytest.approx(truth, abs=0.02)
    assert found.gap == pytest.approx(truth - elbo, abs=0.3)
    assert truth - elbo > 1


def test_without_a_probe_there_is_no_ledger() -> None:
    for run in (experiment(), experiment(gap_every=2), experiment(probe=lambda: Probed(0.0, 0.0), gap_every=0)):
        assert {(r.valid_gap, r.delta_gap, r.probe_seconds) for r in trained(run)} == {(None, None, None)}


# the known answer


def test_a_linear_vae_reaches_the_best_log_px_there_is() -> None:
    """The preset, whole: ELBO and log p(x) within 0.05 nat of the maximum, which no linear-Gaussian VAE exceeds.

    There a diagonal q is exact, so the gap, which is of nats at the start, has closed.
    """
    config = configs.loads(preset_text("linear-gaussian"), overrides=["train.gap_every=0"])
    run = build.experiment(config)
    gap = Probe(run.model, run.data.valid, 40, 64, 0, CPU)
    assert gap().gap > 2
    last = trained(run)[-1]
    x = run.data.train.batch(torch.arange(len(run.data.train)))
    best = best_log_px(x, x, config.model.latent_dim)
    assert best - 0.05 < measure(run.model, run.data.train, 20, 0, CPU).elbo.mean().item() < best + 0.01
    assert last.active_units == 3
    assert gap().gap == pytest.approx(0, abs=0.05)
    held_out = best_log_px(x, run.data.test.batch(torch.arange(len(run.data.test))), config.model.latent_dim)
    assert measure(run.model, run.data.test, 20, 0, CPU).iwae.mean().item() == pytest.approx(held_out, abs=0.05)


@pytest.mark.parametrize("bound", ["elbo", "iwae"])
def test_training_the_digits_raises_their_bound(bound: str) -> None:
    overrides = ["train.epochs=2", "train.gap_every=0", "model.encoder.hidden=[32]", "model.decoder.hidden=[32]"]
    if bound == "iwae":
        overrides += ["objective.bound=iwae", "objective.samples=5"]
    found = trained(build.experiment(configs.loads(preset_text("digits"), overrides=overrides)))
    assert found[1].score > found[0].score
    assert found[1].valid_kl is not None
    assert found[1].valid_kl > 0.5, "the latents are used"
