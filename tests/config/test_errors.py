"""What is wrong with a config is told in one line for each mistake, with its place and its cure."""

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elbo_cli.config import ConfigError, loads
from elbo_cli.presets import list_presets, preset_text

WHOLE = "allowed: a whole number"
LATENTS = f"{WHOLE} from 1 to 4096 or a list, each a whole number from 1 to 4096."
SOURCES = "allowed: digits, mnist, fashion_mnist, linear_gaussian, arrays."

# Each: a text, and the lines of the error that it is; `...` stands for anything.
BAD = [
    # whole numbers
    ("seed: -1", "1: seed: found -1, allowed: a whole number >= 0."),
    ("seed: 1.5", "1: seed: found 1.5, allowed: a whole number >= 0."),
    ('seed: "3"', "1: seed: found \"3\", allowed: a whole number >= 0. Remove the quotes."),
    ("seed: 010", "1: seed: found '010', allowed: a whole number >= 0. Leading zeros are not read."),
    ("seed: 9223372036854775808", "1: seed: found '9223372036854775808', ... It is beyond 2^63 - 1."),
    ("seed: true", "1: seed: found true, allowed: a whole number >= 0."),
    ("seed: null", "1: seed: found null, allowed: a whole number >= 0."),
    ("seed:", "1: seed: found nothing, allowed: a whole number >= 0."),
    ("seed: [1]", "1: seed: found a list of 1, allowed: a whole number >= 0."),
    ("seed: {a: 1}", "1: seed: found a section with the keys a, allowed: a whole number >= 0."),
    ("threads: 0", f"1: threads: found 0, {WHOLE} from 1 to 1024."),
    ("train:\n  epochs: 1e3", f"2: train.epochs: found 1e3, {WHOLE} >= 1. Write 1000."),
    ("train:\n  epochs: many", f"2: train.epochs: found 'many', {WHOLE} >= 1."),
    ("train: {patience: 0}", f"1: train.patience: found 0, {WHOLE} >= 1 or null."),
    ("train: {gap_every: -1}", f"1: train.gap_every: found -1, {WHOLE} >= 0."),
    ("train: {gap_samples: 1}", f"1: train.gap_samples: found 1, {WHOLE} >= 2."),
    ("model: {latent_dim: 0}", f"1: model.latent_dim: found 0, {LATENTS}"),
    ("model: {latent_dim: 4097}", f"1: model.latent_dim: found 4097, {LATENTS}"),
    ("objective: {samples: 0}", f"1: objective.samples: found 0, {WHOLE} >= 1."),
    ("data: {valid: 60000}", f"1: data.valid: found 60000, {WHOLE} from 1 to 59999."),
    # numbers
    ("optim: {lr: 0}", "1: optim.lr: found 0, allowed: a number > 0."),
    ("optim: {lr: 1e-3x}", "1: optim.lr: found '1e-3x', allowed: a number > 0."),
    ("optim: {lr: true}", "1: optim.lr: found true, allowed: a number > 0."),
    ("optim: {eps: .inf}", "1: optim.eps: found .inf, allowed: a number > 0. Numbers are finite."),
    ("objective: {beta: .nan}", "1: objective.beta: found .nan, allowed: a number >= 0. Numbers are finite."),
    ("objective: {beta: 1e999}", "1: objective.beta: found 1e999, allowed: a number >= 0. Numbers are finite."),
    ("objective: {beta: -0.5}", "1: objective.beta: found -0.5, allowed: a number >= 0."),
    ("optim: {clip_norm: 0}", "1: optim.clip_norm: found 0, allowed: a number > 0 or null."),
    ("optim: {schedule: step, step_factor: 2}", "1: optim.step_factor: found 2, allowed: a number in (0, 1]."),
    ("data: {name: linear_gaussian, sigma: 0}", "1: data.sigma: found 0, allowed: a number > 0."),
    ("data: {name: arrays, path: a, valid: 1.5}", "1: data.valid: found 1.5, ... in (0, 1) or a whole number >= 1."),
    ("data: {name: arrays, path: a, test: 0}", "1: data.test: found 0, ... in (0, 1) or a whole number >= 1."),
    ("data: {name: arrays, path: a, scale: atuo}", "1: data.scale: found 'atuo', ... Did you mean 'auto'?"),
    # lists
    ("optim: {betas: [0.9]}", "1: optim.betas: found a list of 1, allowed: ... each a number in [0, 1)."),
    ("optim: {betas: [0, 0, 0]}", "1: optim.betas: found a list of 3, allowed: ... each a number in [0, 1)."),
    ("optim:\n  betas:\n  - 0.9\n  - 1.0", "4: optim.betas[1]: found 1.0, ... each a number in [0, 1)."),
    ("model: {encoder: {hidden: 1}}", "1: model.encoder.hidden: found 1, allowed: a list, each a ..."),
    ("model: {encoder: {hidden: '[1]'}}", '1: model.encoder.hidden: found "[1]", allowed: a list, each a ...'),
    (
        "model: {decoder: {hidden: [10, 0, x]}}",
        "1: model.decoder.hidden[1]: found 0, allowed: a list, each a whole number >= 1.",
        "1: model.decoder.hidden[2]: found 'x', allowed: a list, each a whole number >= 1.",
    ),
    # booleans and text
    ("data: {download: yes}", "1: data.download: found 'yes', allowed: true or false. Write true."),
    ("data: {download: off}", "1: data.download: found 'off', allowed: true or false. Write false."),
    ('data: {download: "true"}', '1: data.download: found "true", allowed: true or false. Remove the quotes.'),
    ("data: {download: 1}", "1: data.download: found 1, allowed: true or false."),
    ("data: {root: ''}", '1: data.root: found "", allowed: text or null. It must not be empty.'),
    ("data: {root: 3}", "1: data.root: found 3, allowed: text or null."),
    # names
    ("data: {name: minst}", f"1: data.name: found 'minst', {SOURCES} Did you mean 'mnist'?"),
    ("data: {name: 3}", f"1: data.name: found 3, {SOURCES}"),
    ("data: {name: null}", f"1: data.name: found null, {SOURCES}"),
    ("data: {binarize: dynamical}", "1: data.binarize: found 'dynamical', ... Did you mean 'dynamic'?"),
    ("model: {likelihood: Bernouli}", "1: model.likelihood: found 'Bernouli', ... Did you mean 'bernoulli'?"),
    ("model: {prior: standard}", "1: model.prior: found 'standard', ... Did you mean 'standard_normal'?"),
    ("objective: {bound: IWEA}", "1: objective.bound: found 'IWEA', allowed: elbo, iwae. Did you mean 'iwae'?"),
    ("optim: {name: sgd}", "1: optim.name: found 'sgd', allowed: adam, adamw."),
    ("optim: {schedule: null}", "1: optim.schedule: found null, allowed: constant, cosine, step, burda."),
    ("model: {encoder: {activation: [tanh]}}", "1: model.encoder.activation: found a list of 1, allowed: tanh, ..."),
    ("model: {likelihood: gaussian, sigma: pixel}", "1: model.sigma: found 'pixel', ... Did you mean 'per_pixel'?"),
    ("model: {likelihood: gaussian, sigma: -1}", "1: model.sigma: found -1, ... per_pixel, a number > 0 or null."),
    # keys
    ("trian: {}", "1: trian: no such key. A config takes: seed, threads, data, ... Did you mean 'train'?"),
    ("model: {latent_dims: 3}", "1: model.latent_dims: no such key. model takes: ... Did you mean 'latent_dim'?"),
    ("latent_dim: 3", "1: latent_dim: no such key. ... Did you mean data.latent_dim or model.latent_dim?"),
    ("model: {lr: 3}", "1: model.lr: no such key. ... Did you mean optim.lr?"),
    ("model.latent_dim: 3", "1: model.latent_dim: no such key. ... Write model: {latent_dim: ...}, or each ..."),
    ("model: {latent-dim: 3}", "1: model.latent-dim: no such key. ... Did you mean 'latent_dim'?"),
    ("1: 2", "1: 1: no such key. A config takes: ..."),
    ("seed: 1\nseed: 2", "2: seed: the key is given twice, on lines 1 and 2. Keep one."),
    ("train: {epochs: 1, epochs: zero}", "1: train.epochs: the key is given twice, on lines 1 and 1. Keep one."),
    # sections
    ("train: 5", "1: train: found 5, allowed: a section with the keys epochs, batch_size, ..."),
    ("train: null", "1: train: found null, allowed: a section with the keys epochs, batch_size, ..."),
    ("model: {encoder: conv}", "1: model.encoder: found 'conv', allowed: a section ... Write {kind: conv}."),
    ("data: digits", "1: data: found 'digits', allowed: a section ... Write {name: digits}."),
    ("- seed: 1", "1: found a list of 1, allowed: sections and keys, as in `seed: 0`."),
    ("digits", "1: found 'digits', allowed: sections and keys, as in `seed: 0`."),
    # keys that mean nothing beside the others
    (
        "data: {name: digits, root: x}",
        "1: data.root: a key of mnist, fashion_mnist, but data.name is digits (c.yaml:1), which takes: name, binarize, "
        "valid, test. Remove it, or change the name.",
    ),
    ("data:\n  path: x", "2: data.path: a key of arrays, but data.name is mnist (the default), ..."),
    ("data: {name: arrays}", "1: data.path: found nothing, and arrays need a file or ... Type data.path=FILE, ..."),
    ("data: {name: arrays, path: null}", "1: data.path: found nothing, ... Type data.path=FILE, ..."),
    ("data: {name: arrays, path: a, test_path: b, test: 9}", "1: data.test: found 9, allowed only with ..."),
    ("data: {name: digits, valid: 1700}", "1: data: valid and test take 1880 of 1797 digits, and none is left ..."),
    (
        "model: {sigma: shared}",
        "1: model.sigma: found shared, allowed only with likelihood: gaussian, but likelihood is bernoulli. Remove it, "
        "or change likelihood.",
    ),
    ("model: {levels: 256}", "1: model.levels: found 256, allowed only with likelihood: categorical or ..."),
    ("model: {encoder: {channels: [3]}}", "1: model.encoder.channels: found [3], allowed only with kind: ..."),
    (
        "objective: {beta_schedule: sigmoid}",
        "1: objective.beta_schedule: found sigmoid, but beta_warmup_epochs is 0: ... Give beta_warmup_epochs too.",
    ),
    (
        "objective: {beta_warmup_epochs: 3, beta_schedule: cyclical}",
        "1: objective.beta_cycles: found 4, allowed at most beta_warmup_epochs, which is 3: ...",
    ),
    ("objective: {beta_cycles: 2}", "1: objective.beta_cycles: found 2, allowed only with beta_schedule: cyclical..."),
    ("objective: {gradient: dreg}", "1: objective.gradient: found dreg, ... bound is elbo. Write gradient: stl, ..."),
    (
        "objective: {gradient: stl, free_bits: 0.5}",
        "1: objective.free_bits: found 0.5, but gradient is stl, ... write gradient: standard.",
    ),
    ("objective: {bound: iwae, free_bits: 0.5}", "1: objective.free_bits: found 0.5, allowed only with bound: ..."),
    ("optim: {weight_decay: 1e-2}", "1: optim.weight_decay: found 0.01, allowed only with name: adamw, but ..."),
    ("optim: {step_epochs: 3}", "1: optim.step_epochs: found 3, allowed only with schedule: step, but ..."),
    # the text itself
    ("seed: !!python/object/apply:os.system [id]", "1: seed: found the tag !!python/..."),
    ("seed: *x", "1: seed: found the alias *x; aliases are not read. Write the value out."),
    ("{seed: 1", "1: cannot be read as YAML: while parsing a flow mapping, expected ',' or '}', ..."),
    # all at once, in the order of the file
    (
        "optim:\n  lr: -1\nseed: x\nmodel:\n  latent_dim: 0\n  encoder: {norm: batch}\n  levels: 3\ndat: 1\nseed: 2",
        "2: optim.lr: found -1, allowed: a number > 0.",
        f"5: model.latent_dim: found 0, {LATENTS}",
        "6: model.encoder.norm: found 'batch', allowed: none, layer, group, weight.",
        "7: model.levels: found 3, allowed only with likelihood: ...",
        "8: dat: no such key. ... Did you mean 'data'?",
        "9: seed: the key is given twice, on lines 3 and 9. Keep one.",
    ),
]  # fmt: skip


