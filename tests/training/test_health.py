"""The gradient's norm and its signal to noise are what they say, and training does not notice that they are taken."""

from dataclasses import replace

import pytest
import torch

from elbo_cli.training import health as module
from elbo_cli.training.experiment import Objective
from elbo_cli.training.health import ESTIMATES, _ratio, health
from tests.experiments import changed, closed_elbo, dataset, experiment, timeless, trained, vae, weights
from tests.statistics import outside, within


@pytest.mark.parametrize("beta", [1.0, 4.0])
def test_the_norm_is_that_of_the_gradient_of_the_objective(beta: float) -> None:
    """With many draws an estimate is the gradient itself, of the mean of the first batch."""
    model = vae(sigma=0.8)
    run = experiment(model=model, batch_size=200, objective=Objective(samples=500))
    parameters = [p for p in model.parameters() if p.requires_grad]
    x = dataset().train.batch(torch.arange(130))
    wanted = torch.autograd.grad(closed_elbo(model, x, 0.8, beta).mean(), parameters)
    expected = torch.cat([g.flatten() for g in wanted]).norm().item()
    assert health(run, beta)["gradient_norm"] == pytest.approx(expected, rel=0.02)
    assert health(run, beta + 3)["gradient_norm"] != pytest.approx(expected, rel=0.04), "blind"


@pytest.mark.parametrize("signal", [0.0, 0.3])
def test_the_ratio_is_unbiased_in_its_square(signal: float) -> None:
    """Of R estimates with mean m and variance 1 in each of 200 directions: |E g|^2 / tr Cov g = m^2."""
    g = signal + torch.randn(1000, ESTIMATES, 200, dtype=torch.float64).mul(1.0)
    ratios = torch.tensor([_ratio(each.mean(0), each.square().mean(0)) for each in g], dtype=torch.float64).square()
    naive = g.mean(1).square().sum(-1) / g.var(1).sum(-1)
    if signal:
        within(ratios.unsqueeze(1), signal**2, resolve=0.01)
    else:
        assert ratios.mean() < 2e-3  # what is below 0 is cut off
    outside(naive.unsqueeze(1), signal**2)


def test_without_noise_there_is_no_ratio() -> None:
    assert _ratio(torch.ones(3), torch.ones(3)) is None


def test_the_signal_of_iwae_falls_with_k_and_that_of_dreg_rises(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rainforth et al. (2018), Tucker et al. (2018): 1/sqrt K and sqrt K, once K is large. It takes 600 estimates."""
    monkeypatch.setattr(module, "ESTIMATES", 600)
    found = {
        name: [
            health(experiment(objective=Objective("iwae", name, K), batch_size=10), 1.0)["encoder_snr"] for K in (4, 64)
        ]
        for name in ("standard", "dreg")
    }
    assert found["standard"][0] > 2 * found["standard"][1] > 0
    assert found["dreg"][1] > 2.5 * found["dreg"][0]


def test_training_does_not_notice() -> None:
    plain, watched = experiment(lr=0.02, epochs=3), experiment(lr=0.02, epochs=3, health=True)
    without, found = trained(plain), trained(watched)
    assert [replace(r, gradient_norm=None, encoder_snr=None, kl_per_latent=None) for r in found] == without
    assert (weights(plain.model) == weights(watched.model)).all()
    for record in found:
        assert record.gradient_norm is not None
        assert record.encoder_snr is not None
        assert record.kl_per_latent is not None
        assert sum(record.kl_per_latent) == pytest.approx(record.valid_kl)
    assert without[0].gradient_norm is None


def test_it_is_the_same_for_weights_that_stand_still() -> None:
    found = trained(experiment(epochs=3, health=True))
    assert len({(r.gradient_norm, r.encoder_snr, r.kl_per_latent) for r in found}) == 1
    assert len({r.train_elbo for r in found}) == 3


def test_after_it_the_epoch_goes_on_in_training() -> None:
    assert changed(experiment(lr=0.02, epochs=1, health=True)).norm() > 0
    assert timeless(trained(experiment(health=True))[0]).seconds == 0.0
