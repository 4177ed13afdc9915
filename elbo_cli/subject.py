"""What is measured: a model from a checkpoint or from a user's own code, with the data that it is measured on."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import yaml

from elbo_cli import build, checkpoint, runs
from elbo_cli import config as configs
from elbo_cli.bounds.draws import LatentVariableModel, draw
from elbo_cli.data.arrays import NAMES, whole
from elbo_cli.data.series import files
from elbo_cli.data.sources import SOURCES
from elbo_cli.data.split import Split
from elbo_cli.errors import UserError, called, choose, nearest
from elbo_cli.foreign import DRAWS, blaming, is_factory, make, refuse_shapes
from elbo_cli.models.vae import VAE
from elbo_cli.runtime import settle

KEPT: dict[str, tuple[str, ...]] = {  # what other data share with those that a model was trained on, unless overridden
    "digits": ("binarize",),
    "mnist": ("binarize", "root"),
    "fashion_mnist": ("binarize", "root"),
    "linear_gaussian": (),
    "arrays": ("binarize", "scale", "memory_limit"),
}


@dataclass(frozen=True, slots=True)
class Subject:
    """A model and a split of data that fit each other."""

    name: str  # as the user gave it
    model: LatentVariableModel
    split: Split
    data: str  # what the data are, for the report
    seed: int
    device: torch.device

    @contextmanager
    def blamed(self) -> Iterator[None]:
        """Tell what the user's own model raises meanwhile in a sentence, and not in a traceback.

        Raises:
            UserError: it raised; the sentence has what, and where.
        """
        if isinstance(self.model, VAE):
            yield
            return
        with blaming(f"The model of '{self.name}' fails while it is measured"):
            yield


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
    data_seed: int | None = None,
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
        data_seed: of a binarisation that is drawn once; null: the checkpoint's, else 0.

    Raises:
        UserError: any of it is not there, or model and data do not fit.
    """
    choose(dict.fromkeys(NAMES), split, "split")
    if is_factory(name):
        config, model = None, make(name)
    else:
        config, model = build.trained(checkpoint.read(runs.checkpoint_path(name)), device)
    settle(threads or (config.threads if config else 1))
    if isinstance(model, torch.nn.Module):
        model.to(device).eval()
    measured, about = _data(config, split, data, overrides, data_seed)
    measured = (measured if limit is None else measured.first(limit)).to(device)
    subject = Subject(name, model, measured, about, (config.seed if config else 0) if seed is None else seed, device)
    _refuse_misfits(subject)
    return subject


def _data(
    config: configs.Config | None, split: str, data: str | None, overrides: Sequence[str], seed: int | None
) -> tuple[Split, str]:
    """The split to measure, and what its data are called."""
    stray = [o for o in overrides if not o.startswith("data.")]
    if stray:
        raise UserError(
            f"'{stray[0]}' cannot be set here: a checkpoint's config is settled. Only data.KEY=VALUE can be given."
        )
    own, before = (config.seed, configs.as_dict(config)["data"]) if config else (0, {})
    seed = own if seed is None else seed
    name = data or before.get("name")
    if name is None:
        raise UserError("A model of your own needs data: give --data FILE, or --data with a data set's name.")
    if "download" in before:  # a checkpoint may be a stranger's: only who types it asks for the network
        before["download"] = False
    same = name == before.get("name")
    if same or (name in SOURCES and name != "arrays"):
        given = before if same else {"name": name} | _kept(before, name)
        found = build.open_data(_section(given, overrides), seed).split(split).frozen()
        return found, called(given.get("path", name))
    _refuse_nothing(name)
    section = _section({"name": "arrays", "path": name} | _kept(before, "arrays"), overrides)
    options = section.model_dump(exclude={"name", "valid_path", "test_path", "valid", "test"})
    return whole(**options, name=split, seed=seed), name


def _kept(before: dict[str, Any], data: str) -> dict[str, Any]:
    """What other data have in common with those that the model was trained on."""
    return {key: value for key, value in ({"binarize": "none"} | before).items() if key in KEPT[data]}


def _refuse_nothing(data: str) -> None:
    """Insist that there is something at `data`; who mistyped a data set's name is told the names."""
    try:
        files(data, "--data")
    except UserError as error:
        sets = [name for name in SOURCES if name != "arrays"]
        raise UserError(f"{error}{nearest(data, sets)} The data sets with a name are: {', '.join(sets)}.") from error


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
    with blaming(f"{subject.name} fails on {len(x)} data of shape {subject.split.shape}"), torch.no_grad():
        refuse_shapes(subject.name, subject.model, x)
        log_w = draw(subject.model, x, DRAWS).log_w
    if log_w.shape != (DRAWS, len(x)):
        raise UserError(
            f"{subject.name} gives weights {tuple(log_w.shape)} for {DRAWS} draws of {len(x)} data: "
            "log_prob must be one number for each draw."
        )


def settings_of(name: str) -> dict[str, Any]:
    """The resolved config of a checkpoint, dotted key -> value; empty for a model of a user's own.

    Raises:
        UserError: there is no checkpoint, or it cannot be read.
    """
    if is_factory(name):
        return {}
    path = runs.checkpoint_path(name)
    return configs.flat(configs.loads(checkpoint.read(path).header.config, source=str(path)))
