"""Random configs of which every key is one that the schema takes, and the sizes are small."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from pydantic import BaseModel

from benchmarks.reliability.tamed_configs import tamed
from elbo_cli import config as configs
from elbo_cli.config import sections

Draw = Callable[[st.SearchStrategy[Any]], Any]
SMALL = st.sampled_from([1e-30, 1e-8, 1e-3, 0.1, 0.5, 1.0, 3.0, 1e3, 1e8, 1e30])
SIZES = st.lists(st.integers(1, 6), max_size=2)


@st.composite
def configs_of(draw: Draw, folder: Path) -> dict[str, Any]:
    """A config for the data in `folder`; in one of four, choices that do not go together must be refused."""
    pick: Callable[..., Any] = lambda *options: draw(st.sampled_from(options))  # noqa: E731
    train = {
        "epochs": 1,
        "batch_size": pick(1, 2, 7, 50, 10**6, 2**63 - 1),
        "step": pick(*_names(sections.Train, "step")),
        "update": pick(*_names(sections.Train, "update")),
        "patience": pick(None, 1, 2**63 - 1),
        "gap_every": pick(0, 1, 3),
        "gap_samples": pick(2, 3, 8),
        "gap_examples": pick(1, 3, 10**9),
        "health": draw(st.booleans()),
    }
    if train["update"] == "alternate":
        train["encoder_steps"] = pick(1, 3)
    rooms = {"data": _data(draw, folder), "model": _model(draw), "objective": _objective(draw), "optim": _optim(draw)}
    tree = {"seed": pick(0, 1, 2**31, 2**63 - 1), **rooms, "train": train}
    return tree if draw(st.integers(0, 3)) == 0 else tamed(tree)


def _model(draw: Draw) -> dict[str, Any]:
    pick: Callable[..., Any] = lambda *options: draw(st.sampled_from(options))  # noqa: E731
    several = pick(False, False, False, True)
    model = {
        "latent_dim": draw(st.lists(st.integers(1, 4), min_size=2, max_size=3) if several else st.integers(1, 6)),
        "likelihood": pick(*_names(configs.Model, "likelihood")),
        "prior": pick(*_names(configs.Model, "prior")),
        "posterior": pick(*_names(configs.Model, "posterior")),
        "bias_from_data": draw(st.booleans()),
        "init": pick(*_names(configs.Model, "init")),
        "encoder": _network(draw),
        "decoder": _network(draw),
    }
    if several:
        model["between"] = _network(draw)
    if model["prior"] in ("mixture", "vamp"):
        model["components"] = draw(st.integers(1, 5))
    if model["posterior"] == "lowrank_normal":
        model["rank"] = draw(st.integers(1, 4))
    if "flow" in (model["prior"], model["posterior"]):
        hidden = draw(SIZES)
        model |= {"flow": pick(*_names(configs.Model, "flow")), "flow_transforms": pick(1, 2), "flow_hidden": hidden}
    if model["likelihood"] == "gaussian":
        model["sigma"] = draw(st.sampled_from(["shared", "per_pixel", None]) | SMALL)
    if model["likelihood"] in ("categorical", "discretized_logistic"):
        model["levels"] = draw(st.sampled_from([2, 3, 16, 256]))
    return model


def _objective(draw: Draw) -> dict[str, Any]:
    pick: Callable[..., Any] = lambda *options: draw(st.sampled_from(options))  # noqa: E731
    objective = {
        "bound": pick(*_names(configs.Objective, "bound")),
        "gradient": pick("standard", *_names(configs.Objective, "gradient")),
        "samples": draw(st.integers(1, 4)),
        "beta": draw(st.just(0.0) | SMALL),
        "beta_warmup_epochs": pick(0, 1, 5),
    }
    if objective["beta_warmup_epochs"]:
        objective["beta_schedule"] = pick(*_names(configs.Objective, "beta_schedule"))
        if objective["beta_schedule"] == "cyclical":
            objective["beta_cycles"] = draw(st.integers(1, 5))
    if objective["bound"] == "elbo":
        objective["free_bits"] = draw(st.just(0.0) | SMALL)
    return objective


def _optim(draw: Draw) -> dict[str, Any]:
    pick: Callable[..., Any] = lambda *options: draw(st.sampled_from(options))  # noqa: E731
    optim = {
        "name": pick(*_names(configs.Optim, "name")),
        "lr": draw(SMALL),
        "betas": [pick(0.0, 0.5, 0.9, 0.999999), pick(0.0, 0.9, 0.999)],
        "eps": draw(SMALL),
        "schedule": pick(*_names(configs.Optim, "schedule")),
        "clip_norm": draw(st.none() | SMALL),
    }
    if optim["name"] == "adamw":
        optim["weight_decay"] = draw(st.just(0.0) | SMALL)
    if optim["schedule"] == "step":
        optim |= {"step_epochs": pick(1, 2, 30), "step_factor": pick(1e-9, 0.5, 1.0)}
    return optim


def _names(section: type[BaseModel], key: str) -> tuple[str, ...]:
    names: tuple[str, ...] = section.model_fields[key].annotation.__args__  # type: ignore[union-attr]
    return names


def _network(draw: Draw) -> dict[str, Any]:
    kind = draw(st.sampled_from(_names(configs.Network, "kind")))
    more = {"channels": draw(SIZES)} if kind in ("conv", "res_conv") else {}
    activation = draw(st.sampled_from(_names(configs.Network, "activation")))
    norm = draw(st.sampled_from(_names(configs.Network, "norm")))
    return {"kind": kind, "hidden": draw(SIZES), "activation": activation, "norm": norm} | more


def _data(draw: Draw, folder: Path) -> dict[str, Any]:
    binarize = draw(st.sampled_from(["none", "threshold", "fixed", "dynamic"]))
    kind = draw(st.sampled_from(["digits", "linear_gaussian", "arrays", "arrays", "mnist"]))
    if kind == "digits":
        return {"name": kind, "binarize": binarize, "valid": draw(st.integers(1, 99)), "test": 1660}
    if kind == "linear_gaussian":
        sizes = {key: draw(st.integers(1, 12)) for key in ("dim", "latent_dim", "train", "valid", "test")}
        return {"name": kind, "sigma": draw(SMALL)} | sizes
    if kind == "mnist":
        return {"name": kind, "root": str(folder), "binarize": binarize}
    file = draw(st.sampled_from(["grey", "binary", "colour", "counts", "loud", "half"]))
    shares = {key: draw(st.sampled_from([0.1, 0.5, 1, 5, 1000])) for key in ("valid", "test")}
    scale = draw(st.just("auto") | SMALL)
    return {"name": kind, "path": str(folder / f"{file}.npy"), "binarize": binarize, "scale": scale} | shares
