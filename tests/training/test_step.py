"""A step goes along the gradient of the bound, and a record says means over data, whatever training climbs."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from elbo_cli.evaluation import evaluate
from elbo_cli.models.vae import VAE
from elbo_cli.records import Tick
from elbo_cli.runtime import noise
from elbo_cli.training.experiment import Objective
from elbo_cli.training.loop import _visited, fit
from elbo_cli.training.warmup import warm_up
from tests.experiments import (
    BATCHES,
    CPU,
    changed,
    closed_elbo,
    dataset,
    decoder_of,
    experiment,
    log_px,
    trained,
    vae,
)

# the loss


@pytest.mark.parametrize("gradient_", ["standard", "stl"])
@pytest.mark.parametrize("beta", [1.0, 0.3, 0.0])
def test_a_step_goes_along_the_gradient_of_the_elbo(beta: float, gradient_: str) -> None:
    """One batch of all data, plain gradient descent with lr 1: the step is the gradient of the mean ELBO."""
    x, model = dataset().train.batch(torch.arange(sum(BATCHES))), vae(sigma=0.8)
    parameters = [p for p in model.parameters() if p.requires_grad]
    gradient = torch.autograd.grad(closed_elbo(model, x, 0.8, beta).mean(), parameters)
    expected = torch.cat([g.flatten() for g in gradient])
    objective = Objective(gradient=gradient_, samples=2000, beta=lambda epoch: beta)
    step = changed(experiment(model=model, epochs=1, lr=1.0, batch_size=200, objective=objective))
    scale = expected.abs().max()
    torch.testing.assert_close(step / scale, expected / scale, rtol=0, atol=0.01)
    other = torch.autograd.grad(closed_elbo(model, x, 0.8, beta + 0.1).mean(), parameters)
    assert (torch.cat([g.flatten() for g in other]) - expected).abs().max() / scale > 0.01, "blind"


@pytest.mark.parametrize("gradient", ["standard", "stl", "dreg"])
def test_with_iwae_and_many_draws_the_decoder_goes_along_the_gradient_of_log_px(gradient: str) -> None:
    """With the ELBO it goes elsewhere: q is far from the posterior."""
    x = dataset().train.batch(torch.arange(130))
    steps = {}
    for bound, estimator in (("iwae", gradient), ("elbo", "standard")):
        model = vae(sigma=0.8)
        before = [part.detach().clone() for part in decoder_of(model)]
        expected = torch.autograd.grad(log_px(*decoder_of(model), x, 0.8).mean(), decoder_of(model))
        changed(experiment(model=model, epochs=1, lr=1.0, batch_size=200, objective=Objective(bound, estimator, 5000)))
        moved = [after.detach() - part for after, part in zip(decoder_of(model), before, strict=True)]
        steps[bound] = max((m - e).abs().max() / e.abs().max() for m, e in zip(moved, expected, strict=True))
    assert steps["iwae"] < 0.1
    assert steps["elbo"] > 0.3


@pytest.mark.parametrize(("bound", "gradient", "power"), [("elbo", "stl", 0), ("iwae", "stl", 1), ("iwae", "dreg", 2)])
def test_a_step_is_the_estimators_own(bound: str, gradient: str, power: int) -> None:
    """On the very draws of the step: v^power before the path of every draw, v before the decoder's part."""
    model, K = vae(sigma=0.8), 4
    encoder, decoder = list(model.encoder.parameters()), list(model.decoder.parameters())
    with noise(0, "order", 1):
        x = dataset().train.batch(torch.randperm(130))
    with noise(0, "train", 1, 0):
        z = model.posterior(x).rsample(torch.Size((K,)))
    with torch.no_grad():
        still = model.posterior(x)
    at = z.detach().requires_grad_()
    log_w = model.likelihood(at).log_prob(x) + model.prior().log_prob(at) - still.log_prob(at)
    v = log_w.detach().softmax(0) if bound == "iwae" else torch.full_like(log_w, 1 / K).detach()
    down = torch.autograd.grad((v * log_w).sum(0).mean(), [at, *decoder])
    up = torch.autograd.grad(z, encoder, down[0] * (v.unsqueeze(-1) if power == 2 else 1))
    expected = torch.cat([g.flatten() for g in (*up, *down[1:])])
    step = changed(experiment(model=model, epochs=1, lr=1.0, batch_size=200, objective=Objective(bound, gradient, K)))
    torch.testing.assert_close(step, expected, rtol=1e-4, atol=1e-4)


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
    run = experiment(epochs=2)

    def watched(x: Tensor, beta: float) -> Tensor:
        seen.append(x[:, 0])
        return run.step(x, beta)

    trained(replace(run, step=watched))
    assert [len(numbers) for numbers in seen] == [*BATCHES, *BATCHES]
    first, second = torch.cat(seen[:3]), torch.cat(seen[3:])
    every = run.data.train.batch(torch.arange(130))[:, 0].sort().values
    assert first.sort().values.tolist() == second.sort().values.tolist() == every.tolist()
    assert first.tolist() != second.tolist()


