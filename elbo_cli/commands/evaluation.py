"""`elbo evaluate`."""

from pathlib import Path

from elbo_cli.commands.chosen import Chosen
from elbo_cli.commands.shards import identity
from elbo_cli.commands.writing import write
from elbo_cli.evaluation import evaluate
from elbo_cli.ranks import refuse_others, together
from elbo_cli.records import Evaluation, EvaluationRow
from elbo_cli.report.rows import refuse_path
from elbo_cli.report.tables import evaluation_json, evaluation_table, latents_table
from elbo_cli.runtime import open_device
from elbo_cli.screen import Screen
from elbo_cli.subject import Subject


def run_evaluation(screen: Screen, chosen: Chosen, samples: int, out: Path | None) -> None:
    """`elbo evaluate`."""
    if out is not None:
        refuse_path(out)
    with together(open_device(chosen.device)) as mine:
        subject = chosen.open()
        if mine.size > 1:
            refuse_others("model or data", identity(subject))
        with subject.blamed():
            found = evaluate(
                subject.model,
                subject.split,
                data=subject.data,
                samples=samples,
                seed=subject.seed,
                device=subject.device,
            )
        _show(screen.of(mine.first), subject, samples, found, out if mine.first else None)


def _show(screen: Screen, subject: Subject, samples: int, found: Evaluation, out: Path | None) -> None:
    screen.show(evaluation_table(found))
    screen.show(latents_table(found))
    head = {
        "checkpoint": subject.name,
        "data": subject.data,
        "split": subject.split.name,
        "samples": samples,
        "seed": subject.seed,
    }
    screen.emit(head | evaluation_json(found))  # first: a full disk shall not take the answer with it
    write(screen, out, found.rows, EvaluationRow)
