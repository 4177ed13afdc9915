"""A whole run: when it stops, what its seed decides, how it is taken up again, its ledger, and the best there is."""

import copy
import math
from dataclasses import replace

import pytest
import torch

from elbo_cli import build
from elbo_cli import config as configs
from elbo_cli.data.linear_gaussian import best_log_px
from elbo_cli.data.split import Split
from elbo_cli.errors import RunError
from elbo_cli.evaluation import measure
from elbo_cli.gap.probe import Probe
from elbo_cli.models.vae import VAE
from elbo_cli.presets import preset_text
from elbo_cli.records import EpochRecord
from elbo_cli.runtime import noise
from elbo_cli.training.experiment import Experiment, Probed, Progress
from elbo_cli.training.loop import records
from elbo_cli.training.step import PlainStep
from tests.experiments import (
    CPU,
    closed_elbo,
    dataset,
    decoder_of,
    experiment,
    log_px,
    numbers,
    stopped,
    timeless,
    trained,
    vae,
    weights,
)

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
    adam = torch.optim.Adam(run.optimizer.param_groups[0]["params"], fused=True)
    return replace(run, optimizer=adam, step=PlainStep(model, adam, run.objective))


@pytest.mark.parametrize("stop", [1, 2, 4])
def test_a_run_taken_up_again_is_the_run_that_went_through(stop: int) -> None:
    """Weights, moments and progress are all that there is to know of the past."""
    whole, first = with_adam(vae()), with_adam(vae())
    expected = trained(whole)
    past = stopped(first, stop)
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


@pytest.mark.parametrize(
    ("bound", "gradient"),
    [("elbo", "standard"), ("elbo", "stl"), ("iwae", "standard"), ("iwae", "stl"), ("iwae", "dreg")],
)
def test_training_the_digits_raises_their_bound(bound: str, gradient: str) -> None:
    overrides = ["train.epochs=2", "train.gap_every=0", "model.encoder.hidden=[32]", "model.decoder.hidden=[32]"]
    overrides += [f"objective.bound={bound}", f"objective.gradient={gradient}"]
    overrides += ["objective.samples=5"] if bound == "iwae" else []
    found = trained(build.experiment(configs.loads(preset_text("digits"), overrides=overrides)))
    assert found[1].score > found[0].score
    assert found[1].valid_kl is not None
    assert found[1].valid_kl > 0.5, "the latents are used"
