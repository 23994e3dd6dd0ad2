"""Sections that are chosen by their name: backbones, samplers and losses."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, get_args

from pydantic import BeforeValidator, Field

from hnlm_ray.config.section import Section

__all__ = ["ByName", "Named", "Temperature", "Weight", "kinds"]

Weight = Annotated[float, Field(ge=0.0)]
Temperature = Annotated[float, Field(gt=0.0)]


def _by_name(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


ByName = BeforeValidator(_by_name)
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
