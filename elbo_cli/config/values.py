"""Kinds of values, and what every section of a config shares."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, Strict, ValidationInfo, field_validator

from elbo_cli.config.schema import only
from elbo_cli.config.text import written

MOST = 2**63 - 1  # 64 bits, of which a tensor's sizes and torch's seeds are made
Whole = Annotated[int, Field(ge=0, le=MOST)]
Count = Annotated[int, Field(ge=1, le=MOST)]
Positive = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(gt=0, lt=1)]
Text = Annotated[str, Field(min_length=1)]
Texts = Annotated[tuple[Text, ...], Strict(False), Field(min_length=1)]
Latents = Annotated[int, Field(ge=1, le=4096)]
Layers = Annotated[tuple[Latents, ...], Strict(False), Field(min_length=1)]
Sizes = Annotated[tuple[Count, ...], Strict(False)]  # a YAML list; its items stay strict
Rate = Annotated[float, Field(ge=0, lt=1)]
Logs = Annotated[tuple[Literal["csv", "tensorboard"], ...], Strict(False)]
Pair = Annotated[tuple[Rate, Rate], Strict(False)]


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
