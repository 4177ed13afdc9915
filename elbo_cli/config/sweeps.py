"""A sweep's file: which config to start from, which keys to vary, by which search, and where to work."""

import itertools
import math
import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, Strict, ValidationError

from elbo_cli.config.errors import SHOWN, Complaint, ConfigError, Place, dotted, printable
from elbo_cli.config.loading import config_of, tree_of
from elbo_cli.config.schema import every_key, explain
from elbo_cli.config.sections import Config
from elbo_cli.config.sweep_space import Choices, Point, Range, Space, read_space, twice
from elbo_cli.config.values import Count, Section, Text, Whole
from elbo_cli.config.yaml_source import Node, Tree, parse, read
from elbo_cli.errors import UserError

Search = Literal["grid", "random", "tpe"]
Seeds = Annotated[tuple[Whole, ...], Strict(False), Field(min_length=1)]
MOST = 10_000  # runs; beyond that somebody has made a mistake
Trials = Annotated[int, Field(ge=1, le=MOST)]
Workers = Annotated[int, Field(ge=1, le=1024)]


class Slurm(Section):
    """Jobs of one worker each, through submitit."""

    jobs: Workers = Field(4, description="workers, each a job of an array")
    minutes: Count = Field(60, description="of a job; a worker that is cut off is taken up by the next")
    partition: Text | None = Field(None, description="of the cluster; null: its default")
    cluster: Literal["slurm", "local", "debug"] = Field("slurm", description="local and debug run on this machine")


class Sweep(Section):
    """Everything of a sweep but its space."""

    config: Text = Field("", description="the config that every run starts from, beside this file")
    search: Search = Field("grid", description="all combinations; random ones; or Optuna's TPE")
    trials: Trials = Field(20, description="points of a random or TPE search")
    seed: Whole = Field(0, description="of the search itself")
    seeds: Seeds = Field((0,), description="each point is trained with each of these")
    folder: Text | None = Field(None, description="where the runs go; null: sweeps/NAME")
    storage: Text | None = Field(
        None, description="Optuna's: a journal's file or a database's URL; null: FOLDER/journal"
    )
    processes: Workers | None = Field(None, description="trainings at once; null: as many as there are cores for")
    slurm: Slurm | None = Field(None, description="work on a cluster instead of this machine")


@dataclass(frozen=True, slots=True)
class Plan:
    """A sweep that can be run: its settings, its base config and its space, all of it checked."""

    path: Path
    sweep: Sweep
    tree: Tree  # of the base config, read once: whoever edits it meanwhile changes no run
    base: Config
    space: Space

    @property
    def folder(self) -> Path:
        """Where everything of it lies."""
        return Path(self.sweep.folder) if self.sweep.folder else Path("sweeps") / self.path.stem

    def points(self) -> list[Point]:
        """The points that are known before the first run: all of a grid or a random search, none of TPE's."""
        points = iter(()) if self.sweep.search == "tpe" else self._points()
        return list({tuple(point.items()): point for point in points}.values())  # what is drawn twice is one point

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
        return config_of(self.tree, overrides(point, seed))


def overrides(point: Point, seed: int) -> list[str]:
    """A point as KEY=VALUE."""
    return [*(f"{key}={value}" for key, value in point.items()), f"seed={seed}"]


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
    sweep = _settings(root, entries, complaints)
    if sweep is not None and not sweep.folder and path.stem in ("", ".", ".."):
        sentence = "the file's name gives the runs no folder of their own. Write folder: NAME."
        complaints.append(Complaint(root.place, ("folder",), sentence))
    space = read_space(entries["space"], complaints) if "space" in entries else {}
    if sweep is None or complaints:
        raise ConfigError(complaints)
    base = tree_of(path.parent / sweep.config)  # a path of its own, or beside the sweep's file
    plan = Plan(path, sweep, base, config_of(base), space)
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


