"""Training one half of the ELBO leaves the other as it was, to the bit; the encoder's leaves log p(x) with it."""

import copy
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from elbo_cli import build
from elbo_cli import config as configs
from elbo_cli.errors import UserError
from elbo_cli.gap import probe as module
from elbo_cli.gap.probe import Probe
from elbo_cli.models.vae import VAE
from elbo_cli.presets import preset_text
from elbo_cli.training.experiment import Experiment, Objective
from elbo_cli.training.loop import records
from elbo_cli.training.sides import BOTH, DECODER, ENCODER, UPDATES, moving, refuse_shared
from tests.experiments import (
    CPU,
    closed_elbo,
    dataset,
    decoder_of,
    experiment,
    log_px,
    stopped,
    timeless,
    trained,
    vae,
    weights,
)

SMALL = ["model.encoder.hidden=[8]", "model.decoder.hidden=[8]", "model.latent_dim=3", "train.gap_every=0"]


def side(model: VAE, number: int) -> Tensor:
    """The weights of one half, in a row: 0 the encoder's, 1 the decoder's."""
    return torch.cat([weights(part) for part in model.halves()[number] if list(part.parameters())])


def with_adam(model: VAE, update: str, encoder_steps: int = 1, epochs: int = 4, **more: object) -> Experiment:
    run = experiment(model=model, epochs=epochs, lr=0.01, **more)  # type: ignore[arg-type]
    adam = torch.optim.Adam(run.optimizer.param_groups[0]["params"], fused=True)
    step = replace(run.step, optimizer=adam)  # type: ignore[type-var]
    return replace(run, optimizer=adam, step=step, turns=UPDATES[update](encoder_steps))


def test_the_halves_are_the_whole() -> None:
    model = vae(sigma="shared")
    q, p = model.halves()
    found = [parameter for part in (*q, *p) for parameter in part.parameters()]
    assert {id(parameter) for parameter in found} == {id(parameter) for parameter in model.parameters()}
    assert len(found) == len(list(model.parameters())), "none is in both"


def test_turns_come_as_they_are_asked_for() -> None:
    assert [UPDATES["alternate"](2)(step) for step in range(7)] == [ENCODER, ENCODER, DECODER] * 2 + [ENCODER]
    assert [UPDATES["alternate"](1)(step) for step in range(3)] == [ENCODER, DECODER, ENCODER]
    assert [UPDATES[name](3)(9) for name in ("both", "encoder", "decoder")] == [BOTH, ENCODER, DECODER]


@pytest.mark.parametrize("objective", [Objective(), Objective("iwae", "dreg", 3), Objective(free_bits=0.1)])
@pytest.mark.parametrize("update", ["encoder", "decoder"])
def test_the_other_half_keeps_its_weights_to_the_bit_and_gets_no_moments(update: str, objective: Objective) -> None:
    model = vae(sigma="shared")
    moved, still = (0, 1) if update == "encoder" else (1, 0)
    before = [side(model, 0), side(model, 1)]
    run = with_adam(model, update, objective=objective)
    trained(run)
    assert (side(model, still) == before[still]).all()
    assert (side(model, moved) != before[moved]).all(), "every weight of the half that learns has moved"
    with_moments = {id(parameter) for parameter in run.optimizer.state}
    expected = {id(p) for part in model.halves()[moved] for p in part.parameters()}
    assert with_moments == expected
    assert all(parameter.requires_grad for parameter in model.parameters()), "afterwards all may learn again"


def test_training_the_encoder_leaves_log_px_to_the_bit_and_closes_the_gap() -> None:
    """In closed form: log p(x) is of the decoder alone, and the ELBO rises towards it."""
    model, x = vae(sigma=0.8), dataset().valid.batch(torch.arange(40))
    with torch.no_grad():
        truth = log_px(*decoder_of(model), x, 0.8)
        gap = truth - closed_elbo(model, x, 0.8)
    trained(with_adam(model, "encoder", epochs=100))
    with torch.no_grad():
        assert (log_px(*decoder_of(model), x, 0.8) == truth).all()
        after = truth - closed_elbo(model, x, 0.8)
    assert after.mean() < 0.1 * gap.mean()
    assert (after > 0).all()


def probe(model: VAE, seed: int = 0) -> Probe:
    return Probe(model, dataset().valid, 40, 64, seed, CPU)


def resolution(model: VAE) -> float:
    """What the probe's log p(x) is good for: its spread over twenty seeds."""
    return torch.tensor([probe(model, seed)().log_px for seed in range(20)]).std().item()


@pytest.mark.parametrize("update", ["encoder", "both"])
def test_the_ledger_of_an_encoder_step_has_its_log_px_where_it_was(update: str) -> None:
    """To what the estimator resolves, while the gap falls a hundred times as far; training both moves log p(x)."""
    model = vae(sigma=0.8)
    fuzzy = 4 * resolution(model)
    assert fuzzy < 0.03, "blind"
    found = trained(with_adam(model, update, epochs=30, probe=probe(model), gap_every=1))
    moved = [abs(sum(r.delta_log_px or 0.0 for r in found[: n + 1])) for n in range(30)]
    assert sum(r.delta_gap or 0.0 for r in found) < -100 * fuzzy / 4
    assert (max(moved) < fuzzy) is (update == "encoder")