def mistakes(text: str, overrides: Sequence[str] = ()) -> list[str]:
    """The lines that a text is answered with; none where it is right."""
    try:
        loads(text, "c.yaml", overrides)
    except ConfigError as error:
        return str(error).splitlines()
    return []


def is_like(line: str, pattern: str) -> bool:
    """Whether the parts of a pattern between `...` come in a line, in order, from its start to its end."""
    first, *rest = pattern.split("...")
    start = len(first)
    ok = line.startswith(first)
    for part in rest:
        start = line.find(part.strip(), start)
        ok = ok and start >= 0
    return ok and (line.endswith(rest[-1].strip()) if rest else line == first)


@pytest.mark.parametrize(("text", "lines"), [(text, lines) for text, *lines in BAD], ids=[each[0] for each in BAD])
def test_each_mistake_is_one_line_with_its_place_and_cure(text: str, lines: list[str]) -> None:
    told = mistakes(text)
    assert len(told) == len(lines), told
    for line, pattern in zip(told, lines, strict=True):
        assert is_like(line, f"c.yaml:{pattern}"), line


def test_no_message_speaks_of_pydantic() -> None:
    for text, *_ in BAD:
        with pytest.raises(ConfigError) as caught:
            loads(text)
        told = str(caught.value)
        assert all(
            word not in told for word in ("Input", "pydantic", "validation", "constrained", "literal[", "NoneType")
        )
        assert all(len(line) < 330 and line.isprintable() for line in told.splitlines())


