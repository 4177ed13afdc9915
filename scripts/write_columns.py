"""Write docs/columns.md: the columns of every table from the records themselves, and the keys of every --json.

A column's words are its field's, in elbo_cli/records.py; a key's are here. Tests hold that the page is current, and
that the commands print these keys and no others.
"""

from dataclasses import fields
from pathlib import Path

from elbo_cli.comparison.records import RunResult
from elbo_cli.records import EpochRecord, EvaluationRow, GapRow, SplitRow
from elbo_cli.report.runs_table import RunRow

PAGE = Path(__file__).resolve().parent.parent / "docs" / "columns.md"

PREFACE = """# Every column and every key

Written by `scripts/write_columns.py` from the records in `elbo_cli/records.py`, whose fields are the columns. Nats are
nats per datum. "up" means that higher is better, "not below 0" that it is not, but for Monte Carlo
noise where it is a mean over draws. A cell is empty where nothing was
measured, and a JSON value is null there; numbers are written by their shortest exact form, so that reading them gives
the same bits. `pandas.read_csv("RUN/metrics.csv")` and `pandas.read_parquet("FILE.parquet")` read the tables. With
`train.log_to=[csv, tensorboard]` the rows of `metrics.csv` are events too, for `tensorboard --logdir runs`.
"""

TABLES = {
    "`metrics.csv`: a row for each epoch": EpochRecord,
    "`elbo evaluate --out FILE`: a row for each datum": EvaluationRow,
    "`elbo gap --out FILE`: a row for each datum": GapRow,
    "`SplitFindings.rows` from Python: a row for each datum of a split gap": SplitRow,
    "`elbo runs --csv`, and with `--json` the keys of each of `runs`": RunRow,
    "`elbo compare --csv`, and with `--json` the keys of each of `runs`": RunResult,
}

MEANS = {"elbo": "ELBO at beta = 1", "reconstruction": "its first term", "kl": "its second term"}
WHERE = {
    "checkpoint": "what was measured, as typed",
    "data": "on which data",
    "split": "train, valid or test",
    "examples": "how many data",
}


def estimate(name: str, meaning: str) -> dict[str, str]:
    return {
        f"{name}.mean": meaning,
        f"{name}.se_data": "its standard error across data: how far another sample of data would lie",
        f"{name}.se_mc": "its Monte Carlo error: how far another seed would lie",
    }


COMPARED = {
    "elbo": "the ELBO",
    "reconstruction": "its first term",
    "kl": "its second term",
    "log_px": "L_K, with --gap",
    "gap": "the gap, with --gap",
}
GAP = {
    "samples": "K, draws of each datum; their mean where they differ",
    **estimate("elbo", "ELBO of the amortised q"),
    **estimate("log_px", "L_K, a lower bound on log p(x)"),
    **estimate("gap", "L_K less the ELBO"),
    "certified.log_px_at_least": "the mean of log p(x) over these data is above it, with probability 1 - delta",
    "certified.gap_at_least": "the same for the gap, by itself: for both at once, halve delta",
    "certified.delta": "probability that the certificate fails",
    "certified.withheld": "why there is none, where there is none",
    "interval.low": "where log p(x) of these data lies with 95 %, for Monte Carlo error; only where resolved",
    "interval.high": "the same, and for what may be left above the bound",
    "curve[].k": "1, 4, 16, ..., K",
    "curve[].bound": "L_k over disjoint blocks of the same draws",
    "curve[].se": "its Monte Carlo error",
    "rho": "the last rise of the curve over the one before",
    "remainder": "the rises to come, extrapolated; not a bound",
    "jackknife": "L_K less its 1/K bias; not a bound",
    "khat.median": "median over the data of the Pareto shape of their weights",
    "khat.above_threshold": "share of the data above their threshold",
    "ess": "effective sample size, mean over the data",
    "decodes": "decoder evaluations for each datum",
    "method": "importance, ais or exact",
    "proposal": "where the draws came from",
    "temperatures": "of annealing",
    "why": "the reason, where method or proposal were left open",
    "verdict": "resolved, partial or unresolved",
    "reason": "for the verdict",
    "advice": "what to type next",
    "seed": "of the draws",
    "seconds": "of wall clock",
}
SPLIT = {
    "family": "q's own family",
    **estimate("refined", "ELBO of the best q of that family for each datum"),
    **estimate("approximation_gap", "log p(x) less that: what only a richer family could win"),
    **estimate("amortisation_gap", "that less the ELBO: what a better encoder could win"),
    "richer[].family": "another family that was tried",
    **estimate("richer[].elbo", "ELBO of its best q for each datum"),
    **estimate("richer[].closes", "how much of the approximation gap that family closes"),
    **estimate("richer[].leaves", "log p(x) less that ELBO"),
    "richer[].share": "of the approximation gap that it closes",
    "examples": "how many data",
    "draws": "for each ELBO",
    "decodes": "decoder evaluations for each datum, in all",
    "search_decodes": "of them, those of the searches",
    "seed": "of the draws",
    "gap": "the findings that the split rests on: ELBO, log p(x), certificate, curve and verdict, as above",
}
SANDWICH = {
    "examples": "how many simulated data",
    "samples": "K draws, or chains, of each bound",
    "method": "importance or ais",
    "proposal": "where the draws came from",
    **estimate("lower", "lower bound on log p(x)"),
    **estimate("upper", "upper bound; its error across data holds the Monte Carlo error"),
    **estimate("width", "upper less lower, paired over the data"),
    "log_px_at_least": "with log_px_at_most it holds with probability 1 - delta",
    "log_px_at_most": "see log_px_at_least",
    "delta": "probability that either fails",
    "decodes": "decoder evaluations for each datum",
    "caution": "that this speaks for simulated data",
}

