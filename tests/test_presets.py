"""Presets are valid, current, documented, and the same in the package and in configs/."""

from pathlib import Path

import pytest

from elbo_cli.config import Config, load, loads
from elbo_cli.config.schema import every_key
from elbo_cli.errors import UserError
from elbo_cli.presets import list_presets, preset_text, write_preset
from tests.scripts import script

ROOT = Path(__file__).parent.parent
NAMES = [
    "arrays-template", "burda-2layer-iwae5", "burda-2layer-iwae50", "burda-2layer-vae", "burda-2layer-vae5",
    "burda-2layer-vae50", "burda-iwae5", "burda-iwae50", "burda-vae", "burda-vae5", "burda-vae50", "digits",
    "digits-2d", "fashion-conv", "linear-gaussian", "mnist-2layer", "mnist-2layer-iwae5", "mnist-2layer-iwae50",
    "mnist-flow", "mnist-iwae5", "mnist-iwae50", "mnist-iwae50-dreg", "mnist-vae", "mnist-vamp",
    "pixels-discretized-logistic",
]  # fmt: skip


def test_the_presets_are_listed_with_a_summary_on_one_line() -> None:
    assert list(list_presets()) == NAMES
    assert all(10 < len(summary) < 112 and not summary.startswith("#") for summary in list_presets().values())


def test_everything_that_follows_from_the_schema_is_current() -> None:
    outputs = script("write_configs").outputs()
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


@pytest.mark.parametrize("samples", [1, 5, 50])
@pytest.mark.parametrize("bound", ["elbo", "iwae"])
@pytest.mark.parametrize("layers", [1, 2])
def test_every_row_of_burda_et_al_table_1_is_a_preset_in_the_papers_setting(
    layers: int, bound: str, samples: int
) -> None:
    """x-200-200-z50, or x-200-200-z100-100-100-z50; with one draw the two bounds are one, and so is their preset."""
    bound = "elbo" if samples == 1 else bound
    suffix = "" if samples == 1 else str(samples)
    name = f"burda-{'2layer-' * (layers == 2)}{'vae' if bound == 'elbo' else 'iwae'}{suffix}"
    config = loads(preset_text(name))
    model, optim = config.model, config.optim
    assert (config.objective.bound, config.objective.samples) == (bound, samples)
    assert (config.objective.gradient, config.objective.beta, config.objective.free_bits) == ("standard", 1.0, 0.0)
    assert (config.train.epochs, config.train.batch_size) == (sum(3**i for i in range(8)), 20)
    assert (optim.name, optim.schedule, optim.lr, optim.betas, optim.eps) == ("adam", "burda", 1e-3, (0.9, 0.999), 1e-4)
    assert model.layers == ((50,) if layers == 1 else (100, 50))
    for net in (model.encoder, model.decoder):
        assert (net.kind, net.hidden, net.activation, net.norm) == ("mlp", (200, 200), "tanh", "none")
    if model.between is not None:
        between = model.between
        assert (between.kind, between.hidden, between.activation, between.norm) == ("mlp", (100, 100), "tanh", "none")
    assert (model.init, model.bias_from_data) == ("glorot", True)
    assert (config.data.name, config.data.binarize) == ("mnist", "dynamic")
    assert config.data.valid == 400, "the last 400, as in the authors' code: 59,600 are trained on"


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
