"""A sweep's file: which config to start from, which keys to vary, by which search, and where to work."""

import itertools
import json
import math
import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, Strict, ValidationError

from elbo_cli.config.errors import Complaint, ConfigError, dotted
from elbo_cli.config.loading import load
from elbo_cli.config.schema import explain, found
from elbo_cli.config.sections import Config
from elbo_cli.config.values import Count, Section, Text, Whole
from elbo_cli.config.yaml_source import Node, parse, read
from elbo_cli.errors import UserError

Search = Literal["grid", "random", "tpe"]
Seeds = Annotated[tuple[Whole, ...], Strict(False), Field(min_length=1)]
MOST = 10_000  # runs of a grid; beyond that somebody has made a mistake


class Slurm(Section):
    """Jobs of one worker each, through submitit."""

    jobs: Count = Field(4, description="workers, each a job of an array")
    minutes: Count = Field(60, description="of a job; a worker that is cut off is taken up by the next")
    partition: Text | None = Field(None, description="of the cluster; null: its default")
    cluster: Literal["slurm", "local", "debug"] = Field("slurm", description="local and debug run on this machine")


class Sweep(Section):
    """Everything of a sweep but its space."""

    config: Text = Field("", description="the config that every run starts from, beside this file")
    search: Search = Field("grid", description="all combinations; random ones; or Optuna's TPE")
    trials: Count = Field(20, description="points of a random or TPE search")
    seed: Whole = Field(0, description="of the search itself")
    seeds: Seeds = Field((0,), description="each point is trained with each of these")
    folder: Text | None = Field(None, description="where the runs go; null: sweeps/NAME")
    storage: Text | None = Field(
        None, description="Optuna's: a journal's file or a database's URL; null: FOLDER/journal"
    )
    processes: Count | None = Field(None, description="trainings at once; null: as many as there are cores for")
    slurm: Slurm | None = Field(None, description="work on a cluster instead of this machine")


@dataclass(frozen=True, slots=True)
class Range:
    """Numbers from low to high; whole ones where both ends are written so."""

    low: float
    high: float
    log: bool = False

    @property
    def whole(self) -> bool:
        """Whether it is of whole numbers."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    def draw(self, numbers: random.Random) -> str:
        """A number, as text: uniform, or uniform in its logarithm."""
        ends = (math.log(self.low), math.log(self.high)) if self.log else (self.low, self.high)
        value = math.exp(numbers.uniform(*ends)) if self.log else numbers.uniform(*ends)
        return str(round(value)) if self.whole else repr(min(max(value, self.low), self.high))


Choices = tuple[str, ...]  # values as they are written in YAML
Point = dict[str, str]  # dotted key -> value, as text


@dataclass(frozen=True, slots=True)
class Plan:
    """A sweep that can be run: its settings, its base config and its space, all of it checked."""

    path: Path
    sweep: Sweep
    base: Config
    space: dict[str, Choices | Range]

    @property
    def folder(self) -> Path:
        """Where everything of it lies."""
        return Path(self.sweep.folder) if self.sweep.folder else Path("sweeps") / self.path.stem

    def points(self) -> list[Point]:
        """The points that are known before the first run: all of a grid or a random search, none of TPE's."""
        return [] if self.sweep.search == "tpe" else list(self._points())

    def _points(self) -> Iterator[Point]:
        if self.sweep.search == "grid":
            yield from (dict(zip(self.space, row, strict=True)) for row in itertools.product(*self._choices()))
            return
        numbers = random.Random(self.sweep.seed)
        for _ in range(self.sweep.trials):
            yield {k: v.draw(numbers) if isinstance(v, Range) else numbers.choice(v) for k, v in self.space.items()}

    def _choices(self) -> list[Choices]:
        return [values for values in self.space.values() if not isinstance(values, Range)]

    def config(self, point: Point, seed: int) -> Config:
        """The config of a run.

        Raises:
            ConfigError: the point's values do not go together.
        """
        return load(base_path(self.path, self.sweep), overrides(point, seed))


def overrides(point: Point, seed: int) -> list[str]:
    """A point as KEY=VALUE."""
    return [*(f"{key}={value}" for key, value in point.items()), f"seed={seed}"]


def base_path(path: Path, sweep: Sweep) -> Path:
    """The base config: a path of its own, or beside the sweep's file."""
    return path.parent / sweep.config


def load_sweep(path: Path) -> Plan:
    """The sweep in a file, with every mistake in it told at once.

    Raises:
        UserError: there is no such file.
        ConfigError: there are mistakes in it: a line for each.
    """
    try:
        text = read(path)
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}.") from None
    tree = parse(text, str(path))
    entries = tree.root.value if isinstance(tree.root.value, dict) else {}
    root = replace(tree.root, value={key: node for key, node in entries.items() if key != "space"})
    complaints = [*tree.complaints, *_missing(root, entries)]
    sweep = _settings(root, complaints)
    space = _space(entries["space"], complaints) if "space" in entries else {}
    if sweep is None or complaints:
        raise ConfigError(complaints)
    plan = Plan(path, sweep, load(base_path(path, sweep)), space)
    complaints = _refused(plan, entries["space"])
    if complaints:
        raise ConfigError(complaints)
    return plan


