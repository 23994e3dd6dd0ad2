"""Sections that are chosen by their name: backbones, samplers and losses."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from hnlm_ray.config.section import Section

__all__ = ["ByName", "Named", "Temperature", "Weight"]

Weight = Annotated[float, Field(ge=0.0)]
Temperature = Annotated[float, Field(gt=0.0)]


def _by_name(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


ByName = BeforeValidator(_by_name)
"""The name alone stands for a section with the defaults."""


class Named(Section):
    """A section that is chosen by its name."""

    def __str__(self) -> str:
        """The name, and the options that differ from their defaults."""
        options = self.model_dump(exclude_defaults=True, exclude={"name"})
        shown = ", ".join(f"{key}={value}" for key, value in options.items())
        name: str = type(self).model_fields["name"].default
        return f"{name}({shown})" if shown else name
