"""The closing words: the ledger in one sentence with its cost, and a warning where the posterior has collapsed."""

import pytest

from elbo_cli.records import EpochRecord
from elbo_cli.report.training import collapse, ledger


def row(model: float, gap: float, **more: float) -> EpochRecord:
    return EpochRecord(delta_log_px=model, delta_gap=gap, probe_seconds=0.5, seconds=20.0, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (
            [row(10.0, -1.0), row(1.1, -0.2)],
            "Of +12.3 nats that the probe's ELBO moved, 11.1 were a better model and 1.2 a tighter bound.",
        ),
        ([row(3.0, 1.5)], "Of +1.5 nats that the probe's ELBO moved, 3.0 were a better model and -1.5 a looser bound."),
        (
            [row(-3.0, 0.5)],
            "Of -3.5 nats that the probe's ELBO moved, -3.0 were a worse model and -0.5 a looser bound.",
        ),
        (
            [row(0.0021, -0.5)],
            "Of +0.502 nats that the probe's ELBO moved, 0.002 were a better model and 0.500 a tighter",
        ),
        (
            [row(-1e-9, -2.0)],
            "Of +2.0 nats that the probe's ELBO moved, 0.0 were a better model and 2.0 a tighter bound.",
        ),
    ],
)
def test_the_ledger_is_a_sentence(rows: list[EpochRecord], said: str) -> None:
    assert ledger([EpochRecord(seconds=1.0), *rows])[0].startswith(said)


def test_its_cost_is_said() -> None:
    assert ledger([row(1.0, 1.0), row(1.0, 1.0)])[1] == "The probe took 1.0 s of 20.0 s, 5.0%."


def test_without_a_probe_there_is_no_ledger() -> None:
    assert ledger([EpochRecord(seconds=1.0)]) == []


@pytest.mark.parametrize(
    ("units", "kl", "said"),
    [
        (0, 0.0, "(no latent is active, KL 0.000 nats)"),
        (0, 0.3, "(no latent is active, KL 0.300 nats)"),
        (None, 0.0, "(q(z|x) is p(z), KL 0.000 nats)"),
        (1, 0.001, None),
        (None, 0.06, None),
        (None, None, None),
    ],
)
def test_a_posterior_that_has_collapsed_is_told(units: int | None, kl: float | None, said: str | None) -> None:
    found = collapse(EpochRecord(active_units=units, valid_kl=kl))
    assert found is None if said is None else said in (found or "")
