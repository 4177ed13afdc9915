"""The sections and keys of a config: a default, a type, a range and a description for every key.

The lists of names are types (`Likelihood`, `Bound`, ...), one for each family of objects that `build` knows.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, Strict, ValidationInfo, field_validator, model_validator

from elbo_cli.config.schema import Only, only
from elbo_cli.config.text import written

Binarize = Literal["none", "threshold", "fixed", "dynamic"]
Prior = Literal["standard_normal", "mixture", "vamp", "flow"]
Posterior = Literal["diagonal_normal", "lowrank_normal", "full_normal", "flow"]
Flow = Literal["realnvp", "nsf", "maf"]
Likelihood = Literal["bernoulli", "continuous_bernoulli", "gaussian", "poisson", "categorical", "discretized_logistic"]
Init = Literal["glorot", "torch"]
NetworkKind = Literal["mlp", "conv", "res_mlp", "res_conv"]
Activation = Literal["tanh", "relu", "elu", "gelu", "silu", "softplus", "leaky_relu"]
Norm = Literal["none", "layer", "group", "weight"]
Bound = Literal["elbo", "iwae"]
Gradient = Literal["standard", "stl", "dreg"]
WarmUp = Literal["linear", "sigmoid", "cyclical"]
Update = Literal["both", "encoder", "decoder", "alternate"]
Optimiser = Literal["adam", "adamw"]
Step = Literal["auto", "plain"]
Schedule = Literal["constant", "cosine", "step", "burda"]

MOST = 2**63 - 1  # 64 bits, of which a tensor's sizes and torch's seeds are made
Whole = Annotated[int, Field(ge=0, le=MOST)]
Count = Annotated[int, Field(ge=1, le=MOST)]
Positive = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(gt=0, lt=1)]
Text = Annotated[str, Field(min_length=1)]
Latents = Annotated[int, Field(ge=1, le=4096)]
Layers = Annotated[tuple[Latents, ...], Strict(False), Field(min_length=1)]
Sizes = Annotated[tuple[Count, ...], Strict(False)]  # a YAML list; its items stay strict
Rate = Annotated[float, Field(ge=0, lt=1)]
Logs = Annotated[tuple[Literal["csv", "tensorboard"], ...], Strict(False)]
Pair = Annotated[tuple[Rate, Rate], Strict(False)]

BINARIZE = "pixels to 0 and 1: not at all, at 1/2, drawn once, or drawn at every visit"


class Section(BaseModel, frozen=True, extra="forbid", strict=True, allow_inf_nan=False):
    """What all sections share: frozen, no unknown keys, no coercion, and numbers are finite."""

    @field_validator("*")
    @classmethod
    def _only_where_it_means_something(cls, value: Any, info: ValidationInfo) -> Any:
        """Runs for given keys alone, so that a default beside another choice is no mistake."""
        rule = only(cls.model_fields[str(info.field_name)])
        if rule and value != rule.neutral and not rule.holds(info.data):
            others = " and ".join(f"{key} is {written(info.data[key])}" for key in rule.keys)
            raise ValueError(
                f"found {written(value)}, allowed {rule}, but {others}. Remove it, or change {rule.either}."
            )
        return value


class Digits(Section):
    """1,797 digits of 8x8 pixels (UCI), shipped in the package."""

    name: Literal["digits"] = Field("digits", description="8x8 digits, 1,797 of them, shipped with elbo")
    binarize: Binarize = Field("dynamic", description=BINARIZE)
    valid: Count = Field(180, description="examples for validation")
    test: Count = Field(180, description="examples for the test")

    @model_validator(mode="after")
    def _some_are_left(self) -> "Digits":
        if self.valid + self.test >= 1797:
            raise ValueError(
                f"valid and test take {self.valid + self.test} of 1797 digits, and none is left to train on."
            )
        return self


class IdxImages(Section):
    """28x28 images in four IDX files: 60,000 to train on, 10,000 to test."""

    name: Literal["mnist", "fashion_mnist"] = Field("mnist", description="28x28 pictures of digits, or of clothes")
    root: Text | None = Field(
        None, description="folder that holds MNIST/raw or FashionMNIST/raw; null: the cache folder"
    )
    download: bool = Field(False, description="fetch the files once, with a checksum, where they are missing")
    binarize: Binarize = Field("dynamic", description=BINARIZE)
    valid: int = Field(5000, ge=1, le=59999, description="examples for validation, the last of the 60,000")


class LinearGaussian(Section):
    """Synthetic data from x = W z + b + sigma noise, whose log p(x) is known exactly."""

    name: Literal["linear_gaussian"] = Field("linear_gaussian", description="synthetic, with log p(x) known exactly")
    dim: Count = Field(10, description="size of x")
    latent_dim: Count = Field(3, description="size of the z that made x")
    sigma: Positive = Field(0.5, description="standard deviation of the noise in x")
    train: Count = Field(5000, description="examples to train on")
    valid: Count = Field(1000, description="examples for validation")
    test: Count = Field(1000, description="examples for the test")


class Arrays(Section):
    """The user's own data."""

    name: Literal["arrays"] = Field("arrays", description="your own data, from a file or a folder of images")
    path: Text | None = Field(
        None, validate_default=True, description="the data: .npz, .npy, .csv, .parquet, or a folder of images"
    )
    key: Text | None = Field(None, description="the array's name in an .npz; null: the only one in it")
    valid_path: Text | None = Field(None, description="validation data of their own; null: split off from path")
    test_path: Text | None = Field(None, description="test data of their own; null: split off from path")
    valid: Annotated[Share | Count, Only("valid_path", (None,))] = Field(
        0.1, description="examples split off for validation: a share or a number"
    )
    test: Annotated[Share | Count, Only("test_path", (None,))] = Field(
        0.1, description="examples split off for the test: a share or a number"
    )
    scale: Literal["auto"] | Positive = Field("auto", description="what values are divided by; auto: 255 for bytes")
    binarize: Binarize = Field("none", description=BINARIZE)

    @field_validator("path")
    @classmethod
    def _path_is_given(cls, value: str | None) -> str | None:
        if value is None:
            raise ValueError(
                "found nothing, and arrays need a file or a folder. Type data.path=FILE, or write it here."
            )
        return value


