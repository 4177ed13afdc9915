"""The config: what is right round-trips exactly, and what is wrong is told in one line for each mistake."""

import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from elbo_cli.config import Config, ConfigError, as_dict, dump, load, loads
from elbo_cli.config.schema import every_key, variants
from elbo_cli.errors import UserError


def test_overrides_are_read_as_the_file_is() -> None:
    overrides = ["model.latent_dim=20", "optim.lr=3e-4", "train.patience=null", "model.encoder.hidden=[100, 50]"]
    changed = loads("train: {patience: 3}\nmodel:\n  # latent_dim: 3\n", overrides=overrides)
    written = "optim: {lr: 0.0003}\nmodel: {latent_dim: 20, encoder: {hidden: [100, 50]}}"
    assert changed == loads(written)


@pytest.mark.parametrize("path", ["/tmp/#1 of 2: a.npy", "*.npy", "it's", "&x", "- a", "a=b"])
def test_an_overriding_path_needs_no_yaml_quotes(path: str) -> None:
    config = loads("data: {name: arrays}", overrides=[f"data.path={path}"])
    assert as_dict(config.data)["path"] == path
    assert loads(dump(config)) == config


def test_an_override_mends_what_the_file_has_wrong() -> None:
    assert loads("optim: {lr: 0}", overrides=["optim.lr=1"]).optim.lr == 1.0


@pytest.mark.parametrize(
    "text", ["", "# nothing\n", "---\n", "model:\n  # all\n  encoder:\n    # commented out\ntrain:\n", "{}"]
)
def test_nothing_written_is_the_config_of_all_defaults(text: str) -> None:
    assert loads(text) == Config()


def test_the_defaults_are_those_of_the_design() -> None:
    config = Config()
    assert as_dict(config) == {
        "seed": 0,
        "threads": 1,
        "data": {"name": "mnist", "root": None, "download": False, "binarize": "dynamic", "valid": 5000},
        "model": {
            "latent_dim": 50,
            "between": None,
            "prior": "standard_normal",
            "posterior": "diagonal_normal",
            "likelihood": "bernoulli",
            "bias_from_data": True,
            "init": "glorot",
            "encoder": {"kind": "mlp", "hidden": [200, 200], "activation": "tanh", "norm": "none"},
            "decoder": {"kind": "mlp", "hidden": [200, 200], "activation": "tanh", "norm": "none"},
        },
        "objective": {
            "bound": "elbo",
            "gradient": "standard",
            "samples": 1,
            "beta": 1.0,
            "beta_warmup_epochs": 0,
            "beta_schedule": "linear",
            "free_bits": 0.0,
        },
        "optim": {
            "name": "adam",
            "lr": 1e-3,
            "betas": [0.9, 0.999],
            "eps": 1e-8,
            "schedule": "constant",
            "clip_norm": None,
        },
        "train": {
            "epochs": 100,
            "batch_size": 100,
            "shuffle_window": None,
            "step": "auto",
            "update": "both",
            "patience": None,
            "gap_every": 1,
            "gap_samples": 32,
            "gap_examples": 96,
            "health": False,
            "log_to": ["csv"],
        },
    }
    assert (config.model.levels, config.model.sigma, config.model.encoder.channels) == (256, None, (32, 64))
    assert (config.optim.weight_decay, config.optim.step_epochs, config.optim.step_factor) == (0.0, 30, 0.1)


def test_every_key_has_a_default_a_range_and_a_short_description() -> None:
    for keys, field in every_key(Config):
        assert not field.is_required(), keys
        assert field.description, keys
        assert len(field.description) < 90, keys
        assert "\n" not in field.description, keys


def test_a_config_is_frozen_and_hashable() -> None:
    config = Config()
    with pytest.raises(ValidationError):
        config.seed = 1  # type: ignore[misc]
    assert hash(config) == hash(Config())


def test_a_file_that_does_not_exist_has_a_neighbour(tmp_path: Path) -> None:
    (tmp_path / "first-run.yaml").write_text("")
    with pytest.raises(UserError, match=r"There is no file .*frist-run\.yaml\. Did you mean 'first-run\.yaml'\?"):
        load(tmp_path / "frist-run.yaml")


@pytest.mark.parametrize("name", ["mnist-vae", "mnist-vae.yaml", "configs/mnist-vae.yaml"])
def test_a_preset_given_as_a_file_is_recognised(name: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="'mnist-vae' is a preset: elbo init mnist-vae writes it to a file"):
        load(tmp_path / name)


def test_a_file_that_does_not_exist_may_be_a_misspelt_preset(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="Did you mean the preset of elbo init 'burda-iwae5"):
        load(tmp_path / "burda_iwae5.yaml")
    with pytest.raises(UserError, match=r"There is no folder .*nowhere either"):
        load(tmp_path / "nowhere" / "xyz.yaml")
    with pytest.raises(UserError, match="elbo init writes one"):
        load(tmp_path / "zzz")


def test_a_folder_is_no_config_and_a_run_folder_has_one(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"is a folder, not a config\.$"):
        load(tmp_path)
    (tmp_path / "config.yaml").write_text("")
    with pytest.raises(UserError, match=r"is a folder, not a config\. Type .*/config\.yaml"):
        load(tmp_path)


@pytest.mark.parametrize("name", ["a\x00b", "x" * 300, "x\nseed"])
def test_a_strange_path_is_told_on_one_line(name: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        load(tmp_path / name)
    assert str(caught.value).isprintable()


def test_a_file_that_cannot_be_opened_is_told(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").symlink_to(tmp_path / "c.yaml")  # a link to itself: also root cannot open it
    with pytest.raises(UserError, match=r"c\.yaml cannot be read: Too many levels of symbolic links\."):
        load(tmp_path / "c.yaml")


def test_a_mistake_in_a_file_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("seed: 1\nthreads: none\n")
    with pytest.raises(ConfigError) as caught:
        load(path, ["seed=3"])
    assert str(caught.value) == f"{path}:2: threads: found 'none', allowed: a whole number from 1 to 1024."
    path.write_text("seed: 1\n")
    assert load(str(path), ["seed=3"]).seed == 3


def test_reading_a_config_imports_neither_torch_nor_numpy() -> None:
    code = "import sys, elbo_cli.config as c; c.loads(''); print({'torch', 'numpy', 'pandas'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_a_config_made_in_python_is_held_to_the_same_ranges_as_text() -> None:
    for keys, field in every_key(Config):
        kinds = str(field.annotation) + str(field.metadata)
        assert "int" not in kinds or "le=" in kinds or "Le(" in kinds, keys  # what could not be read back is refused
    with pytest.raises(ValidationError):
        Config.model_validate({"train": {"patience": 2**63}})


def test_every_source_is_told_apart_by_its_name() -> None:
    names = list(variants(Config.model_fields["data"]))
    assert names == ["digits", "mnist", "fashion_mnist", "linear_gaussian", "arrays"]