def _settings(root: Node, entries: dict[str, Node], complaints: list[Complaint]) -> Sweep | None:
    if "seeds" in entries and (sentence := twice(entries["seeds"])):
        complaints.append(Complaint(entries["seeds"].place, ("seeds",), sentence))
    try:
        return Sweep.model_validate(root.plain)
    except ValidationError as error:
        complaints += explain(error, root, Sweep)
        return None


def _refused(plan: Plan, node: Node) -> list[Complaint]:
    """What the schema of configs has against the space: a line for each mistake, at its place in the file."""
    if "seed" in plan.space:
        return [Complaint(_place(node, "seed"), ("space", "seed"), "the seed is not searched: list seeds: [0, 1, 2].")]
    ranges = [key for key, values in plan.space.items() if isinstance(values, Range)]
    if plan.sweep.search == "grid" and ranges:
        sentence = "a grid has no range: list the values, or write search: random."
        return [Complaint(_place(node, key), ("space", key), sentence) for key in ranges]
    if sentence := _too_many(plan):
        return [Complaint(node.place, ("space",), sentence)]
    told: dict[str, Complaint] = {}
    for point in _tried(plan):
        try:
            plan.config(point, plan.sweep.seeds[0])
        except ConfigError as error:
            for each in error.complaints:
                _tell(told, each, node, point)
    return list(told.values())


def _too_many(plan: Plan) -> str:
    """A sentence where there are more runs or values than anybody means, before any of them is written out."""
    sizes = [len(values) for values in plan.space.values() if not isinstance(values, Range)]
    runs = (math.prod(sizes) if plan.sweep.search == "grid" else plan.sweep.trials) * len(plan.sweep.seeds)
    if max(runs, sum(sizes)) <= MOST:
        return ""
    if runs <= MOST:
        return f"{sum(sizes):,} values are more than {MOST:,}. Write {{low: 1e-4, high: 1e-2}} for a range."
    many = f"{runs:,}" if runs < 10**15 else "countless"
    cure = "Search at random." if plan.sweep.search == "grid" else "Ask for fewer trials or seeds."
    return f"a {plan.sweep.search} of {many} runs is more than {MOST:,}. {cure}"


def _tried(plan: Plan) -> Iterator[Point]:
    """Points that show every mistake: first the keys that no config has, of which there may be thousands."""
    known = {dotted(keys) for keys, _ in every_key(Config)}
    firsts = {key: _values(values)[0] for key, values in plan.space.items() if key not in known}
    if firsts:
        yield dict(itertools.islice(firsts.items(), SHOWN))
    rest = replace(plan, space={key: values for key, values in plan.space.items() if key in known})
    yield from rest.points() or _corners(rest)


def _tell(told: dict[str, Complaint], complaint: Complaint, node: Node, point: Point) -> None:
    """A complaint about a run's config, at the place of its key in the sweep's file."""
    key = dotted(complaint.keys) or str(complaint.place).partition("=")[0]
    shown = {printable(name): name for name in point}
    mine = next((shown[n] for n in shown if key == n or n.startswith(key + ".") or key.startswith(n)), "")
    value = f" (in a run with {mine}={point[mine]})" if mine else ""
    place = _place(node, mine) if mine else complaint.place
    told.setdefault(f"{key}{value}", Complaint(place, ("space", mine or key), f"{complaint.sentence}{value}"))


def _place(node: Node, key: str) -> Place:
    below = node.at((key,))
    return below.place if below is not None else node.place


def _corners(plan: Plan) -> Iterator[Point]:
    """Points of a search that has none beforehand: every choice and both ends of every range, one at a time."""
    ends = {key: _values(values) for key, values in plan.space.items()}
    middle = {key: values[0] for key, values in ends.items()}
    yield from ({**middle, key: value} for key, values in ends.items() for value in values)


def _values(values: Choices | Range) -> Choices:
    return values.ends if isinstance(values, Range) else values
