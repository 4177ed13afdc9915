"""Presets are valid, current, documented, and the same in the package and in configs/."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from elbo_cli.config import Config, load, loads
from elbo_cli.config.schema import every_key
from elbo_cli.errors import UserError
from elbo_cli.presets import list_presets, preset_text, write_preset

ROOT = Path(__file__).parent.parent
NAMES = [
    "arrays-template", "burda-iwae5", "burda-iwae50", "burda-vae", "digits", "digits-2d", "fashion-conv",
    "linear-gaussian", "mnist-2layer", "mnist-2layer-iwae5", "mnist-2layer-iwae50", "mnist-iwae5", "mnist-iwae50",
    "mnist-vae", "pixels-discretized-logistic",
]  # fmt: skip


def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("write_configs", ROOT / "scripts" / "write_configs.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_presets_are_listed_with_a_summary_on_one_line() -> None:
    assert list(list_presets()) == NAMES
    assert all(10 < len(summary) < 112 and not summary.startswith("#") for summary in list_presets().values())


def test_everything_that_follows_from_the_schema_is_current() -> None:
    outputs = script().outputs()
    assert len(outputs) == 1 + 2 * len(NAMES)
    stale = [str(path.relative_to(ROOT)) for path, text in outputs.items() if path.read_text("utf-8") != text]
    assert not stale, f"run scripts/write_configs.py: {stale}"


@pytest.mark.parametrize("name", NAMES)
def test_a_preset_is_valid_and_the_same_in_configs(name: str) -> None:
    assert load(ROOT / "configs" / f"{name}.yaml") == loads(preset_text(name))
    assert (ROOT / "configs" / f"{name}.yaml").read_text("utf-8") == preset_text(name)


def test_configs_has_no_file_that_is_not_a_preset() -> None:
    assert sorted(path.stem for path in (ROOT / "configs").iterdir()) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_preset_has_every_key_of_its_sections_and_fits_a_screen(name: str) -> None:
    text = preset_text(name)
    config = loads(text)
    for keys, _ in every_key(Config):
        if keys[0] != "data" or len(keys) == 1 or keys[1] in type(config.data).model_fields:
            assert f"{keys[-1]}:" in text, keys
    assert all(len(line) <= 112 for line in text.splitlines())


def test_the_presets_of_burda_et_al_are_the_papers_setting() -> None:
    for name, samples in {"burda-vae": 1, "burda-iwae5": 5, "burda-iwae50": 50}.items():
        config = loads(preset_text(name))
        assert (config.objective.bound, config.objective.samples) == ("elbo" if samples == 1 else "iwae", samples)
        assert (config.train.epochs, config.train.batch_size) == (sum(3**i for i in range(8)), 20)
        assert (config.optim.schedule, config.optim.lr, config.optim.eps) == ("burda", 1e-3, 1e-4)
        assert (config.model.latent_dim, config.model.encoder.hidden, config.model.encoder.activation) == (
            50,
            (200, 200),
            "tanh",
        )
        assert (config.model.init, config.model.bias_from_data, config.data.name) == ("glorot", True, "mnist")


def test_a_preset_is_written_once_and_never_over_a_file(tmp_path: Path) -> None:
    write_preset("digits", tmp_path / "mine.yaml")
    assert load(tmp_path / "mine.yaml") == loads(preset_text("digits"))
    (tmp_path / "mine.yaml").write_text("seed: 7")
    with pytest.raises(UserError, match="exists already, and is left as it is"):
        write_preset("digits", tmp_path / "mine.yaml")
    assert (tmp_path / "mine.yaml").read_text() == "seed: 7"
    with pytest.raises(UserError, match="cannot be written: No such file or directory"):
        write_preset("digits", tmp_path / "nowhere" / "mine.yaml")


def test_a_preset_that_does_not_exist_has_a_neighbour() -> None:
    with pytest.raises(UserError, match=r"No preset is called 'minst-vae'\. Did you mean 'mnist-vae'\?"):
        preset_text("minst-vae")


def test_the_reference_has_a_row_for_every_key() -> None:
    page = (ROOT / "docs" / "config.md").read_text("utf-8")
    rows = [line for line in page.splitlines() if line.startswith("| `")]
    unescaped = [line.replace("\\|", "") for line in rows]
    assert all(line.count("|") == 5 for line in unescaped)
    names = {keys[-1] for keys, field in every_key(Config)} - {
        "data",
        "model",
        "between",
        "encoder",
        "decoder",
        "objective",
        "optim",
        "train",
    }
    assert names <= {row.split("`")[1] for row in rows}
