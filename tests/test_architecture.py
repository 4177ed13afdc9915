"""The rule of the house as data: who may import whom, and names in a config that are the keys of a table."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path
from typing import get_args

import pytest

import elbo_cli
from elbo_cli.bounds.gradients import GRADIENTS
from elbo_cli.bounds.lower import BOUNDS
from elbo_cli.build import SCHEDULES, _optimizer
from elbo_cli.config import data_sections, model_sections, sections
from elbo_cli.data.binarize import BINARIZE
from elbo_cli.data.sources import SOURCES
from elbo_cli.models.architecture import ACTIVATIONS, Architecture
from elbo_cli.models.likelihoods import LIKELIHOODS
from elbo_cli.models.networks import INITS, KINDS
from elbo_cli.models.perceptrons import mlp
from elbo_cli.models.posteriors import POSTERIORS
from elbo_cli.models.priors import PRIORS
from elbo_cli.training.sides import UPDATES
from elbo_cli.training.warmup import WARM_UPS

ROOT = Path(elbo_cli.__file__).parent

# A room, and what it may import beside the standard library and itself. The longest name that fits a module is its
# room; what is not listed (cli, commands, journal, ...) stands above all rooms, and no room may import it.
ROOMS: dict[str, set[str]] = {
    "elbo_cli.errors": set(),
    "elbo_cli.columns": set(),
    "elbo_cli.cores": set(),
    "elbo_cli.records": {"elbo_cli.columns"},
    "elbo_cli.files": {"elbo_cli.errors"},
    "elbo_cli.presets": {"elbo_cli.errors"},
    "elbo_cli.runtime": {"torch", "elbo_cli.errors"},
    "elbo_cli.ranks": {"torch", "elbo_cli.errors", "elbo_cli.runtime"},
    "elbo_cli.bounds": {"torch"},
    "elbo_cli.estimates": {"torch", "elbo_cli.bounds", "elbo_cli.records"},
    "elbo_cli.models": {"torch", "zuko", "elbo_cli.bounds", "elbo_cli.errors"},
    "elbo_cli.data": {"torch", "numpy", "PIL", "pooch", "pyarrow", "pandas", "elbo_cli.errors", "elbo_cli.runtime"},
    "elbo_cli.evaluation": {
        "torch",
        "elbo_cli.bounds",
        "elbo_cli.data",
        "elbo_cli.errors",
        "elbo_cli.estimates",
        "elbo_cli.models",
        "elbo_cli.ranks",
        "elbo_cli.records",
        "elbo_cli.runtime",
    },
    "elbo_cli.training": {
        "torch",
        "elbo_cli.bounds",
        "elbo_cli.data",
        "elbo_cli.errors",
        "elbo_cli.evaluation",
        "elbo_cli.models",
        "elbo_cli.ranks",
        "elbo_cli.records",
        "elbo_cli.runtime",
    },
    "elbo_cli.gap": {
        "torch",
        "zuko",
        "elbo_cli.bounds",
        "elbo_cli.columns",
        "elbo_cli.data",
        "elbo_cli.errors",
        "elbo_cli.estimates",
        "elbo_cli.models",
        "elbo_cli.ranks",
        "elbo_cli.records",
        "elbo_cli.runtime",
    },
    "elbo_cli.gap.probe": {  # measures for the trainer, in the trainer's own words
        "torch",
        "elbo_cli.bounds",
        "elbo_cli.data",
        "elbo_cli.gap",
        "elbo_cli.ranks",
        "elbo_cli.runtime",
        "elbo_cli.training",
    },
    "elbo_cli.comparison": {"torch", "elbo_cli.columns", "elbo_cli.records"},
    "elbo_cli.comparison.records": {"elbo_cli.columns"},
    "elbo_cli.portrait": {
        "torch",
        "numpy",
        "elbo_cli.bounds",
        "elbo_cli.data",
        "elbo_cli.evaluation",
        "elbo_cli.gap",
        "elbo_cli.records",
        "elbo_cli.runtime",
    },
    "elbo_cli.portrait.records": {"numpy", "elbo_cli.records"},
    "elbo_cli.events": {"tensorboardX", "elbo_cli.errors", "elbo_cli.records"},
    "elbo_cli.runs": {
        "filelock",
        "elbo_cli.events",
        "elbo_cli.columns",
        "elbo_cli.errors",
        "elbo_cli.files",
        "elbo_cli.records",
    },
    "elbo_cli.report": {
        "rich",
        "yaml",
        "pandas",
        "numpy",
        "matplotlib",
        "PIL",
        "elbo_cli.columns",
        "elbo_cli.comparison.records",
        "elbo_cli.portrait.records",
        "elbo_cli.errors",
        "elbo_cli.files",
        "elbo_cli.records",
        "elbo_cli.runs",
    },
    "elbo_cli.config": {"annotated_types", "pydantic", "yaml", "elbo_cli.errors", "elbo_cli.presets"},
}

# who may know what a config is; all else is told what it needs to know
KNOW_CONFIGS = {
    "elbo_cli.api",
    "elbo_cli.build",
    "elbo_cli.build_model",
    "elbo_cli.cli.configs",
    "elbo_cli.commands.training",
    "elbo_cli.journal",
    "elbo_cli.subject",
    "elbo_cli.sweep.study",
    "elbo_cli.sweep.worker",
}


def trees() -> dict[str, ast.Module]:
    """Every module of the package, read once."""
    found = {}
    for path in sorted(ROOT.rglob("*.py")):
        name = ".".join(("elbo_cli", *path.relative_to(ROOT).with_suffix("").parts))
        found[name.removesuffix(".__init__")] = ast.parse(path.read_text("utf-8"))
    return found


MODULES = trees()


def imports(tree: ast.Module) -> Iterator[str]:
    """Every module that is imported, wherever in the file; `from package import module` is the module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in MODULES else node.module or ""


