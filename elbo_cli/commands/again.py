"""What to type next: the measurement again, but for what its verdict advises."""

from dataclasses import replace

from elbo_cli.commands.chosen import Chosen
from elbo_cli.gap.settings import Settings
from elbo_cli.records import GapFindings

DEFAULTS = Settings()


def with_command(found: GapFindings, chosen: Chosen, settings: Settings) -> GapFindings:
    """The findings, their verdict's advice as a whole command; unchanged where it has none."""
    if not found.verdict.advice:
        return found
    command = chosen.again(_options(found, chosen, settings))
    return replace(found, verdict=replace(found.verdict, advice=command))


def _options(found: GapFindings, chosen: Chosen, settings: Settings) -> str:
    """The advice, and what else of this measurement another command must repeat: what the advice does not name."""
    advice = found.verdict.advice
    kept = _way(found) if "--method" not in advice else {}
    kept |= {
        "--delta": None if settings.delta == DEFAULTS.delta else f"{settings.delta:g}",
        "--seed": chosen.seed,
        "--threads": chosen.threads,
        "--device": None if chosen.device == "auto" else chosen.device,
    }
    named = [f"{option} {value}" for option, value in kept.items() if value is not None]
    return " ".join([advice, *(each for each in named if each.split()[0] not in advice.split())])


def _way(found: GapFindings) -> dict[str, object]:
    """Method and proposal; of annealing its length and its chains too, of which an advice names one."""
    proposal = None if found.proposal == DEFAULTS.proposal else found.proposal
    if found.method != "ais":
        return {"--proposal": proposal}
    way = {"--method": "ais", "--samples": found.samples, "--temperatures": found.temperatures}
    return way | {"--proposal": proposal}