BAD_OVERRIDES = [
    ("model.latent_dim", "model.latent_dim: no '=' in it. An override is KEY=VALUE, as in model.latent_dim=20."),
    ("50]", "50]: no '=' in it. An override is KEY=VALUE, ..."),
    ("=3", "=3: no key, or an empty part in it. ..."),
    ("model..x=3", "model..x=3: no key, or an empty part in it. ..."),
    ("model.\udcff=3", "model.\\udcff=3: no such key: there is half a character in it."),
    ("seed=", "seed=: no value. For nothing at all type seed=null."),
    ("model=3", "model=3: model is a section. Set its keys one by one, as in model.latent_dim=..."),
    ("data=digits", "data=digits: data is a section. Set its keys one by one, as in data.name=..."),
    ("seed.x=1", "seed.x=1: seed is a value with no keys in it. Set it whole: seed=..."),
    ("model.encoder.hidden.0=3", "...: model.encoder.hidden is a value with no keys in it. Set it whole: ..."),
    ("modle.latent_dim=3", "modle.latent_dim=3: modle: no such key. ... Did you mean 'model'?"),
    ("model.latent_dmi=3", "model.latent_dmi=3: model.latent_dmi: no such key. ... Did you mean 'latent_dim'?"),
    ("lr=3", "lr=3: lr: no such key. ... Did you mean optim.lr?"),
    ("optim.lr=abc", "optim.lr=abc: optim.lr: found 'abc', allowed: a number > 0."),
    ("optim.lr=!!float 1", "optim.lr=!!float 1: optim.lr: found '!!float 1', allowed: a number > 0."),
    ('seed="3"', "seed=\"3\": seed: found \"3\", ... Remove the quotes."),
    ("model.encoder.hidden=100,50", "...: model.encoder.hidden: found '100,50', allowed: a list, ..."),
    ("model.encoder.hidden=[100,", "...: cannot be read as YAML: ... put quotes around the whole KEY=VALUE."),
    ("model.encoder.hidden=[1, -2]", "...: model.encoder.hidden[1]: found -2, allowed: a list, each a whole ..."),
    ("model.encoder.hidden=[&a 1]", "...: found the anchor &a; ..."),
    ("model.encoder.hidden={a: 1}", "...: model.encoder.hidden: found a section with the keys a, allowed: a list, ..."),
    ("model.likelihood=gaussian", "c.yaml:3: model.levels: found 9, allowed only with likelihood: ..."),
]  # fmt: skip


