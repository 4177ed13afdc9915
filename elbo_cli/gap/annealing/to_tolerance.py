"""`--method ais --tolerance`: as many temperatures and chains as the accuracy takes."""

from collections.abc import Generator
from dataclasses import replace

from elbo_cli.bounds.draws import LatentVariableModel
from elbo_cli.data.split import Split
from elbo_cli.gap.annealing.ais import ais
from elbo_cli.gap.annealing.annealer import NoGradient
from elbo_cli.gap.annealing.prospect import Prospect, prospects
from elbo_cli.gap.annealing.starts import STARTS
from elbo_cli.gap.settings import Settings
from elbo_cli.gap.tolerance import AIM, ROUNDS, told
from elbo_cli.records import GapFindings, Tick
from elbo_cli.runtime import derive

MORE = 4  # times as many temperatures, or chains, after a round that fell short


def annealed_to_tolerance(
    model: LatentVariableModel, split: Split, settings: Settings
) -> Generator[Tick, None, GapFindings]:
    """Anneal until log p(x) is known to within `settings.tolerance` nats per datum, or say that it was not to be had.

    Pilots on a few data foretell temperatures and chains, and are thrown away; see `prospects`. Without a start that
    promises anything, the first is taken with the settings' own temperatures.

    Raises:
        RunError: a log-weight is NaN or +inf.
        UserError: there is no such start, or the model's log-densities have no gradient by z.
    """
    found, spent = yield from prospects(model, split, settings, AIM * settings.tolerance)
    if not found:
        raise NoGradient("Annealing needs a gradient of log p(x, z) by z, and this model has none.")
    measured = yield from to_the_end(model, split, found[0], ROUNDS)
    return replace(measured, decodes=(measured.decodes or 0) + spent)


def to_the_end(
    model: LatentVariableModel, split: Split, prospect: Prospect, rounds: int
) -> Generator[Tick, None, GapFindings]:
    """The course that was foreseen, and longer ones with fresh noise while it falls short, three at most.

    Each takes four times the temperatures where its bias is the larger part of what is left, else four times the
    chains. The certificate pays for `rounds` measurements, of which this may be one.
    """
    settings, cost = prospect.settings, 0
    for number in range(1, ROUNDS + 1):
        fresh = replace(settings, seed=derive(prospect.settings.seed, "tolerance", "annealing", number))
        found = yield from ais(model, split, fresh, rounds)
        cost += found.decodes or 0
        if found.verdict.resolved or not STARTS[settings.proposal].free:
            break
        settings = _longer(settings, found)
    return replace(found, decodes=cost, verdict=told(found, settings.tolerance))


def _longer(settings: Settings, found: GapFindings) -> Settings:
    bias, noise = found.remainder or 0.0, 2 * (found.log_px.se_mc or 0.0)
    if bias > noise:
        return replace(settings, temperatures=MORE * settings.temperatures)
    return replace(settings, K=MORE * settings.K)
