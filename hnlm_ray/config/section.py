"""The bases of the sections of the configuration, and the kinds of numbers that several sections share."""

from __future__ import annotations

import re
from typing import Annotated, Any, ClassVar, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator

__all__ = [
    "CUSTOM",
    "WHERE_KEYS_BELONG",
    "ByName",
    "Fraction",
    "ModelName",
    "Named",
    "Positive",
    "Section",
    "Temperature",
    "Weight",
    "kinds",
    "without_credentials",
]

_CREDENTIALS = re.compile(r"(?<=://)[^/\s@]*:[^\s@]*@")
WHERE_KEYS_BELONG = (
    "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY for s3://, GOOGLE_APPLICATION_CREDENTIALS for gs://,"
    " MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD for MLflow, or the variable that llm.http.api_key_env names"
)
"""The environment variables that hold what an address must not."""

CUSTOM = "custom"
"""The name of the sections in :mod:`hnlm_ray.config.plugins`."""

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
ModelName = Annotated[str, BeforeValidator(lambda value: "" if value is None else value)]
"""The name or the folder of a model; null and "" stand for none."""
Positive = Annotated[int, Field(ge=1)]
Temperature = Annotated[float, Field(gt=0.0)]
Weight = Annotated[float, Field(ge=0.0)]


class Section(BaseModel):
    """A section that cannot be changed once it is read, and that refuses unknown keys.

    The string under a field documents it; pydantic keeps it as the field's description.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, validate_default=True)

    @field_validator("*")
    @classmethod
    def _holds_no_credentials(cls, value: Any) -> Any:
        """A configuration is written into run folders and reports."""
        if isinstance(value, str) and without_credentials(value) != value:
            raise ValueError(f"an address holds no key or password: set {WHERE_KEYS_BELONG}")
        return value


def without_credentials(text: str) -> str:
    """A text in which no address says ``key:secret@`` any more."""
    return _CREDENTIALS.sub("", text)


ByName = BeforeValidator(lambda value: {"name": value} if isinstance(value, str) else value)
"""Accepts the name alone for the section with its defaults."""


class Named(Section):
    """A section that is chosen by its name."""

    implementation: ClassVar[str]
    """``module:object`` of what these options are for; imported when it is built."""

    def __str__(self) -> str:
        """The name, and the options that differ from their defaults."""
        options = self.model_dump(exclude_defaults=True, exclude={"name"})
        shown = ", ".join(f"{key}={value}" for key, value in options.items())
        name: str = type(self).model_fields["name"].default
        return f"{name}({shown})" if shown else name


def kinds(union: Any) -> dict[str, type[Any]]:
    """The sections of a union such as ``Backbone`` by name, but for the one that stands for classes of one's own."""
    named = {kind.model_fields["name"].default: kind for kind in get_args(get_args(union)[0])}
    return {name: kind for name, kind in named.items() if name != CUSTOM}