@pytest.mark.parametrize(("override", "line"), BAD_OVERRIDES)
def test_a_bad_override_is_one_line_that_quotes_it(override: str, line: str) -> None:
    told = mistakes("model:\n  likelihood: categorical\n  levels: 9\n", [override])
    assert len(told) == 1
    assert is_like(told[0], line), told


def test_an_override_given_twice_is_a_mistake_and_all_are_told_after_the_files() -> None:
    assert mistakes("threads: 0", ["seed=1", "optim.lr=0", "seed=2"]) == [
        "c.yaml:1: threads: found 0, allowed: a whole number from 1 to 1024.",
        "seed=2: the key is given twice; the first is seed=1. Keep one.",
        "optim.lr=0: optim.lr: found 0, allowed: a number > 0.",
    ]


def test_an_override_of_the_source_drops_nothing_silently() -> None:
    told = mistakes("data:\n  name: mnist\n  root: /x\n  valid: 100\n", ["data.name=digits"])
    line = "c.yaml:3: data.root: a key of mnist, fashion_mnist, but data.name is digits (data.name=digits), ..."
    assert len(told) == 1
    assert is_like(told[0], line)
    assert loads("data: {valid: 100}", overrides=["data.name=digits"]).data.valid == 100


def test_many_mistakes_are_told_up_to_forty() -> None:
    with pytest.raises(ConfigError) as caught:
        loads("".join(f"k{i}: 1\n" for i in range(100)))
    told = str(caught.value).splitlines()
    assert (len(told), told[-1]) == (41, "and 60 more.")
    assert len(caught.value.complaints) == 100


@settings(max_examples=100)
@given(st.sampled_from(sorted(list_presets())), st.data())
def test_a_broken_preset_is_a_config_or_a_sentence(name: str, data: st.DataObject) -> None:
    lines = [line.partition("  #")[0] for line in preset_text(name).splitlines() if not line.strip().startswith("#")]
    at = data.draw(st.integers(0, len(lines) - 1))
    lines[at] = data.draw(
        st.sampled_from([lines[at][1:], lines[at] + "x", lines[at] * 2, "  " + lines[at], "", "- " + lines[at]])
    )
    assert all(line.startswith("c.yaml:") for line in mistakes("\n".join(lines)))