Data = Annotated[Digits | IdxImages | LinearGaussian | Arrays, Field(discriminator="name")]


class Network(Section):
    """An encoder's or a decoder's body, between x and z."""

    kind: NetworkKind = Field("mlp", description="fully connected, or convolutional for images; res_: residual")
    hidden: Sizes = Field((200, 200), description="sizes of the fully connected layers; [] with mlp is a linear map")
    channels: Annotated[Sizes, Only("kind", ("conv", "res_conv"))] = Field(
        (32, 64), description="channels of the convolutions"
    )
    activation: Activation = Field("tanh", description="between the layers")
    norm: Norm = Field("none", description="normalisation before each activation")


class Model(Section):
    """The three distributions p(z), q(z|x), p(x|z) and the networks that make them."""

    latent_dim: Latents | Layers = Field(50, description="size of z; of several stochastic layers a list, z1 first")
    between: Network | None = Field(None, description="networks of q(z2|z1) and p(z1|z2); null: there is one layer")
    prior: Prior = Field("standard_normal", description="p(z); of several layers the last one's")
    components: Annotated[Count, Only("prior", ("mixture", "vamp"))] = Field(
        50, description="normals of the mixture, or pseudo-inputs of the VampPrior"
    )
    posterior: Posterior = Field("diagonal_normal", description="q(z|x)")
    rank: Annotated[Count, Only("posterior", ("lowrank_normal",))] = Field(
        5, description="columns of W in the covariance W W' + diag s^2"
    )
    flow: Annotated[Flow, Only(("posterior", "prior"), ("flow",))] = Field(
        "realnvp", description="affine coupling, spline coupling, or affine autoregressive"
    )
    flow_transforms: Annotated[Count, Only(("posterior", "prior"), ("flow",))] = Field(
        4, description="transforms of a flow, one after another"
    )
    flow_hidden: Annotated[Sizes, Only(("posterior", "prior"), ("flow",))] = Field(
        (64, 64), description="sizes of the hidden layers of each transform's network"
    )
    likelihood: Likelihood = Field("bernoulli", description="p(x|z), for each pixel")
    sigma: Annotated[
        Literal["shared", "per_pixel"] | Positive | None, Only("likelihood", ("gaussian",), neutral=None)
    ] = Field(None, description="p(x|z)'s standard deviation: learnt or fixed; null is shared")
    levels: Annotated[int, Only("likelihood", ("categorical", "discretized_logistic"))] = Field(
        256, ge=2, le=256, description="values that a pixel can have"
    )
    bias_from_data: bool = Field(True, description="the decoder's last bias starts at the training data's mean")
    init: Init = Field("glorot", description="how weights start: Glorot and Bengio (2010), or as torch's layers do")
    encoder: Network = Field(Network(), description="x to the parameters of q(z|x)")
    decoder: Network = Field(Network(), description="z to the parameters of p(x|z)")

    @property
    def layers(self) -> tuple[int, ...]:
        """Latents of each stochastic layer, z1 first."""
        return (self.latent_dim,) if isinstance(self.latent_dim, int) else self.latent_dim

    @model_validator(mode="after")
    def _layers_are_joined(self) -> "Model":
        several, sizes = len(self.layers) > 1, written(self.latent_dim)
        if several and self.between is None:
            raise ValueError(
                f"latent_dim {sizes} means {len(self.layers)} stochastic layers, and nothing says what lies between "
                "them. Write between: {hidden: [100, 100]}, or give latent_dim one size."
            )
        if self.between is not None and not several:
            raise ValueError(
                f"between joins stochastic layers, and latent_dim {sizes} means one. Remove between, or give "
                "latent_dim a list, as [100, 50]."
            )
        if several and self.prior == "vamp":
            raise ValueError(
                f"prior vamp needs q(z{len(self.layers)}|x) as a density, which latent_dim {sizes} leaves as an "
                "integral over the layers below. Choose prior mixture or flow, or give latent_dim one size."
            )
        if self.between is not None and self.between.kind in ("conv", "res_conv"):
            raise ValueError(f"between.kind {self.between.kind} needs pictures, and latents are none. Write mlp.")
        return self


class Objective(Section):
    """What training maximises; evaluation is always at beta 1 with no free bits."""

    bound: Bound = Field("elbo", description="the lower bound on log p(x) that training raises")
    gradient: Gradient = Field(
        "standard", description="of the bound: as it is, sticking the landing, or doubly reparameterised (iwae alone)"
    )
    samples: Count = Field(1, description="draws z ~ q(z|x) for each datum")
    beta: float = Field(1.0, ge=0, description="weight of the KL; other than 1 the objective is no bound")
    beta_warmup_epochs: Whole = Field(0, description="epochs in which beta rises from 0; 0: none")
    beta_schedule: WarmUp = Field("linear", description="how it rises; cyclical: half of each cycle, and falls back")
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