def attributes(tree: ast.Module) -> set[str]:
    """Every `a.b` in the file."""
    return {ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}


def room(module: str) -> str | None:
    parts = module.split(".")
    names = [".".join(parts[:n]) for n in range(len(parts), 0, -1)]
    return next((name for name in names if name in ROOMS), None)


def within(module: str, allowed: set[str]) -> bool:
    return any(module == name or module.startswith(name + ".") for name in allowed)


def test_imports_go_one_way() -> None:
    wrong = []
    for module, tree in MODULES.items():
        home = room(module)
        if home is None:
            continue
        allowed = ROOMS[home] | {home} | set(sys.stdlib_module_names)
        wrong += [f"{module} imports {found}" for found in imports(tree) if not within(found, allowed)]
    assert not wrong, "\n".join(wrong)


def test_every_room_is_there() -> None:
    assert set(ROOMS) <= set(MODULES)


def test_the_rule_would_see_a_wrong_import() -> None:
    bad = ast.parse(
        "def f():\n    from elbo_cli import config\n    from elbo_cli.gap.proposals.laplace import laplace\n"
    )
    assert list(imports(bad)) == ["elbo_cli.config", "elbo_cli.gap.proposals.laplace"]
    assert not within("elbo_cli.gap.proposals.laplace", ROOMS["elbo_cli.bounds"])
    assert room("elbo_cli.bounds.lower") == "elbo_cli.bounds"
    assert room("elbo_cli.configuration") is None


def test_few_know_what_a_config_is() -> None:
    knowing = {
        module
        for module, tree in MODULES.items()
        if "elbo_cli.config" in imports(tree) and room(module) != "elbo_cli.config"
    }
    assert knowing <= KNOW_CONFIGS, knowing - KNOW_CONFIGS


def test_no_module_waits_for_itself() -> None:
    graph = {module: {found for found in imports(tree) if found in MODULES} for module, tree in MODULES.items()}
    order = list(TopologicalSorter(graph).static_order())
    assert order.index("elbo_cli.errors") < order.index("elbo_cli.build") < order.index("elbo_cli.cli")


def test_there_is_no_pickle_anywhere() -> None:
    for module, tree in MODULES.items():
        found = set(imports(tree))
        assert not found & {"pickle", "dill", "joblib", "shelve"}, module
        assert not {"torch.load", "torch.save"} & attributes(tree), module


def test_only_runtime_sets_the_global_generator() -> None:
    for module, tree in MODULES.items():
        if module != "elbo_cli.runtime":
            assert not {"torch.manual_seed", "random.seed", "np.random.seed"} & attributes(tree), module


def test_only_ranks_knows_of_other_processes() -> None:
    assert [module for module, tree in MODULES.items() if "torch.distributed" in imports(tree)] == ["elbo_cli.ranks"]


def test_the_command_line_opens_without_torch() -> None:
    heavy = "{'torch', 'numpy', 'pandas', 'matplotlib'}"
    code = f"import sys, elbo_cli.cli; sys.exit(bool({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("names", "table"),
    [
        (sections.Bound, BOUNDS),
        (sections.Gradient, GRADIENTS),
        (sections.WarmUp, WARM_UPS),
        (sections.Update, UPDATES),
        (model_sections.Likelihood, LIKELIHOODS),
        (model_sections.Posterior, POSTERIORS),
        (model_sections.Prior, PRIORS),
        (model_sections.NetworkKind, KINDS),
        (model_sections.Activation, ACTIVATIONS),
        (model_sections.Init, INITS),
        (sections.Schedule, SCHEDULES),
        (data_sections.Binarize, BINARIZE),
    ],
)
def test_the_names_of_a_config_are_the_keys_of_its_table(names: object, table: dict[str, object]) -> None:
    assert get_args(names) == tuple(table)


def test_the_data_sets_of_a_config_are_the_sources() -> None:
    sources = get_args(get_args(data_sections.Data)[0])
    named = [name for section in sources for name in get_args(section.model_fields["name"].annotation)]
    assert named == list(SOURCES)


@pytest.mark.parametrize("name", get_args(sections.Optimiser))
def test_every_optimiser_of_a_config_can_be_made(name: str) -> None:
    optimizer = _optimizer(sections.Optim(name=name), mlp(2, Architecture(hidden=()), 1))  # type: ignore[arg-type]
    assert type(optimizer).__name__.lower() == name


@pytest.mark.parametrize("name", get_args(model_sections.Norm))
def test_every_normalisation_of_a_config_can_be_made(name: str) -> None:
    assert len(Architecture(norm=name).activate(3)) == 1 + (name in ("layer", "group"))
