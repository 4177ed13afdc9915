"""Names in a config become objects: weights from the seed, schedules in numbers, and data that fit their likelihood."""

import math
from pathlib import Path

import pytest
import torch

from elbo_cli import build, checkpoint
from elbo_cli import config as configs
from elbo_cli.checkpoint import Header
from elbo_cli.config import Config
from elbo_cli.data.digits import digits
from elbo_cli.data.split import Split
from elbo_cli.errors import UserError
from elbo_cli.evaluation import evaluate
from elbo_cli.gap.methods import METHODS
from elbo_cli.gap.probe import Probe
from elbo_cli.gap.settings import Settings
from elbo_cli.models.likelihoods import LIKELIHOODS, Options
from elbo_cli.models.networks import KINDS
from elbo_cli.presets import preset_text
from elbo_cli.runtime import finished
from elbo_cli.training.experiment import Progress
from elbo_cli.training.loop import records
from tests.experiments import CPU

MNIST = Path(__file__).parents[2] / "shared" / "data"
SMALL = ["model.encoder.hidden=[8]", "model.decoder.hidden=[8]", "model.latent_dim=3", "train.gap_every=0"]


def config(*overrides: str, preset: str = "digits") -> Config:
    return configs.loads(preset_text(preset), overrides=list(overrides))


def factors(schedule: str, epochs: int, *more: str) -> list[float]:
    """The learning rate of every epoch at lr = 1."""
    settled = build._plan(config(f"optim.schedule={schedule}", f"train.epochs={epochs}", "optim.lr=1.0", *more))
    return [settled.lr(epoch) for epoch in range(1, epochs + 1)]


def test_burdas_schedule_is_that_of_the_paper() -> None:
    """3^i epochs at 10^(-i/7), i = 0..7: 3280 in all, the first at 1 and the last 2187 at a tenth."""
    found = factors("burda", 3280)
    expected = [10 ** (-i / 7) for i in range(8) for _ in range(3**i)]
    assert len(expected) == 3280
    assert found == pytest.approx(expected, rel=1e-12)
    assert found[0] == 1
    assert sum(abs(f - 0.1) < 1e-12 for f in found) == 2187


def test_burdas_schedule_keeps_its_shares_in_fewer_epochs() -> None:
    found = factors("burda", 328)
    assert found == sorted(found, reverse=True)
    for i in (5, 6, 7):
        assert sum(abs(f - 10 ** (-i / 7)) < 1e-12 for f in found) == pytest.approx(3**i / 10, abs=1)
    assert found[-1] == pytest.approx(0.1)
    assert factors("burda", 1) == [pytest.approx(0.1)]


def test_the_cosine_falls_from_one_towards_nothing() -> None:
    found = factors("cosine", 60)
    assert found[0] == 1
    assert found[30] == pytest.approx(0.5)
    assert found == sorted(found, reverse=True)
    assert 0 < found[-1] < 0.001


def test_steps_come_when_they_are_due() -> None:
    found = factors("step", 7, "optim.step_epochs=3", "optim.step_factor=0.5")
    assert found == [1, 1, 1, 0.5, 0.5, 0.5, 0.25]


def test_a_constant_is_one() -> None:
    assert factors("constant", 5) == [1.0] * 5


def test_the_objective_is_the_configs() -> None:
    made = build._objective(
        config(
            "objective.bound=iwae",
            "objective.gradient=dreg",
            "objective.samples=7",
            "objective.beta=0.5",
            "objective.beta_warmup_epochs=2",
        ).objective
    )
    assert made.gradient == "dreg"
    assert (made.bound, made.samples, made.beta(1), made.beta(3), made.free_bits) == ("iwae", 7, 0.0, 0.5, 0.0)


@pytest.mark.parametrize("name", ["adam", "adamw"])
def test_the_optimiser_is_the_configs(name: str) -> None:
    overrides = [f"optim.name={name}", "optim.lr=0.02", "optim.betas=[0.8, 0.95]", "optim.eps=1e-4"]
    overrides += ["optim.weight_decay=0.1"] if name == "adamw" else []
    settings = build.experiment(config(*SMALL, *overrides)).optimizer.param_groups[0]
    assert (settings["lr"], settings["betas"], settings["eps"]) == (0.02, (0.8, 0.95), 1e-4)
    assert settings["weight_decay"] == (0.1 if name == "adamw" else 0)


def test_what_is_fixed_is_not_trained() -> None:
    run = build.experiment(config(*SMALL, "model.sigma=0.3", preset="linear-gaussian"))
    sigma = run.model.visible.log_sigma
    assert sigma.exp().item() == pytest.approx(0.3)
    assert all(p is not sigma for group in run.optimizer.param_groups for p in group["params"])


# weights


