"""Runs side by side, from records alone."""

from typing import Any

import pytest
import torch
from scipy.stats import t

from elbo_cli.comparison.compare import Entry, compare
from elbo_cli.comparison.grouping import grouped, letter
from elbo_cli.records import Estimate, Evaluation, EvaluationRow

N = 40


def entry(run: str, elbo: torch.Tensor, **settings: Any) -> Entry:
    rows = tuple(EvaluationRow(index=n, elbo=v, reconstruction=v + 1, kl=1.0) for n, v in enumerate(elbo.tolist()))
    mean = elbo.mean().item()
    found = Evaluation(
        data="made",
        split="test",
        examples=len(rows),
        elbo=Estimate(mean, 0.1),
        reconstruction=Estimate(mean + 1, 0.1),
        kl=Estimate(1.0, 0.0),
        latents=2,
        layers=(2,),
        active_per_layer=(2,),
        active_units=2,
        kl_per_latent=(0.5, 0.5),
        bits_per_dim=None,
        rows=rows,
    )
    return Entry(run=run, settings=settings, evaluation=found)


def six(better: float) -> list[Entry]:
    """Three seeds of two configs, `better` nats apart, on data that are much more unlike than the configs."""
    hard = 20 * torch.randn(N).double()
    runs = []
    for name, shift in (("a", 0.0), ("b", better)):
        for seed in range(3):
            noise = 0.2 * torch.randn(N) + 0.05 * torch.randn(1)
            runs.append(entry(f"{name}{seed}", hard + shift + noise, size=name, seed=seed))
    return runs


def test_a_crippled_config_is_told() -> None:
    found = compare(six(-1.0), samples=10, seed=0)
    assert [config.config for config in found.configs] == ["A", "B"]
    assert found.verdict.startswith("A is better")
    elbo = next(d for d in found.differences if d.quantity == "elbo")
    assert elbo.low < 1.0 < elbo.high
    assert elbo.told


def test_the_best_comes_first_wherever_it_was_named() -> None:
    found = compare(six(1.0), samples=10, seed=0)
    assert [config.config for config in found.configs] == ["B", "A"]
    assert [run.config for run in found.runs] == ["B"] * 3 + ["A"] * 3
    assert found.runs[0].behind == found.runs[0].se_behind == 0
    assert all(run.behind == pytest.approx(found.runs[0].elbo - run.elbo) for run in found.runs)
    assert [run.behind for run in found.runs] == sorted(run.behind for run in found.runs)


def test_equal_configs_cannot_be_told() -> None:
    found = compare(six(0.0), samples=10, seed=0)
    assert found.verdict.startswith("Cannot be told")


def test_runs_with_the_same_numbers_cannot_be_told() -> None:
    values = torch.randn(N)
    found = compare([entry("a", values, size=1, seed=0), entry("b", values, size=2, seed=0)], samples=10, seed=0)
    assert found.verdict.startswith("Cannot be told")
    assert "of these trainings" in found.verdict


def test_seeds_are_aggregated_to_mean_and_standard_error() -> None:
    shifts = (0.0, 1.0, 5.0)  # mean 2, variance 7, s.e. sqrt(7/3)
    found = compare([entry(str(s), torch.full((N,), s), seed=int(s)) for s in shifts], samples=1, seed=0)
    (config,) = found.configs
    assert config.means["elbo"] == pytest.approx(2)
    assert config.se_seeds["elbo"] == pytest.approx((7 / 3) ** 0.5)
    assert config.seeds == (0, 1, 5)
    assert "nothing to win" in found.verdict


def test_of_many_configs_one_rival_that_is_near_is_enough_not_to_tell() -> None:
    hard = 20 * torch.randn(N)
    runs = [entry(str(i), hard + shift + 0.1 * torch.randn(N), size=i) for i, shift in enumerate((0.0, 0.01, -9.0))]
    found = compare(runs, samples=1, seed=0)
    assert found.verdict.startswith("Cannot be told")
    assert "C may be as good" not in found.verdict
    assert {d.behind for d in found.differences if d.told and d.quantity == "elbo"} == {"C"}


def test_the_intervals_of_many_comparisons_hold_together() -> None:
    values = [torch.randn(N) for _ in range(3)]
    runs = [entry(str(i), value, size=i) for i, value in enumerate(values)]
    for count in (2, 3):
        d = compare(runs[:count], samples=1, seed=0).differences[0]
        assert d.high - d.mean == pytest.approx(d.se * t.ppf(1 - 0.025 / (count - 1), N - 1), rel=1e-6)


def test_repeats_differ_in_their_seed_alone() -> None:
    runs = [{"seed": 0, "lr": 1}, {"seed": 1, "lr": 1, "data.root": "/elsewhere"}, {"seed": 0, "lr": 2, "new": True}]
    assert grouped(runs) == (["A", "A", "B"], {"lr": {"A": 1, "B": 2}, "new": {"A": None, "B": True}})


def test_models_of_a_users_own_are_never_repeats() -> None:
    assert grouped([{}, {}]) == (["A", "B"], {})


def test_there_are_letters_enough() -> None:
    assert [letter(n) for n in (0, 25, 26, 51, 52, 701, 702)] == ["A", "Z", "AA", "AZ", "BA", "ZZ", "AAA"]
