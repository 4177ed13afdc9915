"""The section `model`: p(z), q(z|x), p(x|z), and the networks that make them."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from elbo_cli.config.schema import Only
from elbo_cli.config.text import written
from elbo_cli.config.values import Count, Latents, Layers, Positive, Section, Sizes

Prior = Literal["standard_normal", "mixture", "vamp", "flow"]
Posterior = Literal["diagonal_normal", "lowrank_normal", "full_normal", "flow"]
Flow = Literal["realnvp", "nsf", "maf"]
Likelihood = Literal["bernoulli", "continuous_bernoulli", "gaussian", "poisson", "categorical", "discretized_logistic"]
Init = Literal["glorot", "torch"]
NetworkKind = Literal["mlp", "conv", "res_mlp", "res_conv"]
Activation = Literal["tanh", "relu", "elu", "gelu", "silu", "softplus", "leaky_relu"]
Norm = Literal["none", "layer", "group", "weight"]


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
