"""From what was measured of every run to a comparison: configs, seeds, paired differences, and who won."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

import torch
from torch import Tensor

from elbo_cli.comparison.contest import LEVEL, contest, paired, simultaneous, stacked
from elbo_cli.comparison.grouping import Settings, grouped
from elbo_cli.comparison.records import Comparison, ConfigResult, Difference, RunResult
from elbo_cli.records import Evaluation, GapFindings

MEASURED = ("elbo", "reconstruction", "kl")
TIGHTNESS = ("log_px", "gap")


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A run, and what was measured of it: on the data, and with the noise, of all the others."""

    run: str
    settings: Settings  # its config, flat: dotted key -> value
    evaluation: Evaluation
    gap: GapFindings | None = None

    def of(self, quantity: str) -> Tensor:
        """A quantity of every datum, [N], in nats."""
        assert quantity in MEASURED or self.gap is not None, quantity
        rows: Sequence[Any] = self.gap.rows if quantity in TIGHTNESS and self.gap else self.evaluation.rows
        return torch.tensor([getattr(row, quantity) for row in rows], dtype=torch.float64)


def compare(entries: Sequence[Entry], *, samples: int, seed: int) -> Comparison:
    """Runs side by side, the best first.

    Args:
        entries: runs that were measured on the same data.
        samples: draws of q that they were measured with.
        seed: of those draws.
    """
    letters, differs = grouped([entry.settings for entry in entries])
    best = max(entries, key=lambda entry: entry.evaluation.elbo.mean)
    rows = [_row(entry, letter, best) for entry, letter in zip(entries, letters, strict=True)]
    members = {name: [e for e, own in zip(entries, letters, strict=True) if own == name] for name in letters}
    results = sorted((_config(name, members[name], differs) for name in members), key=lambda c: -c.means["elbo"])
    differences = tuple(d for other in results[1:] for d in _differences(results[0].config, other.config, members))
    first = entries[0].evaluation
    return Comparison(
        data=first.data,
        split=first.split,
        examples=first.examples,
        samples=samples,
        seed=seed,
        differs=differs,
        runs=tuple(sorted(rows, key=lambda row: -row.elbo)),
        configs=tuple(results),
        differences=differences,
        verdict=verdict(results, differences),
    )


def _row(entry: Entry, letter: str, best: Entry) -> RunResult:
    found, gap = entry.evaluation, entry.gap
    behind, se = paired(best.of("elbo"), entry.of("elbo"))
    return RunResult(
        config=letter,
        run=entry.run,
        seed=entry.settings.get("seed"),
        elbo=found.elbo.mean,
        se_elbo=found.elbo.se_data,
        reconstruction=found.reconstruction.mean,
        kl=found.kl.mean,
        active_units=found.active_units,
        log_px=gap.log_px.mean if gap else None,
        gap=gap.gap.mean if gap else None,
        verdict=gap.verdict.word if gap else None,
        behind=behind,
        se_behind=se,
    )


def quantities(entries: Sequence[Entry]) -> tuple[str, ...]:
    """What was measured of all of them."""
    return MEASURED + (TIGHTNESS if all(entry.gap for entry in entries) else ())


def _config(name: str, members: Sequence[Entry], differs: dict[str, dict[str, Any]]) -> ConfigResult:
    means = {q: [entry.of(q).mean().item() for entry in members] for q in quantities(members)}
    S = len(members)
    return ConfigResult(
        config=name,
        settings={key: values[name] for key, values in differs.items()},
        runs=tuple(entry.run for entry in members),
        seeds=tuple(entry.settings.get("seed") for entry in members),
        means={q: fmean(values) for q, values in means.items()},
        se_seeds={q: stdev(values) / math.sqrt(S) if S > 1 else None for q, values in means.items()},
    )


def _differences(best: str, other: str, members: dict[str, list[Entry]]) -> list[Difference]:
    level = simultaneous(LEVEL, len(members) - 1)
    found = []
    for quantity in quantities(members[best] + members[other]):
        a, b = (stacked([entry.of(quantity) for entry in members[name]]) for name in (best, other))
        o = contest(a, b, level)
        found.append(
            Difference(
                ahead=best,
                behind=other,
                quantity=quantity,
                mean=o.mean,
                se_data=o.se_data,
                se_seeds=o.se_seeds,
                se=o.se,
                low=o.low,
                high=o.high,
            )
        )
    return found


def verdict(configs: Sequence[ConfigResult], differences: Sequence[Difference]) -> str:
    """Which config won by the ELBO, or that it cannot be told, in a sentence."""
    if len(configs) == 1:
        return "All runs are of one config: they differ in their seed alone, and there is nothing to win."
    best, rivals = configs[0].config, [d for d in differences if d.quantity == "elbo"]
    near = [d for d in rivals if not d.told]
    closest = min(near or rivals, key=lambda d: d.mean)
    lead = f"{closest.mean:.2f} nats above {closest.behind}'s, 95 % interval {closest.low:+.2f} to {closest.high:+.2f}"
    lead += " (of all comparisons together)" if len(rivals) > 1 else ""
    if near:
        names = " and ".join(d.behind for d in near)
        return f"Cannot be told: {best} has the highest ELBO, {lead}; {names} may be as good.{_caution(configs)}"
    return f"{best} is better: its ELBO is {lead}.{_caution(configs)}"


def _caution(configs: Sequence[ConfigResult]) -> str:
    """What a verdict on single trainings does not say."""
    single = [c.config for c in configs if len(c.runs) == 1]
    if not single:
        return ""
    return f" This is said of these trainings: {' and '.join(single)} ran from one seed, and another may end elsewhere."
