"""`elbo compare`: every run is measured on the data of the first, with the same noise."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from elbo_cli.commands.chosen import Chosen
from elbo_cli.commands.progress import behind_a_bar
from elbo_cli.comparison.compare import Entry, compare
from elbo_cli.comparison.records import Comparison, RunResult
from elbo_cli.errors import UserError
from elbo_cli.evaluation import evaluate
from elbo_cli.gap.methods import measure_gap
from elbo_cli.gap.settings import Settings
from elbo_cli.report.comparison import comparison_screen
from elbo_cli.report.rows import tame_csv
from elbo_cli.screen import Screen
from elbo_cli.subject import Subject, settings_of

LAW_BY_SEED = "linear_gaussian"  # the data set whose seed is not only of its noise: another seed is another law


@dataclass(frozen=True, slots=True)
class Effort:
    """What is measured of every run: draws of q for the ELBO, and of the proposal for log p(x), if it is wanted."""

    samples: int = 10
    gap: int | None = None
    limit: int | None = None  # data whose log p(x) is measured; all, where None


def run_comparison(screen: Screen, chosen: Chosen, others: Sequence[str], effort: Effort, as_csv: bool) -> None:
    """`elbo compare`."""
    found = compared(screen, chosen, others, effort)
    if as_csv:
        screen.write(tame_csv(found.runs, RunResult))
        return
    screen.show(comparison_screen(found))
    screen.emit(asdict(found))


def compared(screen: Screen, chosen: Chosen, others: Sequence[str], effort: Effort) -> Comparison:
    """The runs side by side.

    Raises:
        UserError: a run is named twice, or its data are not those of the first.
        RunError: a model gives no finite number.
    """
    subjects = open_together(chosen, others)
    entries = [entry(screen, subject, effort) for subject in subjects]
    return compare(entries, samples=effort.samples, seed=subjects[0].seed)


def open_together(chosen: Chosen, others: Sequence[str]) -> list[Subject]:
    """The runs, all on the data of the first and with its noise.

    Raises:
        UserError: a run is named twice, or its data are not those of the first.
    """
    names = [chosen.checkpoint, *others]
    if len(others) < 1:
        raise UserError("Nothing to compare with: name two runs or more, as in elbo compare runs/a runs/b.")
    again = [name for number, name in enumerate(names) if name in names[:number]]
    if again:
        raise UserError(f"{again[0]} is named twice: name each run once.")
    first = chosen.open()
    mine = settings_of(first.name)
    return [first, *(_beside(first, mine, replace(chosen, checkpoint=name)) for name in others)]


def _beside(first: Subject, mine: Mapping[str, Any], chosen: Chosen) -> Subject:
    """Another run on the data of the first, whose config is `mine`.

    Raises:
        UserError: its data are others, and numbers on them would say nothing.
    """
    its = settings_of(chosen.checkpoint)
    subject = chosen.open(data_seed=mine.get("seed", 0) if chosen.data is None else None)
    laws = {settings.get("seed") for settings in (mine, its) if settings.get("data.name") == LAW_BY_SEED}
    if subject.split.digest() != first.split.digest() or (len(laws) > 1 and chosen.data is None):
        raise UserError(
            f"{chosen.checkpoint} has other {first.split.name} data than {first.name} (data.* of their configs, or the "
            "seed of a synthetic set, differ), and likelihoods of other data cannot be compared. Give both the same "
            "with --data, or compare runs of the same data."
        )
    return replace(subject, split=first.split, seed=first.seed)


def entry(screen: Screen, subject: Subject, effort: Effort) -> Entry:
    """Measure a run.

    Raises:
        RunError: the model gives no finite number.
    """
    model, split, seed, device = subject.model, subject.split, subject.seed, subject.device
    with subject.blamed():
        found = evaluate(model, split, data=subject.data, samples=effort.samples, seed=seed, device=device)
        gap = None
        if effort.gap is not None:
            settings = Settings(K=effort.gap, seed=seed, device=device)
            few = split if effort.limit is None else split.first(effort.limit)
            gap = behind_a_bar(screen, measure_gap(model, few, "importance", settings))
    return Entry(run=subject.name, settings=settings_of(subject.name), evaluation=found, gap=gap)
