"""The section `data`: each source has keys of its own."""

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from elbo_cli.config.schema import Only
from elbo_cli.config.values import Count, Positive, Section, Share, Text, Texts, Whole

Binarize = Literal["none", "threshold", "fixed", "dynamic"]
BINARIZE = "pixels to 0 and 1: not at all, at 1/2, drawn once, or at every visit (valid, test: once)"


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
    path: Text | Texts | None = Field(
        None,
        validate_default=True,
        description="the data: a file, a folder of images, or many .npy files (a folder, a pattern, a list)",
    )
    key: Text | None = Field(None, description="the array's name in an .npz; null: the only one in it")
    valid_path: Text | Texts | None = Field(None, description="validation data of their own; null: split off from path")
    test_path: Text | Texts | None = Field(None, description="test data of their own; null: split off from path")
    valid: Annotated[Share | Count, Only("valid_path", (None,))] = Field(
        0.1, description="examples split off for validation: a share or a number"
    )
    test: Annotated[Share | Count, Only("test_path", (None,))] = Field(
        0.1, description="examples split off for the test: a share or a number"
    )
    scale: Literal["auto"] | Positive = Field("auto", description="what values are divided by; auto: 255 for bytes")
    binarize: Binarize = Field("none", description=BINARIZE)
    memory_limit: Whole = Field(
        2 * 2**30, description="bytes: a larger .npy is read row by row as needed, another file refused"
    )

    @field_validator("path")
    @classmethod
    def _path_is_given(cls, value: str | tuple[str, ...] | None) -> str | tuple[str, ...] | None:
        if value is None:
            raise ValueError(
                "found nothing, and arrays need a file or a folder. Type data.path=FILE, or write it here."
            )
        return value


Data = Annotated[Digits | IdxImages | LinearGaussian | Arrays, Field(discriminator="name")]