def _missing(root: Node, entries: dict[str, Node]) -> list[Complaint]:
    """The two keys that a sweep cannot do without."""
    wanted = {"config": "config: FILE, the config to start from", "space": "space: {optim.lr: [1e-3, 3e-4]}"}
    return [
        Complaint(root.place, (key,), f"found nothing; a sweep needs {words}.")
        for key, words in wanted.items()
        if key not in entries
    ]


def _settings(root: Node, complaints: list[Complaint]) -> Sweep | None:
    try:
        return Sweep.model_validate(root.plain)
    except ValidationError as error:
        complaints += explain(error, root, Sweep)
        return None


def _space(node: Node, complaints: list[Complaint]) -> dict[str, Choices | Range]:
    """The space, as far as it can be read."""
    if not isinstance(node.value, dict) or not node.value:
        complaints.append(Complaint(node.place, ("space",), f"found {found(node)}, allowed: config keys to vary."))
        return {}
    space: dict[str, Choices | Range] = {}
    for key, values in node.value.items():
        read_values = _range(values) if isinstance(values.value, dict) else _listed(values)
        if isinstance(read_values, str):
            complaints.append(Complaint(values.place, ("space", key), read_values))
        else:
            space[key] = read_values
    return space


def _listed(node: Node) -> Choices | str:
    if not isinstance(node.value, list) or not node.value:
        return f"found {found(node)}, allowed: a list of values, or {{low: 1e-4, high: 1e-2, log: true}}."
    return tuple(_written(value) for value in node.value)


def _written(node: Node) -> str:
    """A value as an override takes it."""
    return json.dumps(node.plain) if isinstance(node.value, dict | list) or node.quoted else node.written


def _range(node: Node) -> Range | str:
    plain: dict[str, Any] = node.plain
    if not {"low", "high"} <= set(plain) <= {"low", "high", "log"}:
        return f"found {found(node)}, allowed: low, high and log, as in {{low: 1e-4, high: 1e-2, log: true}}."
    low, high, log = plain["low"], plain["high"], plain.get("log", False)
    if not all(isinstance(end, int | float) and not isinstance(end, bool) for end in (low, high)) or not low < high:
        return f"low {low} and high {high} are no range: give two numbers, the smaller one first."
    if not isinstance(log, bool) or (log and low <= 0):
        return f"log {log} from low {low} on: log is true or false, and true needs low above 0."
    return Range(low, high, log)


def _refused(plan: Plan, node: Node) -> list[Complaint]:
    """What the schema of configs has against the space: a line for each mistake, at its place in the file."""
    if "seed" in plan.space:
        return [Complaint(_place(node, "seed"), ("space", "seed"), "the seed is not searched: list seeds: [0, 1, 2].")]
    ranges = [key for key, values in plan.space.items() if isinstance(values, Range)]
    if plan.sweep.search == "grid" and ranges:
        sentence = "a grid has no range: list the values, or write search: random."
        return [Complaint(_place(node, key), ("space", key), sentence) for key in ranges]
    runs = math.prod(len(values) for values in plan.space.values() if not isinstance(values, Range))
    if plan.sweep.search == "grid" and runs * len(plan.sweep.seeds) > MOST:
        runs *= len(plan.sweep.seeds)
        return [Complaint(node.place, ("space",), f"a grid of {runs:,} runs is more than {MOST:,}. Search at random.")]
    told: dict[str, Complaint] = {}
    for point in plan.points() or _corners(plan):
        try:
            plan.config(point, plan.sweep.seeds[0])
        except ConfigError as error:
            for each in error.complaints:
                _tell(told, each, node, point)
    return list(told.values())


def _tell(told: dict[str, Complaint], complaint: Complaint, node: Node, point: Point) -> None:
    """A complaint about a run's config, at the place of its key in the sweep's file."""
    key = dotted(complaint.keys) or str(complaint.place).partition("=")[0]
    mine = next((name for name in point if key == name or name.startswith(key + ".") or key.startswith(name)), "")
    value = f" (in a run with {mine}={point[mine]})" if mine else ""
    place = _place(node, mine) if mine else complaint.place
    told.setdefault(f"{key}{value}", Complaint(place, ("space", mine or key), f"{complaint.sentence}{value}"))


def _place(node: Node, key: str) -> Any:
    below = node.at((key,))
    return below.place if below is not None else node.place


def _corners(plan: Plan) -> list[Point]:
    """Points of a search that has none beforehand: every choice and both ends of every range, one at a time."""
    ends = {k: (_end(v.low), _end(v.high)) if isinstance(v, Range) else v for k, v in plan.space.items()}
    middle = {key: values[0] for key, values in ends.items()}
    return [{**middle, key: value} for key, values in ends.items() for value in values]


def _end(value: float) -> str:
    return repr(value)