def test_weights_depend_on_the_seed_and_on_nothing_else() -> None:
    data = digits(binarize="threshold")
    one, two = (build.open_model(config(*SMALL), data.shape, data.train).state_dict() for _ in range(2))
    torch.manual_seed(999)
    three = build.open_model(config(*SMALL, "train.epochs=7"), data.shape, data.train).state_dict()
    for name, value in one.items():
        assert (value == two[name]).all()
        assert (value == three[name]).all()
    other = build.open_model(config(*SMALL, "seed=1"), data.shape, data.train).state_dict()
    assert any((value != other[name]).any() for name, value in one.items())


def test_making_a_model_leaves_the_global_generator_as_it_was() -> None:
    settled, data = config(*SMALL), digits(binarize="dynamic")
    state = torch.get_rng_state()
    build.open_model(settled, data.shape, data.train)
    assert (torch.get_rng_state() == state).all()


@pytest.mark.parametrize("name", LIKELIHOODS)
@pytest.mark.parametrize("kind", KINDS)
def test_every_likelihood_can_be_named_and_trained(name: str, kind: str) -> None:
    binarize = "dynamic" if name == "bernoulli" else "none"
    overrides = [*SMALL, f"model.likelihood={name}", f"data.binarize={binarize}", "train.epochs=1"]
    overrides += ["model.levels=17"] if name in ("categorical", "discretized_logistic") else []
    overrides += [f"model.encoder.kind={kind}", f"model.decoder.kind={kind}"]
    if kind in ("conv", "res_conv"):
        overrides += ["model.encoder.channels=[4]", "model.decoder.channels=[4]"]
    if name == "poisson":
        run = build.experiment(config(*SMALL, "data.binarize=threshold", "model.likelihood=poisson", "train.epochs=1"))
    else:
        run = build.experiment(config(*overrides))
    (record,) = records(run)
    assert math.isfinite(record.train_elbo)
    found = evaluate(run.model, run.data.test, data="digits", samples=1, seed=0, device=CPU)
    assert (found.bits_per_dim is None) == (name in ("gaussian", "continuous_bernoulli"))


@pytest.mark.parametrize("name", ["bernoulli", "continuous_bernoulli", "gaussian"])
def test_the_decoder_starts_at_the_mean_of_the_training_data(name: str) -> None:
    """Where z is 0: tanh layers then give the last bias alone."""
    data = digits()
    model = build.open_model(
        config(*SMALL, f"model.likelihood={name}", "data.binarize=dynamic"), data.shape, data.train
    )
    with torch.no_grad():
        start = model.likelihood(torch.zeros(3)).mean
    mean = data.train.mean().float()
    moving = (mean > 0.02) & (mean < 0.98)
    torch.testing.assert_close(start[moving], mean[moving], rtol=1e-3, atol=1e-3)
    assert moving.sum() > 40


def test_without_bias_from_data_the_decoder_starts_at_nothing() -> None:
    data = digits()
    model = build.open_model(config(*SMALL, "model.bias_from_data=false"), data.shape, data.train)
    with torch.no_grad():
        assert (model.likelihood(torch.zeros(3)).mean == 0.5).all()


@pytest.mark.parametrize("kind", ["conv", "res_conv"])
def test_a_convolutions_bias_starts_near_the_mean_of_its_channel(kind: str) -> None:
    data = digits()
    conv = [f"model.encoder.kind={kind}", f"model.decoder.kind={kind}"]
    model = build.open_model(config(*SMALL, *conv), data.shape, data.train)
    with torch.no_grad():
        start = model.likelihood(torch.zeros(3)).mean
    assert start.unique().numel() == 1
    assert 0.02 < start.mean() < 0.6


# data


def test_data_that_a_likelihood_is_not_one_of_are_refused_with_their_cure() -> None:
    with pytest.raises(
        UserError, match=r"digits: datum \d+ of the train split has x = 0\.\d+.*0 or 1.*binarize=dynamic"
    ):
        build.experiment(config(*SMALL, "data.binarize=none"))


def test_it_is_the_first_such_datum_that_is_named() -> None:
    x = torch.zeros(5000, 3)
    x[4500, 2] = 0.25
    likelihood = LIKELIHOODS["bernoulli"]((3,), Options())
    with pytest.raises(UserError, match=r"numbers: datum 4500 of the train split has x = 0\.25,"):
        build.refuse_unsupported(likelihood, Split("train", x, "numbers"))
    build.refuse_unsupported(likelihood, Split("train", x.round(), "numbers"))


def test_every_split_is_looked_at() -> None:
    data = digits(binarize="threshold")
    likelihood = LIKELIHOODS["bernoulli"](data.shape, Options())
    for split in (data.train, data.valid, data.test):
        build.refuse_unsupported(likelihood, split)
    with pytest.raises(UserError, match="test split"):
        build.refuse_unsupported(likelihood, digits().test)


def test_levels_that_are_not_those_of_the_data_are_refused() -> None:
    with pytest.raises(UserError, match=r"one of 256 levels k/255: .*model.levels=L"):
        build.experiment(config(*SMALL, "data.binarize=none", "model.likelihood=categorical", "model.levels=256"))


def test_threads_are_the_configs() -> None:
    build.experiment(config(*SMALL, "threads=2"))
    assert torch.get_num_threads() == 2


