"""The closing words of a training, and its JSON."""

from collections.abc import Sequence
from typing import Any

from elbo_cli.records import EpochRecord
from elbo_cli.runs import RunFolder


def closing(records: Sequence[EpochRecord], best: EpochRecord, folder: RunFolder) -> list[str]:
    """The best epoch, what the ELBO's progress was made of, and every file of the run."""
    lines = [""]
    if best.epoch:
        elbo = best.train_elbo if best.valid_elbo is None else best.valid_elbo
        lines.append(f"Best epoch {best.epoch} of {records[-1].epoch}: validation ELBO {elbo:.2f} nats per datum.")
    lines += ledger(records)
    lines += [f"  {path}" for path in folder.files()]
    return [*lines, f"Next: elbo evaluate {folder.path}    elbo gap {folder.path}"]


def ledger(records: Sequence[EpochRecord]) -> list[str]:
    """How much of the ELBO's change on the probe was a better model and how much a tighter bound."""
    model = sum(r.delta_log_px for r in records if r.delta_log_px is not None)
    bound = -sum(r.delta_gap for r in records if r.delta_gap is not None)
    if not any(r.delta_log_px is not None for r in records):
        return []
    return [f"The probe's ELBO: {model + bound:+.1f} nats = {model:+.1f} (better model) {bound:+.1f} (tighter bound)."]


def implied_beta(beta: float, variance: float | None, pixels: int, learnt: bool) -> str:
    """What sigma makes of beta: p(x | z) = N(mean, sigma^2) divides the squared error by sigma^2, and not the KL.

        sigma^2 ( log p(x | z) - beta KL )  =  -( |x - mean|^2 / 2 + beta sigma^2 KL ) + what mean and KL do not move

    Args:
        beta: of the objective.
        variance: sigma^2; None where each pixel has its own.
        pixels: of a datum.
        learnt: whether sigma is.
    """
    if variance is None:
        return (
            "Each pixel has a sigma of its own, which weighs its squared error against the KL: "
            "there is no one implied beta."
        )
    implied = beta * variance
    said = (
        f"sigma {variance**0.5:.3g} implies beta {implied:.3g}: the objective is that of |x - mean|^2 / 2 + "
        f"{implied:.3g} KL, or of the mean squared error over {pixels} pixels + {2 * implied / pixels:.3g} KL."
    )
    return f"{said} It is learnt: the column implied_beta follows it." if learnt else said


def training_json(folder: RunFolder, last: EpochRecord, best: EpochRecord) -> dict[str, Any]:
    """The keys of the contract: the last epoch's means, and the best epoch's validation beside them."""
    return {
        "run": str(folder.path),
        "epochs": last.epoch,
        "best_epoch": best.epoch,
        "seconds": round(last.seconds, 3),
        "train": _means(last, "train"),
        "valid": _means(last, "valid"),
        "best": {"train": _means(best, "train"), "valid": _means(best, "valid")},
    }


def _means(record: EpochRecord, split: str) -> dict[str, float | None]:
    return {name: getattr(record, f"{split}_{name}") for name in ("elbo", "reconstruction", "kl")}
