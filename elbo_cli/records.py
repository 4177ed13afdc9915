"""Rows of what was measured. A record's fields are the columns of the CSV and of the table; there is no second list.

Imports the standard library only: reports see records and never models.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from elbo_cli.columns import POSITIVE, UP, column

NAN = float("nan")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """Progress inside a long piece of work, for a bar on a screen."""

    done: int
    total: int
    what: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochRecord:
    """One epoch of training: means over the data, in nats per datum. Empty where the epoch did not measure it.

    `train_*` are running means over the epoch's batches, `valid_*` over the whole validation split after it.
    `delta_log_px` and `delta_gap` are the ledger: with the same probe data and the same noise every epoch,
    the change of the probe's ELBO is delta_log_px - delta_gap.
    """

    epoch: int = column("epoch", "d", default=0, unit="", about="epochs done, from 1")
    step: int = column("step", "d", shown=False, default=0, unit="updates", about="gradient steps done")
    seconds: float = column(
        "s", ".1f", shown=False, default=0.0, unit="seconds", about="of training so far, all sittings together"
    )
    lr: float = column("lr", ".1e", shown=False, default=0.0, unit="", about="learning rate of the epoch")
    beta: float = column(
        "beta", ".2f", shown=False, default=1.0, unit="", about="weight of the KL in what the epoch maximised"
    )
    free_bits: float = column(
        "free bits", ".2f", shown=False, default=0.0, about="KL that cost each latent nothing in what it maximised"
    )
    implied_beta: float | None = column(
        "implied beta",
        ".2g",
        shown=False,
        unit="",
        about="beta sigma^2, the KL's weight beside half the squared error; of a gaussian with one sigma",
    )
    train_elbo: float = column(
        "train ELBO", default=NAN, sign=UP, about="ELBO at beta = 1, running mean over the epoch's batches"
    )
    train_reconstruction: float = column(
        "train E log p(x|z)", shown=False, default=NAN, sign=UP, about="its first term, E_q log p(x given z)"
    )
    train_kl: float = column(
        "train KL(q‖p)",
        shown=False,
        default=NAN,
        sign=POSITIVE,
        about="its second term, KL(q(z given x), p(z))",
    )
    valid_elbo: float | None = column("valid ELBO", sign=UP, about="ELBO of the whole validation split after the epoch")
    valid_reconstruction: float | None = column("E log p(x|z)", sign=UP, about="its first term")
    valid_kl: float | None = column("KL(q‖p)", sign=POSITIVE, about="its second term")
    valid_log_px: float | None = column(
        "log p(x)≥", sign=UP, about="lower bound on log p(x) of the probe, `train.gap_examples` validation data"
    )
    valid_gap: float | None = column("gap", sign=POSITIVE, about="that bound less the probe's ELBO")
    delta_log_px: float | None = column(
        "Δlog p(x)", "+.2f", about="ledger: change of valid_log_px since the last probe, a better model"
    )
    delta_gap: float | None = column(
        "Δgap", "+.2f", about="ledger: change of valid_gap since the last probe; negative is a tighter bound"
    )
    active_units: int | None = column(
        "active", "d", unit="units", about="latents whose posterior mean varies over the data by more than 0.01"
    )
    train_bound: float | None = column(
        "train bound", shown=False, sign=UP, about="the bound that training climbs, where it is not the ELBO"
    )
    valid_bound: float | None = column("valid bound", shown=False, sign=UP, about="the same on the validation split")
    gradient_norm: float | None = column(
        "gradient", ".2g", shown=False, sign=POSITIVE, about="train.health: mean norm of the loss's gradient, one batch"
    )
    encoder_snr: float | None = column(
        "encoder SNR",
        ".2g",
        shown=False,
        unit="",
        sign=POSITIVE,
        about="train.health: the mean of the encoder's gradient over its noise",
    )
    kl_per_latent: tuple[float, ...] | None = column(
        "KL of each latent",
        "",
        shown=False,
        sign=POSITIVE,
        about="train.health: validation data, with spaces between the latents",
    )
    probe_seconds: float | None = column("probe s", ".2f", shown=False, unit="seconds", about="that the probe took")

    @property
    def score(self) -> float:
        """What the best epoch is best at: the validation's bound (its ELBO, unless training climbs another bound)."""
        measured = (self.valid_bound, self.valid_elbo, self.train_elbo)
        return next(value for value in measured if value is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationRow:
    """One datum, in nats."""

    index: int = column("datum", "d", default=0, unit="", about="row of the split, from 0")
    elbo: float = column("ELBO", default=NAN, sign=UP, about="of the datum: the mean over its draws")
    reconstruction: float = column("E log p(x|z)", default=NAN, sign=UP, about="its first term")
    kl: float = column("KL(q‖p)", default=NAN, sign=POSITIVE, about="its second term")


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over data with its standard errors, in nats per datum. The two are never mixed.

    `se_data` is the spread across data over sqrt(N): how far another sample of data would lie.
    `se_mc` is the Monte Carlo error within these data: how far another seed would lie.
    """

    mean: float
    se_data: float
    se_mc: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """What `elbo evaluate` says of a model on data, in nats per datum."""

    data: str
    split: str
    examples: int
    elbo: Estimate
    reconstruction: Estimate
    kl: Estimate
    latents: int
    active_units: int
    layers: tuple[int, ...]  # latents of each stochastic layer, z1 first
    active_per_layer: tuple[int, ...]
    kl_per_latent: tuple[float, ...] | None
    bits_per_dim: float | None
    rows: tuple[EvaluationRow, ...]
    active: tuple[bool, ...] | None = None  # which latents are the active units


@dataclass(frozen=True, slots=True, kw_only=True)
class GapRow:
    """One datum of `elbo gap`, in nats unless noted; a row of its --out table."""

    index: int = column("datum", "d", default=0, unit="", about="row of the split, from 0")
    elbo: float = column("ELBO", default=NAN, sign=UP, about="of the amortised q, from its own draws")
    log_px: float = column("log p(x) ≥", default=NAN, sign=UP, about="L_K: a lower bound on log p(x), in expectation")
    gap: float = column("gap", default=NAN, about="log_px less elbo; never negative where they share draws")
    se_elbo: float = column("s.e. ELBO", default=NAN, sign=POSITIVE, about="Monte Carlo error of elbo")
    se_log_px: float = column("s.e. log p(x)", default=NAN, sign=POSITIVE, about="of log_px, by the delta method")
    se_gap: float = column("s.e. gap", default=NAN, sign=POSITIVE, about="of gap")
    samples: int = column("K", "d", default=0, unit="draws", about="draws of this datum, or chains")
    ess: float = column("ESS", ".1f", default=NAN, unit="draws", about="equal draws that the weights are worth")
    max_weight: float = column(
        "max weight", ".3f", default=NAN, unit="", about="the largest weight's share of their sum"
    )
    var_log_w: float = column("var log w", default=NAN, unit="nats^2", about="variance of the log-weights")
    khat: float = column("k-hat", default=NAN, unit="", about="Pareto shape of the largest weights")
    jackknife: float = column("jackknife (not a bound)", default=NAN, about="log_px less its 1/K bias")


@dataclass(frozen=True, slots=True)
class Certificate:
    """What is true of the mean over these data, each with probability 1 - delta; `withheld` says why nothing is."""

    log_px_at_least: float | None
    gap_at_least: float | None
    delta: float
    withheld: str = ""


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """L_k, the mean over data, with its Monte Carlo standard error."""

    k: int
    bound: float
    se: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """`resolved`, `partial` or `unresolved`, with its reason in a sentence and what to type next."""

    word: str
    reason: str
    advice: str

    @property
    def resolved(self) -> bool:
        """Whether the number may be reported as log p(x), to the tolerance."""
        return self.word == "resolved"


CAUTION = (
    "This speaks for data simulated from the model, whose latents are known, and not for yours: bounds that are tight "
    "here need not be tight there (Wu et al. 2017, section 5.3.1)."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SandwichFindings:
    """log p(x) from both sides on data simulated from a model, in nats per datum."""

    examples: int
    samples: int  # K draws, or chains, of each bound
    method: str
    proposal: str
    lower: Estimate
    upper: Estimate  # its error across data holds the Monte Carlo error; so does the width's
    width: Estimate  # upper - lower, paired over data
    log_px_at_least: float  # with probability 1 - delta both hold for the mean over these data
    log_px_at_most: float
    delta: float
    decodes: int | None = None  # decoder evaluations for each datum; a Jacobian counts as D + 1, a gradient as two
    caution: str = CAUTION


@dataclass(frozen=True, slots=True)
class Interval:
    """Where a mean over these data lies with a probability of 95 %, in nats per datum."""

    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class GapFindings:
    """What `elbo gap` says of a model on data, in nats per datum."""

    examples: int
    samples: int  # K; the mean over the data where they differ
    elbo: Estimate
    log_px: Estimate
    gap: Estimate
    certified: Certificate
    interval: Interval | None = None  # of log p(x), for Monte Carlo error and what may be left; only where resolved
    curve: tuple[CurvePoint, ...] = ()
    rho: float | None = None
    remainder: float | None = None  # extrapolation, not a bound
    jackknife: float | None = None  # not a bound
    khat_median: float | None = None
    khat_above: float | None = None  # share of the data above their threshold
    ess: float | None = None  # mean over the data
    method: str = "importance"
    proposal: str | None = None  # where the draws came from
    temperatures: int | None = None  # of annealing
    why: str = ""  # for what reason, where the user left the choice open
    decodes: int | None = None  # decoder evaluations for each datum; a Jacobian counts as D + 1, a gradient as two
    verdict: Verdict = Verdict("unresolved", "", "")
    rows: Sequence[GapRow] = ()
    error: float | None = None  # stated numerical error of an exact method: no mean here is farther from its truth
    approximation_gap: Estimate | None = None  # what only a richer family of q could win
    amortisation_gap: Estimate | None = None  # what a better encoder could win


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitRow:
    """One datum of `elbo gap --split-gap`, in nats; empty for a family that was not searched."""

    index: int = column("datum", "d", default=0, unit="", about="row of the split, from 0")
    elbo: float = column("ELBO", default=NAN, sign=UP, about="of the amortised q")
    elbo_refined: float = column("ELBO of q*", default=NAN, sign=UP, about="of the best q of q's own family")
    log_px: float = column("log p(x) ≥", default=NAN, sign=UP, about="L_K: a lower bound, in expectation")
    amortisation_gap: float = column("amortisation", default=NAN, about="elbo_refined less elbo")
    approximation_gap: float = column("approximation", default=NAN, about="log_px less elbo_refined")
    se_amortisation_gap: float = column(
        "s.e. amortisation", default=NAN, sign=POSITIVE, about="Monte Carlo error of amortisation_gap"
    )
    se_approximation_gap: float = column("s.e. approximation", default=NAN, sign=POSITIVE, about="of approximation_gap")
    elbo_diagonal: float | None = column("ELBO, diagonal", sign=UP, about="of the best diagonal normal")
    elbo_full: float | None = column("ELBO, full", sign=UP, about="of the best normal of full covariance")
    elbo_flow: float | None = column("ELBO, flow", sign=UP, about="of the best flow")


@dataclass(frozen=True, slots=True, kw_only=True)
class FamilyGap:
    """What q would reach in another family, refined for each datum, in nats per datum."""

    family: str
    elbo: Estimate
    closes: Estimate  # of the approximation gap: its ELBO above that of the best q of q's own family
    leaves: Estimate  # log p(x) less its ELBO
    share: float | None  # of the approximation gap that it closes; none where that gap is lost in its own noise


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitFindings:
    """What `elbo gap --split-gap` says: who is to blame for the gap, in nats per datum.

    log p(x) - ELBO[q] = ( log p(x) - ELBO[q*] ) + ( ELBO[q*] - ELBO[q] ), q* the best q of the same family for each x:
    total = approximation gap + amortisation gap. The verdict, in `gap`, is on log p(x), and so on the approximation
    gap; the amortisation gap does not rest on it.
    """

    family: str  # q's own
    gap: GapFindings  # ELBO, log p(x), the total, certificate, curve and verdict
    refined: Estimate  # ELBO of q*
    approximation_gap: Estimate  # what only a richer family could win
    amortisation_gap: Estimate  # what a better encoder could win
    richer: tuple[FamilyGap, ...]
    examples: int
    draws: int  # for each ELBO; K of log p(x) is gap.samples
    decodes: int  # decoder evaluations for each datum, in all
    search_decodes: int  # of them, those of the searches
    seed: int
    rows: tuple[SplitRow, ...] = ()