COMPARISON = {
    "data": "on which data, those of the first run",
    "split": "train, valid or test",
    "examples": "how many data",
    "samples": "draws of q for each ELBO",
    "seed": "of the noise, the same for every run",
    "differs.KEY.CONFIG": "the value of a config's key, where the configs differ in it",
    "runs[]": "each run, the best first: the columns of --csv",
    "configs[].config": "its letter: runs that differ in their seed alone are of one config",
    "configs[].settings.KEY": "its values of the keys that differ",
    "configs[].runs[]": "its runs",
    "configs[].seeds[]": "their seeds",
    **{f"configs[].means.{name}": f"mean over seeds and data of {meaning}" for name, meaning in COMPARED.items()},
    **{f"configs[].se_seeds.{name}": "its standard error across seeds; null for one seed" for name in COMPARED},
    "differences[].ahead": "the best config",
    "differences[].behind": "another one",
    "differences[].quantity": ", ".join(COMPARED),
    "differences[].mean": "of the first less of the other, over the same data",
    "differences[].se_data": "its standard error across data, paired by datum",
    "differences[].se_seeds": "its standard error across seeds; null where a config has one",
    "differences[].se": "both together",
    "differences[].low": "of the interval that the verdict rests on, 95 % for all comparisons together",
    "differences[].high": "of that interval",
    "verdict": "which config won, or that it cannot be told",
}
KEYS: dict[str, dict[str, str]] = {
    "`elbo train --json`": {
        "run": "the run's folder",
        "epochs": "epochs done",
        "best_epoch": "the epoch of best.safetensors",
        "seconds": "of training, all sittings together",
        "ledger.delta_log_px": "of the change of the probe's ELBO what was a better model",
        "ledger.delta_gap": "minus what was a tighter bound",
        "ledger.probe_seconds": "that the probe took",
        "warning": "a sentence where the posterior has collapsed",
        **{f"train.{name}": f"{meaning}, last epoch, training data" for name, meaning in MEANS.items()},
        **{f"valid.{name}": f"{meaning}, last epoch, validation data" for name, meaning in MEANS.items()},
        **{f"best.train.{name}": f"{meaning}, best epoch, training data" for name, meaning in MEANS.items()},
        **{f"best.valid.{name}": f"{meaning}, best epoch, validation data" for name, meaning in MEANS.items()},
    },
    "`elbo evaluate --json`": {
        **WHERE,
        **{f"{name}.mean": meaning for name, meaning in MEANS.items()},
        **{f"{name}.se": "its standard error across data" for name in MEANS},
        "active_units": "latents whose posterior mean varies by more than 0.01",
        "latents": "how many there are",
        "layers[]": "how many in each stochastic layer",
        "active_per_layer[]": "how many of them are active",
        "kl_per_latent[]": "the KL of each latent, nats",
        "bits_per_dim": "where the data have declared levels",
        "samples": "draws of q for each datum",
        "seed": "of the draws",
    },
    "`elbo gap --json`": WHERE | GAP,
    "`elbo gap --split-gap --json`, under `split_gap`": SPLIT,
    "`elbo gap --sandwich N --json`, under `sandwich`": SANDWICH,
    "`elbo compare --json`": COMPARISON,
    "`elbo sweep --json`": {
        "sweep": "the sweep's folder",
        "runs": "how many were trained to their end",
        "failed": "how many were not",
        "comparison": "as `elbo compare --json` has it, of the validation data; null where there is nothing to compare",
    },
    "`elbo report --json`": {"report": "the page", "files[]": "every file that was written, the page among them"},
    "`elbo sample --json`": {
        "checkpoint": "what was drawn from, as typed",
        "seed": "of the draws",
        "files[]": "every file that was written",
    },
}


def table_rows(record: type) -> list[str]:
    signs = {"↑": "up", "≥0": "not below 0", "": ""}
    return [
        f"| `{f.name}` | {f.metadata['unit']} | {signs[f.metadata['sign']]} | {f.metadata['about']} |"
        for f in fields(record)
    ]


def page() -> str:
    parts = [PREFACE]
    for heading, record in TABLES.items():
        parts += [
            f"## {heading}\n",
            "| column | unit | sign | what it is |",
            "|---|---|---|---|",
            *table_rows(record),
            "",
        ]
    for heading, keys in KEYS.items():
        rows = [f"| `{key}` | {meaning} |" for key, meaning in keys.items()]
        parts += [f"## {heading}\n", "| key | what it is |", "|---|---|", *rows, ""]
    return "\n".join(parts)


def main() -> None:
    PAGE.write_text(page(), encoding="utf-8", newline="\n")
    print(PAGE.name)


if __name__ == "__main__":
    main()
