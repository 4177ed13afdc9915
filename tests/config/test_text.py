"""A config as text: what is dumped is loaded again to the last bit."""

from typing import Any

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from elbo_cli.config import Config, as_dict, commented, dump, loads


def test_a_key_without_a_meaning_is_left_out_of_the_resolved_config() -> None:
    assert "levels" not in as_dict(Config().model)
    assert as_dict(loads("model: {likelihood: categorical}").model)["levels"] == 256
    # what says nothing may stand there
    assert loads("optim: {weight_decay: 0}\nmodel: {sigma: null}\nobjective: {bound: iwae, free_bits: 0}").seed == 0


def test_numbers_are_dumped_so_that_every_reader_of_yaml_takes_them_for_numbers() -> None:
    config = loads("optim: {lr: 1e-5, eps: 1e-300}\nobjective: {beta: 1e+22}")
    assert yaml.safe_load(dump(config)) == as_dict(config)


def sizes() -> st.SearchStrategy[list[int]]:
    return st.lists(st.integers(1, 9999), max_size=3)


def reals(least: float, most: float = 1e300) -> st.SearchStrategy[float]:
    # no denormals: conftest flushes them, as the commands do
    return st.floats(least, most, allow_subnormal=False)


WORDS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12)
POSITIVE = reals(1e-300)


def section(values: dict[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=values)


def networks() -> st.SearchStrategy[dict[str, Any]]:
    common = {
        "hidden": sizes(),
        "activation": st.sampled_from(["tanh", "relu"]),
        "norm": st.sampled_from(["none", "layer"]),
    }
    return section(common) | section(common | {"channels": sizes()}).map(lambda d: {"kind": "conv", **d})


def sources() -> st.SearchStrategy[dict[str, Any]]:
    arrays = section(
        {
            "key": WORDS,
            "test_path": WORDS | st.lists(WORDS, min_size=1, max_size=3),
            "scale": POSITIVE,
            "valid": st.integers(1, 99) | reals(1e-9, 0.999),
        }
    )
    return st.one_of(
        section({"root": WORDS, "download": st.booleans(), "valid": st.integers(1, 59999)}),
        section({"valid": st.integers(1, 500), "binarize": st.sampled_from(["none", "fixed"])}).map(
            lambda d: {"name": "digits", **d}
        ),
        section({"sigma": POSITIVE, "dim": st.integers(1, 99)}).map(lambda d: {"name": "linear_gaussian", **d}),
        st.tuples(arrays, WORDS | st.lists(WORDS, min_size=1, max_size=3)).map(
            lambda pair: {"name": "arrays", "path": pair[1], **pair[0]}
        ),
    )


def models() -> st.SearchStrategy[dict[str, Any]]:
    common = {"latent_dim": st.integers(1, 4096), "encoder": networks(), "decoder": networks()}
    sigma = POSITIVE | st.sampled_from(["shared", "per_pixel", None])
    deep = {
        "latent_dim": st.lists(st.integers(1, 4096), min_size=2, max_size=4),
        "between": section({"hidden": sizes()}),
    }
    flow = {"flow": st.sampled_from(["realnvp", "nsf", "maf"]), "flow_hidden": st.lists(st.integers(1, 99), max_size=2)}
    return st.one_of(
        section(common),
        section(common | {"rank": st.integers(1, 9)}).map(lambda d: {"posterior": "lowrank_normal", **d}),
        section(common | {"components": st.integers(1, 999)}).map(lambda d: {"prior": "vamp", **d}),
        section(common | flow).map(lambda d: {"prior": "flow", **d}),
        section(common | flow).map(lambda d: {"posterior": "flow", **d}),
        st.fixed_dictionaries(deep, optional=flow).map(lambda d: {"prior": "flow", **d}),
        section(common | {"sigma": sigma}).map(lambda d: {"likelihood": "gaussian", **d}),
        section(common | {"levels": st.integers(2, 256)}).map(lambda d: {"likelihood": "categorical", **d}),
    )


def optimisers() -> st.SearchStrategy[dict[str, Any]]:
    rate = reals(0, 0.9999)
    return section(
        {
            "lr": POSITIVE,
            "eps": POSITIVE,
            "betas": st.lists(rate, min_size=2, max_size=2),
            "clip_norm": POSITIVE | st.none(),
        }
    )


CONFIGS = section(
    {
        "seed": st.integers(0, 2**63 - 1),
        "data": sources(),
        "model": models(),
        "objective": section({"beta": reals(0), "samples": st.integers(1, 10**6)}),
        "optim": optimisers(),
        "train": section({"patience": st.integers(1, 2**63 - 1) | st.none(), "epochs": st.integers(1, 2**63 - 1)}),
    }
)


@settings(max_examples=150)
@given(CONFIGS)
def test_what_is_dumped_is_loaded_again_to_the_last_bit(values: dict[str, Any]) -> None:
    config = Config.model_validate(values)
    for text in (dump(config), commented(config, "summary")):
        again = loads(text)
        assert again == config
        assert as_dict(again) == as_dict(config)
        assert dump(again) == dump(config)
    assert Config.model_validate(as_dict(config)) == config
