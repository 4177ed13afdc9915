"""What captions say is true of the numbers that they are about."""

import numpy as np
import pytest

from elbo_cli.portrait.records import Posterior
from elbo_cli.records import EpochRecord, Estimate, Evaluation
from elbo_cli.report.figures.latents import _levels, _mismatch, latents_caption
from elbo_cli.report.figures.training import curves_caption, ledger, since


def epoch(n: int, **values: float) -> EpochRecord:
    given = {"train_elbo": -100.0 + n, "train_reconstruction": -90.0 + n, "train_kl": 10.0, "valid_elbo": -101.0 + n}
    return EpochRecord(epoch=n, **(given | values))  # type: ignore[arg-type]


def probed(gap: float, log_px: float | None = None, delta_gap: float | None = None) -> dict[str, float | None]:
    return {"valid_gap": gap, "delta_log_px": log_px, "delta_gap": delta_gap}


def test_the_ledger_says_what_the_gap_did() -> None:
    rows = [epoch(1, **probed(9.1)), epoch(2), epoch(3, **probed(8.0, 3.0, -1.1)), epoch(4, **probed(7.1, 0.5, -0.9))]  # type: ignore[arg-type]
    figure = ledger(rows)
    assert figure is not None
    assert "+3.50 are a better model" in figure.caption
    assert "+2.00 are the bound: the gap fell from 9.10 to 7.10 nats" in figure.caption
    assert "Of the +5.50 nats" in figure.caption
    assert "after epoch 1," in figure.caption


def test_a_gap_that_grew_is_called_a_loss() -> None:
    rows = [epoch(1, **probed(1.0, 2.0, 0.4))]  # type: ignore[arg-type]
    figure = ledger(rows)
    assert figure is not None
    assert "rose from 0.60 to 1.00" in figure.caption
    assert "did not keep up" in figure.caption
    assert since(rows, rows[0]) == 0


def test_a_ledger_counts_from_the_probe_before() -> None:
    rows = [epoch(2), epoch(5, **probed(1.0, 2.0, -0.4)), epoch(10, **probed(0.9, 1.0, -0.1))]  # type: ignore[arg-type]
    assert [since(rows, row) for row in rows[1:]] == [0, 5]


def test_a_run_without_a_probe_has_no_ledger() -> None:
    assert ledger([epoch(1), epoch(2)]) is None


@pytest.mark.parametrize(
    ("train", "says"), [(-97.2, "1.8 nats above"), (-99.2, "within 0.20"), (-105.0, "6.0 nats below")]
)
def test_the_curves_say_how_train_and_validation_end(train: float, says: str) -> None:
    caption = curves_caption([epoch(1), epoch(2, train_elbo=train)])
    assert "from -100.0 to -99.0 nats; epoch 2 of 2" in caption
    assert says in caption


def evaluation(kl: tuple[float, ...], active: tuple[bool, ...]) -> Evaluation:
    one = Estimate(0.0, 0.0)
    return Evaluation(
        data="", split="test", examples=1, elbo=one, reconstruction=one, kl=one, latents=len(kl), layers=(len(kl),),
        active_per_layer=(sum(active),),
        active_units=sum(active), kl_per_latent=kl, bits_per_dim=None, rows=(), active=active,
    )  # fmt: skip


def test_latents_are_counted_and_weighed() -> None:
    caption = latents_caption(evaluation((0.5, 0.01, 2.0), (True, False, True)), [2, 0, 1])
    assert caption.startswith("2 of 3 latents are active")
    assert "carry 2.50 of the 2.51 nats of KL, from z2 with 2.00 down to 0.50" in caption


def test_a_collapse_is_called_one() -> None:
    assert "collapsed" in latents_caption(evaluation((0.0, 0.0), (False, False)), [0, 1])


X = np.linspace(-6, 6, 241).astype(np.float32)


def normal(mean: tuple[float, float], cov: list[list[float]]) -> "np.typing.NDArray[np.float32]":
    z = np.stack(np.meshgrid(X, X), -1) - np.array(mean)
    inverse = np.linalg.inv(cov)
    density = np.exp(-0.5 * np.einsum("...i,ij,...j", z, inverse, z)) / (2 * np.pi * np.sqrt(np.linalg.det(cov)))
    return density.astype(np.float32)


def test_a_contour_holds_the_mass_that_it_says() -> None:
    """Of a normal over the plane, the density is above (1 - m) of its peak on a share m of the mass."""
    density = normal((0, 0), [[1, 0.3], [0.3, 0.5]])
    assert _levels(density) == pytest.approx([0.05 * density.max(), 0.5 * density.max()], rel=0.02)


def posterior(p: "np.typing.NDArray[np.float32]", q: "np.typing.NDArray[np.float32]") -> Posterior:
    return Posterior(index=0, gap=1.0, x=X, y=X, density=p, q=q)


def test_what_is_wrong_with_a_q_is_named() -> None:
    round_one = normal((0, 0), [[1, 0], [0, 1]])
    assert "centre is 2.0 standard deviations off" in _mismatch(posterior(round_one, normal((2, 0), [[1, 0], [0, 1]])))
    assert "area is 0.5 times" in _mismatch(posterior(round_one, normal((0, 0), [[0.5, 0], [0, 0.5]])))
    tilted = normal((0, 0), [[1, 0.6], [0.6, 1]])
    assert "correlation +0.60" in _mismatch(posterior(tilted, normal((0, 0), [[0.64, 0], [0, 0.64]])))
    assert "agree" in _mismatch(posterior(round_one, round_one))
