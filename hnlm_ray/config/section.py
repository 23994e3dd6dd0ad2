"""The bases of the sections of the configuration, and the kinds of numbers that several sections share."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

__all__ = ["ByName", "Fraction", "ModelName", "Named", "Positive", "Section", "Temperature", "Weight", "kinds"]

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
    """The sections of a union such as ``Backbone``, by name."""
    return {kind.model_fields["name"].default: kind for kind in get_args(get_args(union)[0])}
