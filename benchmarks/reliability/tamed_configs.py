"""What does not go together in a random config, made to: so that most of them are trained, and not refused."""

from pathlib import Path
from typing import Any

Tree = dict[str, Any]
UNIT = ["gaussian", "continuous_bernoulli"]
LIKELIHOODS = {  # of data as they are, by the name of their file or source
    "digits": [*UNIT, "categorical", "discretized_logistic"],
    "colour": [*UNIT, "categorical", "discretized_logistic"],
    "grey": UNIT,
    "half": UNIT,
    "binary": ["bernoulli", *UNIT],
    "counts": ["poisson", "gaussian"],
    "loud": ["gaussian"],
    "linear_gaussian": ["gaussian"],
}
LEVELS = {"digits": 17, "colour": 256}
PICTURES = ("digits", "colour", "binary")


def tamed(tree: Tree) -> Tree:
    """The same config, as near as may be, of parts that go together."""
    source = _data(tree["data"])
    _likelihood(tree["model"], tree["data"], source)
    _networks(tree["model"], source in PICTURES)
    _objective(tree["objective"], tree["model"])
    return tree


def _data(data: Tree) -> str:
    """Makes the data what there is, and tells its name."""
    if data["name"] == "mnist":
        data.update({"name": "digits", "valid": 9, "test": 1660})
        del data["root"]
    source = Path(data["path"]).stem if data["name"] == "arrays" else str(data["name"])
    if data["name"] == "arrays":
        shares = {key: min(data[key], 5) for key in ("valid", "test")}
        data.update({"scale": 1.0 if source in ("counts", "loud") else "auto", **shares})
    if source in ("counts", "loud"):
        data["binarize"] = "none"
    return source


def _likelihood(model: Tree, data: Tree, source: str) -> None:
    drawn = data.get("binarize", "none") != "none"
    allowed = ["bernoulli"] if drawn else LIKELIHOODS[source]
    if model["likelihood"] not in allowed:
        model["likelihood"] = allowed[len(repr(model)) % len(allowed)]
    for key, names in {"sigma": ["gaussian"], "levels": ["categorical", "discretized_logistic"]}.items():
        if model["likelihood"] not in names:
            model.pop(key, None)
    if model["likelihood"] in ("categorical", "discretized_logistic"):
        model["levels"] = LEVELS[source]


def _networks(model: Tree, pictures: bool) -> None:
    for name in ("encoder", "decoder", "between"):
        network = model.get(name)
        if network is None:
            continue
        if name == "between" or not pictures:
            network["kind"] = network["kind"].replace("conv", "mlp")
        if "mlp" in network["kind"]:
            network.pop("channels", None)
        if network["kind"] == "res_mlp" and not network["hidden"]:
            network["hidden"] = [3]
        if network["norm"] in ("layer", "group"):
            for sizes in ("hidden", "channels"):
                network.update({sizes: [max(2, size) for size in network[sizes]]} if sizes in network else {})
    if isinstance(model["latent_dim"], list) and model["prior"] == "vamp":
        model["prior"] = "mixture"


def _objective(objective: Tree, model: Tree) -> None:
    if objective["gradient"] == "dreg":
        objective["bound"] = "iwae"
    if "beta_cycles" in objective:
        objective["beta_cycles"] = min(objective["beta_cycles"], objective["beta_warmup_epochs"])
    closed = (model["prior"], model["posterior"]) == ("standard_normal", "diagonal_normal")
    simple = closed and isinstance(model["latent_dim"], int) and objective["gradient"] == "standard"
    if objective["bound"] == "iwae" or not simple:
        objective.pop("free_bits", None)
