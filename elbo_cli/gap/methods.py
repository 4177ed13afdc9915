"""The ways to measure log p(x) and the gap, by name."""

from collections.abc import Callable, Generator

from elbo_cli.bounds.draws import LatentVariableModel
from elbo_cli.data.split import Split
from elbo_cli.gap.importance import importance
from elbo_cli.gap.settings import Settings
from elbo_cli.records import GapFindings, Tick

Method = Callable[[LatentVariableModel, Split, Settings], Generator[Tick, None, GapFindings]]

METHODS: dict[str, Method] = {
    "importance": importance,
}