@pytest.mark.parametrize("cells", [1, 4 * 50, 4 * 101, 10**6])
def test_data_come_in_batches_however_many_are_fetched_together(cells: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("elbo_cli.training.loop.CELLS", cells)
    split, index = dataset().train, torch.randperm(130)
    batches, sizes = zip(*_visited(split, index, 50), strict=True)
    assert [len(x) for x in batches] == list(sizes) == list(BATCHES)
    assert (torch.cat(batches) == split.batch(index)).all()


def test_the_columns_are_the_elbo_whatever_training_climbs() -> None:
    """beta, free bits and tempering never enter a record: at lr = 0 all objectives say the same of one model."""
    plain = trained(experiment())
    for objective in (
        Objective(beta=lambda epoch: 0.1),
        Objective(beta=lambda epoch: 7.0),
        Objective(free_bits=3.0),
        Objective(free_bits=3.0, beta=lambda epoch: 0.0),
        Objective(gradient="stl"),
    ):
        found = trained(experiment(objective=objective))
        assert [replace(r, beta=1.0, free_bits=0.0, implied_beta=0.64) for r in found] == [
            replace(r, implied_beta=0.64) for r in plain
        ]
        assert {(r.beta, r.free_bits) for r in found} == {(objective.beta(1), objective.free_bits)}


def test_sigma_weighs_the_kl_as_the_implied_beta_says() -> None:
    """sigma^2 times the objective is -( |x - mean|^2 / 2 + beta sigma^2 KL ), as far as encoder and decoder see it."""
    x, model, beta = dataset().train.batch(torch.arange(130)), vae(sigma=0.5), 0.7
    (record,) = trained(experiment(model=model, epochs=1, objective=Objective(beta=lambda epoch: beta)))
    assert record.implied_beta == pytest.approx(beta * 0.25)
    parameters = [*model.encoder.parameters(), *model.decoder.parameters()]
    scaled = torch.autograd.grad(0.25 * closed_elbo(model, x, 0.5, beta).sum(), parameters)
    alike = torch.autograd.grad(closed_elbo(model, x, 1.0, record.implied_beta).sum(), parameters)
    for mine, theirs in zip(scaled, alike, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-3)


def test_the_implied_beta_follows_a_sigma_that_is_learnt() -> None:
    model = vae(sigma="shared")
    found = trained(experiment(model=model, epochs=3, lr=0.05))
    assert found[-1].implied_beta == pytest.approx(model.visible.variance().item())  # type: ignore[union-attr]
    assert len({r.implied_beta for r in found}) == 3, "it moves"
    assert trained(experiment(model=vae(sigma="per_pixel"), epochs=1))[0].implied_beta is None


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


@pytest.mark.parametrize("gradient", ["stl", "dreg"])
def test_the_estimator_of_the_gradient_is_in_no_column(gradient: str) -> None:
    """Of a model that stands still all estimators say the same, to the bit."""
    plain = trained(experiment(objective=Objective("iwae", samples=5)))
    assert trained(experiment(objective=Objective("iwae", gradient, 5))) == plain


@pytest.mark.parametrize("gradient", ["standard", "dreg"])
def test_the_bound_that_is_reported_is_at_most_log_px(gradient: str) -> None:
    """A surrogate, such as sum of normalised weights times log w, would be above it."""
    model = vae(sigma=0.8)
    run = experiment(model=model, epochs=1, objective=Objective("iwae", gradient, 500))
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
    found = trained(experiment(epochs=4, objective=Objective(beta=warm_up(0.5, 2))))
    assert [r.beta for r in found] == [0.0, 0.25, 0.5, 0.5]


def test_ticks_count_the_batches() -> None:
    events = list(fit(experiment(epochs=2, batch_size=1)))
    ticks = [event for event in events if isinstance(event, Tick)]
    assert [(t.done, t.total) for t in ticks] == [(50, 130), (100, 130), (130, 130)] * 2
    assert sum(not isinstance(event, Tick) for event in events) == 2