def test_alternating_counts_steps_across_epochs() -> None:
    """Three batches an epoch and turns of two: the second epoch begins with the decoder."""
    model, seen = vae(), []
    run = with_adam(model, "alternate", epochs=2)

    def spy(x: Tensor, beta: float) -> Tensor:
        seen.append([any(p.requires_grad for part in half for p in part.parameters()) for half in model.halves()])
        return run.step(x, beta)

    trained(replace(run, step=spy))
    assert seen == [[True, False], [False, True]] * 3


def test_alternating_gives_each_half_its_steps() -> None:
    model = vae()
    run = with_adam(model, "alternate", 2, epochs=3)
    trained(run)  # nine steps: six of the encoder's and three of the decoder's
    counts = [
        [int(run.optimizer.state[p]["step"]) for part in half for p in part.parameters() if p.requires_grad]
        for half in model.halves()
    ]
    assert set(counts[0]) == {6}
    assert set(counts[1]) == {3}


@pytest.mark.parametrize("update", ["encoder", "decoder", "alternate"])
@pytest.mark.parametrize("stop", [1, 2])
def test_a_run_taken_up_again_is_the_run_that_went_through(update: str, stop: int) -> None:
    whole, first = with_adam(vae(), update), with_adam(vae(), update)
    expected = trained(whole)
    past = stopped(first, stop)
    second = with_adam(copy.deepcopy(first.model), update)
    second.optimizer.load_state_dict(first.optimizer.state_dict())
    assert [timeless(record) for record in records(second, past)] == expected[stop:]
    assert (weights(second.model) == weights(whole.model)).all()


def test_what_stands_still_keeps_its_running_statistics_too() -> None:
    model = vae()
    norm = nn.BatchNorm1d(1)
    model.decoder.net.append(norm)  # type: ignore[operator, union-attr]
    before = copy.deepcopy(norm.state_dict())
    model.train()
    with moving(model, ENCODER):
        assert not norm.training
        norm(torch.randn(5, 1))
    assert all((value == before[name]).all() for name, value in norm.state_dict().items())
    assert norm.training
    with moving(model, DECODER):
        norm(torch.randn(5, 1))
    assert norm.running_mean != before["running_mean"]


def test_a_step_that_fails_leaves_the_model_as_it_was() -> None:
    model = vae(sigma=0.8)
    with pytest.raises(RuntimeError, match="no luck"), moving(model, DECODER):
        raise RuntimeError("no luck")
    assert all(p.requires_grad for p in model.encoder.parameters())
    assert not model.visible.log_sigma.requires_grad, "a fixed sigma stays fixed"
    with moving(model, ENCODER):
        pass
    assert not model.visible.log_sigma.requires_grad


def test_build_takes_the_update_from_the_config() -> None:
    overrides = [*SMALL, "train.update=alternate", "train.encoder_steps=3"]
    turns = build.experiment(configs.loads(preset_text("digits"), overrides=overrides)).turns
    assert [turns(step) for step in range(4)] == [ENCODER, ENCODER, ENCODER, DECODER]


def test_a_prior_that_looks_through_the_encoder_is_refused() -> None:
    overrides = [*SMALL, "model.prior=vamp", "model.components=5"]
    with pytest.raises(UserError, match="this p\\(z\\) looks through the encoder"):
        build.experiment(configs.loads(preset_text("digits"), overrides=[*overrides, "train.update=encoder"]))
    build.experiment(configs.loads(preset_text("digits"), overrides=[*overrides, "train.update=alternate"]))
    refuse_shared(vae())


def test_the_probe_of_a_network_does_not_move_with_its_encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two steps to each mode end where they end, wherever q is; with one the proposal, and log p(x), move with q."""
    overrides = [*SMALL[:2], "model.latent_dim=10", "train.epochs=8", "train.gap_every=0", "optim.lr=3e-3"]
    run = build.experiment(configs.loads(preset_text("digits"), overrides=overrides))
    trained(run)
    moved = {}
    for steps in (1, module.STEPS):
        monkeypatch.setattr(module, "STEPS", steps)
        measured = []
        for shift in (0.0, 0.8):
            model = copy.deepcopy(run.model)
            with torch.no_grad():
                list(model.encoder.parameters())[-1][:10] += shift  # of every mean, most of a standard deviation
            measured.append(Probe(model, run.data.valid.frozen(), 64, 32, 0, CPU)().log_px)
        moved[steps] = abs(measured[1] - measured[0])
    assert moved[2] < 0.05
    assert moved[1] > 2 * moved[2]
