"""What is measured: a model from a checkpoint or from a user's own code, with the data that it is measured on."""

import importlib
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml

from elbo_cli import build, checkpoint, runs
from elbo_cli import config as configs
from elbo_cli.bounds.draws import LatentVariableModel, draw
from elbo_cli.data.arrays import whole
from elbo_cli.data.sources import SOURCES
from elbo_cli.data.split import Split
from elbo_cli.errors import UserError
from elbo_cli.models.vae import VAE
from elbo_cli.runtime import settle

METHODS = ("prior", "posterior", "likelihood")


@dataclass(frozen=True, slots=True)
class Subject:
    """A model and a split of data that fit each other."""

    name: str  # as the user gave it
    model: LatentVariableModel
    split: Split
    data: str  # what the data are, for the report
    seed: int
    device: torch.device


def open_subject(
    name: str,
    *,
    split: str = "test",
    data: str | None = None,
    overrides: Sequence[str] = (),
    limit: int | None = None,
    seed: int | None = None,
    threads: int | None = None,
    device: torch.device = build.CPU,
) -> Subject:
    """Open what a user named, with its data.

    Args:
        name: a checkpoint file, a run folder (its best checkpoint), or `package.module:factory`.
        split: train, valid or test. Of a file given as `data`, all is measured, unless it is an .npz with such a key.
        data: a data set's name (digits, mnist, ...) or a file or folder; null: what the checkpoint was trained on.
        overrides: `data.KEY=VALUE` for the data's other settings.
        limit: measure the first so many data only.
        seed: of the draws; null: the checkpoint's, else 0.
        threads: torch's threads; null: the checkpoint's, else 1.
        device: where to work.

    Raises:
        UserError: any of it is not there, or model and data do not fit.
    """
    if _is_factory(name):
        config, model = None, _made(name)
    else:
        config, model = build.trained(checkpoint.read(runs.checkpoint_path(name)), device)
    settle(threads or (config.threads if config else 1))
    if isinstance(model, torch.nn.Module):
        model.to(device).eval()
    measured, about = _data(config, split, data, overrides)
    measured = (measured if limit is None else measured.first(limit)).to(device)
    subject = Subject(name, model, measured, about, (config.seed if config else 0) if seed is None else seed, device)
    _refuse_misfits(subject)
    return subject


def _is_factory(name: str) -> bool:
    return ":" in name and not Path(name).exists()


def _made(name: str) -> LatentVariableModel:
    """Call the user's factory. This is the only door to user code."""
    module, _, attribute = name.partition(":")
    sys.path.insert(0, str(Path.cwd()))  # as python -m does: the user's file lies beside
    try:
        factory: Callable[[], Any] = getattr(importlib.import_module(module), attribute)
        model = factory()
    except (ImportError, AttributeError, ValueError, TypeError) as error:
        raise UserError(
            f"Cannot make a model from '{name}': {error}. Give package.module:factory, a function without arguments."
        ) from error
    finally:
        sys.path.pop(0)
    missing = [method for method in METHODS if not callable(getattr(model, method, None))]
    if missing:
        raise UserError(
            f"What '{name}' made has no {', '.join(missing)}: a model needs prior(), posterior(x) and likelihood(z)."
        )
    return model  # type: ignore[no-any-return]


def _data(config: configs.Config | None, split: str, data: str | None, overrides: Sequence[str]) -> tuple[Split, str]:
    """The split to measure and a line on what it is."""
    stray = [o for o in overrides if not o.startswith("data.")]
    if stray:
        raise UserError(
            f"'{stray[0]}' cannot be set here: a checkpoint's config is settled. Only data.KEY=VALUE can be given."
        )
    if data is None and config is None:
        raise UserError("A model of your own needs data: give --data FILE, or --data with a data set's name.")
    seed = config.seed if config else 0
    binarize = config.data.binarize if config and hasattr(config.data, "binarize") else "none"
    if data is None:
        assert config is not None
        section = _section(configs.as_dict(config)["data"], overrides)
    elif data in SOURCES and data != "arrays":
        section = _section({"name": data} | ({"binarize": binarize} if data != "linear_gaussian" else {}), overrides)
    else:
        section = _section({"name": "arrays", "path": data, "binarize": binarize}, overrides)
        return whole(
            **section.model_dump(exclude={"name", "valid_path", "test_path", "valid", "test"}), name=split, seed=seed
        ), data
    return build.open_data(section, seed).split(split), section.name


def _section(given: dict[str, Any], overrides: Sequence[str]) -> Any:
    """A data section, with the overrides on top."""
    return configs.loads(yaml.safe_dump({"data": given}), source="--data", overrides=overrides).data


def _refuse_misfits(subject: Subject) -> None:
    """Insist that the model takes these data, before the long work begins.

    Raises:
        UserError: shapes disagree, the data lie outside the likelihood's support, or the user's code fails.
    """
    if not len(subject.split):
        raise UserError(f"The {subject.split.name} split of {subject.data} is empty.")
    if isinstance(subject.model, VAE):
        wanted = subject.model.visible.shape
        if subject.split.shape != wanted:
            raise UserError(
                f"{subject.name} was trained on data of shape {wanted}, and {subject.data} has {subject.split.shape}."
            )
        build.refuse_unsupported(subject.model.visible, subject.split)
    x = next(subject.split.blocks(2))
    try:
        with torch.no_grad():
            log_w = draw(subject.model, x, 3).log_w
    except (RuntimeError, ValueError, TypeError, AttributeError, NotImplementedError) as error:
        reason = " ".join(str(error).split())[:300]
        raise UserError(f"{subject.name} fails on {len(x)} data of shape {subject.split.shape}: {reason}") from error
    if log_w.shape != (3, len(x)):
        raise UserError(
            f"{subject.name} gives weights {tuple(log_w.shape)} for 3 draws of {len(x)} data, not (3, {len(x)}): "
            "likelihood(z) needs batch shape [..., N] and a datum as its event (torch.distributions.Independent)."
        )
