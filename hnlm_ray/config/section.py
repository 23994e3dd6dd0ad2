"""The base of every section of the configuration."""

from __future__ import annotations

import typing

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

__all__ = ["EngineKwargs", "Fraction", "Positive", "Section"]

Fraction = typing.Annotated[float, Field(ge=0.0, le=1.0)]
Positive = typing.Annotated[int, Field(ge=1)]


def _without_remote_code(options: dict[str, typing.Any]) -> dict[str, typing.Any]:
    if options.get("trust_remote_code"):
        raise ValueError("trust_remote_code would run code from the model's folder and is refused")
    return options


EngineKwargs = typing.Annotated[dict[str, typing.Any], AfterValidator(_without_remote_code)]
"""Arguments of a vLLM engine."""


class Section(BaseModel):
    """Frozen; refuses unknown keys; a string under a field is its help."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, validate_default=True)
