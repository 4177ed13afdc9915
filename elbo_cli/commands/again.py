"""What to type next: the measurement again, but for what its verdict advises."""

from collections.abc import Mapping
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


def way(method: str, proposal: str | None, temperatures: int | None, chains: int | None = None) -> dict[str, object]:
    """The options that say how to measure, with None for what need not be said."""
    where = {"--proposal": None if proposal == DEFAULTS.proposal else proposal}
    if method != "ais":
        return {**where}
    return {"--method": method, "--samples": chains, "--temperatures": temperatures, **where}


def spelled(options: Mapping[str, object]) -> str:
    """Options as they are typed."""
    return " ".join(f"{name} {value}" for name, value in options.items() if value is not None)


def _options(found: GapFindings, chosen: Chosen, settings: Settings) -> str:
    """The advice, and what else of this measurement another command must repeat: what the advice does not name."""
    advice = found.verdict.advice
    kept = {} if "--method" in advice else way(found.method, found.proposal, found.temperatures, found.samples)
    kept |= {
        "--delta": None if settings.delta == DEFAULTS.delta else f"{settings.delta:g}",
        "--seed": chosen.seed,
        "--threads": chosen.threads,
        "--device": None if chosen.device == "auto" else chosen.device,
    }
    rest = {name: value for name, value in kept.items() if name not in advice.split()}
    return f"{advice} {spelled(rest)}".rstrip()
