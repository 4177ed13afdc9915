"""The sections and keys of a config: a default, a type, a range and a description for every key.

The lists of names are types (`Bound`, `Gradient`, ...), one for each family of objects that `build` knows; those of
`data` and `model` are in files of their own.
"""

from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from elbo_cli.config.data_sections import Data, IdxImages
from elbo_cli.config.model_sections import Model
from elbo_cli.config.schema import Only
from elbo_cli.config.text import written
from elbo_cli.config.values import MOST, Count, Logs, Pair, Positive, Section, Whole

Bound = Literal["elbo", "iwae"]
Gradient = Literal["standard", "stl", "dreg"]
WarmUp = Literal["linear", "sigmoid", "cyclical"]
Update = Literal["both", "encoder", "decoder", "alternate"]
Optimiser = Literal["adam", "adamw"]
Step = Literal["auto", "plain"]
Schedule = Literal["constant", "cosine", "step", "burda"]


class Objective(Section):
    """What training maximises; evaluation is always at beta 1 with no free bits."""

    bound: Bound = Field("elbo", description="the lower bound on log p(x) that training raises")
    gradient: Gradient = Field(
        "standard", description="of the bound: as it is, sticking the landing, or doubly reparameterised (iwae alone)"
    )
    samples: Count = Field(1, description="draws z ~ q(z|x) for each datum")
    beta: float = Field(1.0, ge=0, description="weight of the KL; below 1 (iwae: not at 1) the objective is no bound")
    beta_warmup_epochs: Whole = Field(0, description="epochs in which beta rises from 0; 0: none")
    beta_schedule: WarmUp = Field("linear", description="how it rises; cyclical: in the first half of each cycle")
    beta_cycles: Annotated[Count, Only("beta_schedule", ("cyclical",), neutral=4)] = Field(
        4, validate_default=True, description="cycles in the warm-up"
    )
    free_bits: Annotated[float, Only("bound", ("elbo",), neutral=0.0)] = Field(
        0.0, ge=0, description="nats of KL that are free, for each latent dimension"
    )

    @field_validator("gradient")
    @classmethod
    def _has_weights_to_square(cls, value: str, info: ValidationInfo) -> str:
        if value == "dreg" and info.data.get("bound") == "elbo":
            raise ValueError(
                "found dreg, which is a gradient of bound: iwae, but bound is elbo. Write gradient: stl, which is the "
                "same for one draw, or bound: iwae."
            )
        return value

    @field_validator("beta_schedule")
    @classmethod
    def _has_epochs_to_rise_in(cls, value: str, info: ValidationInfo) -> str:
        if value != "linear" and not info.data.get("beta_warmup_epochs", 1):
            raise ValueError(
                f"found {value}, but beta_warmup_epochs is 0: beta does not rise. Give beta_warmup_epochs too."
            )
        return value

    @field_validator("beta_cycles")
    @classmethod
    def _fit_into_the_warm_up(cls, value: int, info: ValidationInfo) -> int:
        epochs = info.data.get("beta_warmup_epochs", value)
        if info.data.get("beta_schedule") == "cyclical" and value > epochs:
            raise ValueError(
                f"found {value}, allowed at most beta_warmup_epochs, which is {epochs}: a cycle takes an epoch or more."
            )
        return value

    @field_validator("free_bits")
    @classmethod
    def _has_a_closed_kl_to_free(cls, value: float, info: ValidationInfo) -> float:
        gradient = info.data.get("gradient", "standard")
        if value and gradient != "standard":
            raise ValueError(
                f"found {written(value)}, but gradient is {gradient}, which has no closed KL to free. "
                "Remove it, or write gradient: standard."
            )
        return value


class Optim(Section):
    """The optimiser and its learning rate over time."""

    name: Optimiser = Field("adam", description="torch's optimiser")
    lr: Positive = Field(1e-3, description="learning rate, at the start")
    betas: Pair = Field((0.9, 0.999), description="decay of the running mean and of the running square")
    eps: Positive = Field(1e-8, description="added to the root of the running square")
    weight_decay: Annotated[float, Only("name", ("adamw",), neutral=0.0)] = Field(
        0.0, ge=0, description="decoupled decay of the weights"
    )
    schedule: Schedule = Field(
        "constant", description="lr over the epochs; burda: 3^i epochs at lr 10^(-i/7), i = 0..7"
    )
    step_epochs: Annotated[Count, Only("schedule", ("step",))] = Field(
        30, description="epochs from one step to the next"
    )
    step_factor: Annotated[float, Only("schedule", ("step",))] = Field(
        0.1, gt=0, le=1, description="what lr is multiplied by at a step"
    )
    clip_norm: Positive | None = Field(None, description="largest norm of the gradient; null: not clipped")


class Train(Section):
    """How long to train, and what to measure on the way."""

    epochs: Count = Field(100, description="passes over the training data")
    batch_size: Count = Field(100, description="examples in a step")
    shuffle_window: Count | None = Field(
        None, description="examples shuffled together, for data larger than memory; null: all of them"
    )
    step: Step = Field("auto", description="auto: written out by hand where that applies; plain: always by autograd")
    update: Update = Field(
        "both", description="what a step moves: encoder closes the gap and leaves log p(x), decoder raises log p(x)"
    )
    encoder_steps: Annotated[Count, Only("update", ("alternate",))] = Field(
        1, description="steps of the encoder before each of the decoder"
    )
    patience: Count | None = Field(
        None, description="stop after so many epochs without a better validation; null: never"
    )
    gap_every: Whole = Field(1, description="epochs from one measurement of the gap to the next; 0: never")
    gap_samples: int = Field(32, ge=2, le=MOST, description="draws for each datum when the gap is measured")
    gap_examples: Count = Field(96, description="validation examples on which the gap is measured")
    health: bool = Field(
        False, description="measure the gradient's norm, the encoder's signal to noise, and the KL of each latent"
    )
    log_to: Logs = Field(("csv",), description="where epochs are written: metrics.csv always, TensorBoard's events too")

    @field_validator("log_to")
    @classmethod
    def _metrics_are_always_written(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if "csv" not in value or len(set(value)) != len(value):
            raise ValueError(
                f"found {written(value)}, allowed [csv] or [csv, tensorboard]: metrics.csv is what a run is "
                "resumed and reported from."
            )
        return value


class Config(Section):
    """A whole experiment."""

    seed: Whole = Field(0, description="where all randomness starts")
    threads: int = Field(1, ge=1, le=1024, description="CPU threads; the last bits of a result depend on it")
    data: Data = Field(IdxImages(), description="what to learn from; each source has keys of its own")
    model: Model = Field(Model(), description="p(z), q(z|x) and p(x|z)")
    objective: Objective = Field(Objective(), description="what training maximises")
    optim: Optim = Field(Optim(), description="how it does so")
    train: Train = Field(Train(), description="for how long, and what is measured on the way")

    @model_validator(mode="after")
    def _bits_are_free_where_there_are_latents(self) -> "Config":
        model = self.model
        plain = (model.prior, model.posterior, len(model.layers)) == ("standard_normal", "diagonal_normal", 1)
        if self.objective.free_bits and not plain:
            raise ValueError(
                f"objective.free_bits {written(self.objective.free_bits)} needs a KL for each latent, which is there "
                "with prior standard_normal, posterior diagonal_normal and one size in latent_dim alone. Write 0.0."
            )
        return self

    @field_validator("data", mode="before")
    @classmethod
    def _mnist_unless_named(cls, value: Any) -> Any:
        return {"name": "mnist", **value} if isinstance(value, dict) else value