def test_a_probe_is_there_if_it_is_asked_for() -> None:
    assert build.experiment(config(*SMALL)).probe is None
    run = build.experiment(config(*SMALL[:-1], "train.gap_every=2", "train.gap_examples=5", "train.gap_samples=4"))
    assert run.probe is not None
    assert run.plan.gap_every == 2
    assert run.probe().gap > -50


def test_every_split_moves_to_the_device_once(monkeypatch: pytest.MonkeyPatch) -> None:
    moved, move = [], Split.to
    monkeypatch.setattr(Split, "to", lambda split, device: (moved.append(split.name), move(split, device))[1])
    run = build.experiment(config(*SMALL[:-1]))
    assert isinstance(run.probe, Probe)
    assert run.probe.split is run.data.valid
    assert sorted(moved) == ["test", "train", "valid"]


# a run taken up again


def save(path: Path, run: build.Experiment, settled: Config, past: Progress) -> Path:
    digest = run.data.train.digest()
    header = Header(configs.dump(settled), run.data.shape, digest, past.last, past.best, (-9.0, 2.0))
    checkpoint.write(path, header, run.model.state_dict(), checkpoint.pack(run.optimizer))
    return path


def test_what_is_restored_is_what_was_saved(tmp_path: Path) -> None:
    settled = config(*SMALL, "train.epochs=1")
    run = build.experiment(settled)
    (record,) = records(run)
    opened = checkpoint.read(save(tmp_path / "a.safetensors", run, settled, Progress(record, record)))
    again = build.experiment(config(*SMALL, "train.epochs=1", "seed=0"))
    past = build.restore(again, opened)
    assert past.last == past.best == record
    assert past.probed is not None
    assert (past.probed.log_px, past.probed.gap) == (-9.0, 2.0)
    for ours, theirs in zip(again.model.state_dict().values(), run.model.state_dict().values(), strict=True):
        assert (ours == theirs).all()
    found, expected = again.optimizer.state_dict()["state"], run.optimizer.state_dict()["state"]
    assert found.keys() == expected.keys()
    for slot in found:
        assert all((found[slot][name] == expected[slot][name]).all() for name in expected[slot])
    reopened, model = build.trained(opened)
    assert reopened == settled
    assert not model.training
    assert all(
        (a == b).all() for a, b in zip(model.state_dict().values(), run.model.state_dict().values(), strict=True)
    )


def test_other_data_are_refused(tmp_path: Path) -> None:
    settled = config(*SMALL)
    opened = checkpoint.read(save(tmp_path / "a.safetensors", build.experiment(settled), settled, Progress()))
    other = build.experiment(config(*SMALL, "data.valid=100"))
    with pytest.raises(UserError, match=r"trained on other data .* a run resumes on its own data"):
        build.restore(other, opened)


def test_weights_of_another_shape_are_refused(tmp_path: Path) -> None:
    settled = config(*SMALL)
    opened = checkpoint.read(save(tmp_path / "a.safetensors", build.experiment(settled), settled, Progress()))
    wider = build.open_model(config(*SMALL[:2], "model.latent_dim=4"), (1, 8, 8))
    with pytest.raises(UserError, match="does not fit its own config"):
        build.load_weights(wider, opened)


# the real thing


@pytest.mark.skipif(not (MNIST / "MNIST" / "raw").is_dir(), reason=f"no MNIST in {MNIST.name}/ beside the repository")
def test_a_few_steps_on_mnist() -> None:
    """The whole way on real data: 600 images, an epoch, an evaluation and a gap."""
    settled = configs.loads(preset_text("mnist-vae"), overrides=["train.epochs=1", "train.gap_every=0"])
    options = settled.data.model_dump(exclude={"name", "root"})
    data = build.SOURCES["mnist"](**options, root=MNIST, seed=0)
    assert (len(data.train), len(data.valid), len(data.test), data.shape) == (55_000, 5_000, 10_000, (1, 28, 28))
    small = build.Dataset("mnist", data.train.first(600), data.valid.first(100), data.test.first(40))
    model = build.open_model(settled, data.shape, data.train)
    optimizer, objective, plan = (
        build._optimizer(settled.optim, model),
        build._objective(settled.objective),
        build._plan(settled),
    )
    run = build.Experiment(
        model=model,
        data=small,
        optimizer=optimizer,
        step=build._step_of(model, optimizer, objective, plan),
        objective=objective,
        plan=plan,
        seed=0,
        device=CPU,
    )
    before = evaluate(model, small.test, data="mnist", samples=1, seed=0, device=CPU).elbo.mean
    (record,) = records(run)
    after = evaluate(model, small.test, data="mnist", samples=1, seed=0, device=CPU)
    assert -260 < before < after.elbo.mean < -100
    assert record.valid_elbo == pytest.approx(after.elbo.mean, abs=30)
    gap = finished(METHODS["importance"](model, small.test, Settings(K=50)))
    assert gap.elbo.mean < gap.log_px.mean < -80
    assert gap.gap.mean > 0
