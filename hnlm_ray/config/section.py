"""The base of every section of the configuration."""

from __future__ import annotations

import typing

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["Fraction", "Positive", "Section"]

Fraction = typing.Annotated[float, Field(ge=0.0, le=1.0)]
Positive = typing.Annotated[int, Field(ge=1)]


class Section(BaseModel):
    """Frozen; refuses unknown keys; a string under a field is its help."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, validate_default=True)
