"""The one seam: names in a config become objects, all of them before any file is made."""

import math
from collections.abc import Callable, Iterator, Mapping
from shlex import quote
from typing import Any

import torch
from torch import Tensor, nn

from elbo_cli import config as configs
from elbo_cli.build_model import open_model
from elbo_cli.checkpoint import Checkpoint, unpack
from elbo_cli.data.sources import SOURCES
from elbo_cli.data.split import Dataset, Split
from elbo_cli.errors import UserError, choose
from elbo_cli.gap.probe import Probe
from elbo_cli.models.likelihoods import Likelihood
from elbo_cli.models.vae import VAE
from elbo_cli.runtime import noise, settle
from elbo_cli.training.adam import Adam, AdamW
from elbo_cli.training.experiment import Experiment, Objective, Optimizer, Plan, Probed, Progress, Step
from elbo_cli.training.fused.networks import fits
from elbo_cli.training.fused.step import FusedStep
from elbo_cli.training.sides import UPDATES, refuse_shared
from elbo_cli.training.step import PlainStep
from elbo_cli.training.warmup import warm_up

CPU = torch.device("cpu")
CHECKED = 4096  # data that a likelihood looks at together


def experiment(config: configs.Config, device: torch.device = CPU) -> Experiment:
    """A config as an experiment: data loaded and checked, model made, nothing written.

    Raises:
        UserError: the data, or their fit with the model.
    """
    settle(config.threads)
    data = open_data(config.data, config.seed)
    model = open_model(config, data.shape, data.train).to(device)
    for split in (data.train, data.valid, data.test):
        refuse_unsupported(model.visible, split)
    if config.train.update == "encoder":
        refuse_shared(model)
    data = data.to(device)
    plan, objective = _plan(config), _objective(config.objective)
    optimizer = _optimizer(config.optim, model)
    probe = Probe(model, data.valid, config.train.gap_examples, config.train.gap_samples, config.seed, device)
    return Experiment(
        model=model,
        data=data,
        optimizer=optimizer,
        step=_step_of(
            model, optimizer, objective, plan, config.train.step if config.train.update == "both" else "plain"
        ),
        objective=objective,
        plan=plan,
        seed=config.seed,
        device=device,
        probe=probe if plan.gap_every else None,
        turns=choose(UPDATES, config.train.update, "update")(config.train.encoder_steps),
    )


def open_data(section: Any, seed: int) -> Dataset:
    """The data set of a config's data section.

    Raises:
        UserError: it cannot be loaded, or is not what it should be.
    """
    options = section.model_dump(exclude={"name"})
    return choose(SOURCES, section.name, "data set")(**options, seed=seed)


def refuse_unsupported(likelihood: Likelihood, split: Split) -> None:
    """Insist that a likelihood is one of these data.

    Raises:
        UserError: some x lies outside its support; the sentence names the row, the value and the cure.
    """
    for block, x in enumerate(_seeded(split)):
        bad = ~likelihood.supports(x)
        if bad.any():
            where = bad.nonzero()[0].tolist()
            found = x[tuple(where)].item()
            raise UserError(
                f"{split.source}: datum {block * CHECKED + where[0]} of the {split.name} split has x = {found:.6g}, "
                f"and this likelihood is one of data that are {likelihood.support}: {likelihood.cure}."
            )


def _seeded(split: Split) -> Iterator[Tensor]:
    """The data in blocks; what is drawn afresh at every visit is drawn here with noise of its own."""
    for number, index in enumerate(torch.split(torch.arange(len(split)), CHECKED)):
        with noise(0, "support", number, device=split.device):
            x = split.batch(index)
        yield x


def _optimizer(section: configs.Optim, model: nn.Module) -> Optimizer:
    parameters = [p for p in model.parameters() if p.requires_grad]
    table: dict[str, Callable[..., Optimizer]] = {"adam": Adam, "adamw": AdamW}
    if parameters[0].device.type not in ("cpu", "cuda"):  # where torch has no fused kernel
        table = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
    more = {"weight_decay": section.weight_decay} if section.name == "adamw" else {}
    make = choose(table, section.name, "optimiser")
    return make(parameters, lr=section.lr, betas=section.betas, eps=section.eps, **more)


def _step_of(model: VAE, optimizer: Optimizer, objective: Objective, plan: Plan, how: str = "auto") -> Step:
    """The fused step where it applies, else the plain one."""
    if how == "auto" and isinstance(optimizer, Adam) and fits(model, optimizer.parameters, objective):
        return FusedStep(model, optimizer, objective, plan.clip_norm)
    return PlainStep(model, optimizer, objective, plan.clip_norm)


def _objective(section: configs.Objective) -> Objective:
    beta = warm_up(section.beta, section.beta_warmup_epochs, section.beta_schedule, section.beta_cycles)
    return Objective(section.bound, section.gradient, section.samples, beta, section.free_bits)


