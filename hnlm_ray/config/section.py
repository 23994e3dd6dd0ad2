"""The base of every section of the configuration, and the kinds of numbers that several sections share."""

from __future__ import annotations

import typing

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["Fraction", "Positive", "Section"]

Fraction = typing.Annotated[float, Field(ge=0.0, le=1.0)]
Positive = typing.Annotated[int, Field(ge=1)]


class Section(BaseModel):
    """A section that cannot be changed once it is read, and that refuses unknown keys.

    The string under a field documents it; pydantic keeps it as the field's description.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, validate_default=True)
