"""Measure all that a report shows of one model: a whole split, and the gap of its first data."""

from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace

from elbo_cli.bounds.draws import LatentVariableModel
from elbo_cli.data.split import Split
from elbo_cli.evaluation import evaluate
from elbo_cli.gap.exact.method import applies
from elbo_cli.gap.methods import measure_gap
from elbo_cli.gap.settings import Settings
from elbo_cli.portrait.pictures import array, beside, samples, traversal
from elbo_cli.portrait.plane import plane
from elbo_cli.portrait.records import Beside, Portrait
from elbo_cli.portrait.weights import chosen, log_weights
from elbo_cli.records import Evaluation, EvaluationRow, GapFindings, GapRow, Tick

CUSTOMARY, OURS = "posterior", "auto"
DRAWS = 10  # of q, for the evaluation
SHOWN = 12  # data in a row of pictures
PRIOR = 48  # samples of the prior
WALKS = 8  # latents to walk along
ROWS = 1000  # data that are shown as points


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is measured."""

    limit: int = 200  # data of which the gap is measured
    samples: int = 500  # K


def portray(
    model: LatentVariableModel, split: Split, *, data: str, effort: Effort, seed: int
) -> Generator[Tick, None, Portrait]:
    """Measure; yields progress.

    Args:
        model: the three distributions.
        split: the data, all of which are evaluated.
        data: what they are called.
        effort: of the gap.
        seed: of every draw.

    Raises:
        RunError: the model gives no finite number.
    """
    few = split.first(effort.limit)
    settings = Settings(K=effort.samples, seed=seed, device=split.device)
    yield Tick(done=0, total=len(split), what="evaluation")
    found = evaluate(model, split, data=data, samples=DRAWS, seed=seed, device=split.device)
    curves = {}
    for proposal in (CUSTOMARY, OURS):
        asked = replace(settings, proposal=proposal)
        curves[proposal] = yield from measure_gap(model, few, "importance", asked)
    best = curves[OURS]
    if applies(model, next(few.blocks(2))) is not None:
        best = yield from measure_gap(model, few, "exact", settings)
    return _portrait(model, split, found, best, curves, settings)


def _portrait(
    model: LatentVariableModel,
    split: Split,
    found: Evaluation,
    best: GapFindings,
    curves: dict[str, GapFindings],
    settings: Settings,
) -> Portrait:
    seed, few = settings.seed, split.first(best.examples)
    three = chosen(best.rows)
    hardest = sorted(best.rows, key=lambda row: -row.gap)[:SHOWN]
    blurred = sorted(found.rows, key=lambda row: row.reconstruction)[:SHOWN]
    first = found.rows[:SHOWN]
    return Portrait(
        evaluation=found,
        gap=best,
        curves=curves,
        weights=log_weights(model, few, best.rows, tuple(curves), settings),
        typical=_beside(model, split, first, "reconstruction", seed),
        worst_reconstructed=_beside(model, split, blurred, "reconstruction", seed),
        worst_gap=_beside(model, split, hardest, "gap", seed),
        samples=samples(model, max(PRIOR, ROWS if len(split.shape) == 1 else 0), seed, split.device),
        traversal=traversal(model, split, three["typical"].index, found.kl_per_latent, WALKS, seed),
        data=array(next(split.first(ROWS).blocks(ROWS))),
        plane=plane(model, few, best.rows, (three["typical"], three["worst"]), seed),
    )


def _beside(
    model: LatentVariableModel, split: Split, rows: Sequence[EvaluationRow | GapRow], quantity: str, seed: int
) -> Beside:
    index, nats = tuple(row.index for row in rows), tuple(getattr(row, quantity) for row in rows)
    return beside(model, split, index, nats, quantity, seed)