def _plan(config: configs.Config) -> Plan:
    train, optim = config.train, config.optim
    factor = choose(SCHEDULES, optim.schedule, "schedule")(config)
    return Plan(
        epochs=train.epochs,
        batch_size=train.batch_size,
        lr=lambda epoch: optim.lr * factor(epoch),
        clip_norm=optim.clip_norm,
        patience=train.patience,
        gap_every=train.gap_every,
        shuffle_window=train.shuffle_window,
        health=train.health,
    )


Factor = Callable[[int], float]  # epoch (1, 2, ...) -> what the learning rate is multiplied by


def _constant(config: configs.Config) -> Factor:
    return lambda epoch: 1.0


def _cosine(config: configs.Config) -> Factor:
    """From 1 down to 0 along half a cosine."""
    return lambda epoch: 0.5 * (1 + math.cos(math.pi * (epoch - 1) / config.train.epochs))


def _step(config: configs.Config) -> Factor:
    optim = config.optim
    return lambda epoch: optim.step_factor ** ((epoch - 1) // optim.step_epochs)


def _burda(config: configs.Config) -> Factor:
    """10^(-i/7) for 3^i epochs, i = 0..7: 3280 in all, or the same shares of another number.

    Burda et al. (2016), section 5.
    """
    ends = [config.train.epochs * (3 ** (i + 1) - 1) / 2 / 3280 for i in range(8)]
    return lambda epoch: 10 ** (-sum(epoch > end + 1e-9 for end in ends) / 7)


SCHEDULES: dict[str, Callable[[configs.Config], Factor]] = {
    "constant": _constant,
    "cosine": _cosine,
    "step": _step,
    "burda": _burda,
}


def restore(experiment: Experiment, checkpoint: Checkpoint) -> Progress:
    """Put a checkpoint's weights and moments into an experiment; returns how far it had come.

    Raises:
        UserError: it does not belong to this experiment.
    """
    load_weights(experiment.model, checkpoint)
    header = checkpoint.header
    digest = experiment.data.train.digest()
    if header.data != digest:
        raise UserError(
            f"{checkpoint.path} was trained on other data (digest {header.data}) than {experiment.data.train.source} "
            f"(digest {digest}); a run resumes on its own data."
        )
    unpack(experiment.optimizer, checkpoint.moments())
    return Progress(header.last, header.best, Probed(*header.probed) if header.probed else None)


def begin_with(experiment: Experiment, config: configs.Config, checkpoint: Checkpoint) -> None:
    """Put a checkpoint's weights, and nothing else of it, into an experiment that has not begun.

    Raises:
        UserError: the model is another; the sentence says which keys of the config make it so.
    """
    theirs, ours = checkpoint.weights(), experiment.model.state_dict()
    odd = [name for name in ours | theirs if _shape(ours, name) != _shape(theirs, name)]
    if odd:
        raise UserError(
            f"{checkpoint.path} holds another model: {odd[0]} is {_shape(theirs, odd[0])} there and "
            f"{_shape(ours, odd[0])} here. {_differing(config, checkpoint)}"
        )
    experiment.model.load_state_dict(theirs)


def _differing(config: configs.Config, checkpoint: Checkpoint) -> str:
    """What makes two models differ, as a sentence, and its cure."""
    old, new = configs.flat(configs.loads(checkpoint.header.config, source=str(checkpoint.path))), configs.flat(config)
    keys = [key for key in old | new if key.startswith("model.") and old.get(key) != new.get(key)]
    if not keys:
        return "Its data had another shape: give data of that one."
    told = " ".join(quote(f"{key}={configs.written(old[key])}") for key in keys if key in old)
    odd = ", ".join(key for key in keys if key not in old)
    said = " and ".join(filter(None, [told, odd and f"nothing of {odd}"]))
    return f"There it was {said}: give that, or leave --config out to take the checkpoint's own."


def _shape(weights: Mapping[str, Tensor], name: str) -> str:
    return str(list(weights[name].shape)) if name in weights else "nothing"


def load_weights(model: nn.Module, checkpoint: Checkpoint) -> None:
    """Put a checkpoint's weights into a model of its config.

    Raises:
        UserError: names or shapes disagree.
    """
    try:
        model.load_state_dict(checkpoint.weights())
    except RuntimeError as error:
        found = " ".join(str(error).split())[:300]
        raise UserError(f"{checkpoint.path} does not fit its own config: {found}") from error


def trained(checkpoint: Checkpoint, device: torch.device = CPU) -> tuple[configs.Config, VAE]:
    """The config and the model of a checkpoint."""
    config = configs.loads(checkpoint.header.config, source=str(checkpoint.path))
    settle(config.threads)
    model = open_model(config, checkpoint.header.shape)
    load_weights(model, checkpoint)
    return config, model.to(device).eval()
