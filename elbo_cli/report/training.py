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
    lines += [warning] if (warning := collapse(records[-1])) else []
    lines += [f"  {path}" for path in folder.files()]
    return [*lines, f"Next: elbo evaluate {folder.path}    elbo gap {folder.path}"]


def ledger(records: Sequence[EpochRecord]) -> list[str]:
    """How much of the ELBO's change on the probe was a better model and how much a tighter bound, and what it cost."""
    model, gap, probed = (_total(records, name) for name in ("delta_log_px", "delta_gap", "probe_seconds"))
    if model is None or gap is None or probed is None:
        return []
    bound = -gap
    digits = 1 if max(abs(model), abs(bound)) >= 1 else 3
    form = f"z.{digits}f"
    better = "worse" if round(model, digits) < 0 else "better"
    tighter = "looser" if round(bound, digits) < 0 else "tighter"
    return [
        f"Of {model + bound:+{form}} nats that the probe's ELBO moved, {model:{form}} were a {better} model and "
        f"{bound:{form}} a {tighter} bound.",
        f"The probe took {probed:.1f} s of {records[-1].seconds:.1f} s, {_share(probed, records[-1].seconds)}.",
    ]


def _share(part: float, whole: float) -> str:
    """A part in percent."""
    return f"{part / whole:.1%}" if whole > 0 else "0.0%"


COLLAPSED = 0.05  # nats of KL at which q(z | x) tells nothing of x, where there are no means to tell active units by


def collapse(record: EpochRecord) -> str | None:
    """A warning in one sentence where the posterior has collapsed onto the prior."""
    small = record.valid_kl is not None and record.valid_kl < COLLAPSED
    if not (small if record.active_units is None else record.active_units == 0):
        return None
    units = "q(z|x) is p(z)" if record.active_units is None else "no latent is active"
    return (
        f"The posterior has collapsed ({units}, KL {record.valid_kl or 0.0:.3f} nats): z says nothing of x; "
        "try objective.free_bits=0.1, or objective.beta_warmup_epochs=10."
    )


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


def training_json(folder: RunFolder, records: Sequence[EpochRecord], best: EpochRecord) -> dict[str, Any]:
    """The keys of the contract: the last epoch's means, and the best epoch's validation beside them."""
    last = records[-1]
    return {
        "run": str(folder.path),
        "epochs": last.epoch,
        "best_epoch": best.epoch,
        "seconds": round(last.seconds, 3),
        "ledger": {name: _total(records, name) for name in ("delta_log_px", "delta_gap", "probe_seconds")},
        "warning": collapse(last),
        "train": _means(last, "train"),
        "valid": _means(last, "valid"),
        "best": {"train": _means(best, "train"), "valid": _means(best, "valid")},
    }


def _total(records: Sequence[EpochRecord], name: str) -> float | None:
    """The sum of a column over the epochs that measured it; None where none did."""
    measured = [value for record in records if (value := getattr(record, name)) is not None]
    return sum(measured) if measured else None


def _means(record: EpochRecord, split: str) -> dict[str, float | None]:
    return {name: getattr(record, f"{split}_{name}") for name in ("elbo", "reconstruction", "kl")}
