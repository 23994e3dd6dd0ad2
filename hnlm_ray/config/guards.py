"""Guards: which unseen items users would probably like, so that they are poor negatives, and how variants use one."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from hnlm_ray.config.blends import VariantFits
from hnlm_ray.config.graphs import NeighbourSource
from hnlm_ray.config.section import Positive, Section

__all__ = ["GuardConfig", "GuardOptions", "GuardSource"]


class GuardSource(VariantFits):
    """One teacher of a guard: exactly one of ``variant``, ``neighbours`` and ``answers``."""

    variant: str | None = None
    """A variant of ``train.variants`` that itself has no guard; trained or in closed form."""
    neighbours: NeighbourSource | None = None
    """Items near those that the user has, by these neighbours; similarities are raised to ``power``."""
    power: float = Field(default=4.0, gt=0.0)
    """See ``neighbours``; a high power lets the nearest items decide."""
    answers: bool = False
    """The items that the language model wrote as negatives of the user: they are less likely to be liked."""

    @model_validator(mode="after")
    def _is_one_thing(self) -> GuardSource:
        given = [name for name in ("variant", "neighbours", "answers") if getattr(self, name)]
        if len(given) != 1:
            found = " and ".join(given) or "none of them"
            raise ValueError(f"a source of a guard is one of variant, neighbours and answers, it has {found}")
        return self


class GuardConfig(Section):
    """A blend of teachers that ranks each user's unseen items; made from the train split alone."""

    sources: tuple[GuardSource, ...] = Field(min_length=1)
    """The teachers."""
    combine: Literal["zscores", "ranks"] = "zscores"
    """How scores of teachers are brought to one scale, for each user over all items. ``zscores``: mean 0 and standard
    deviation 1. ``ranks``: the logarithm of the rank, of which the first ones differ most."""
    items: Positive = 200
    """Items that are written per user, the likeliest first."""
    decay: float = Field(default=30.0, gt=0.0)
    """The item of rank r may serve as a negative with weight ``1 - exp(-r / decay)``."""
    user_block: Positive = 1024
    """Users of one piece of work. Fewer are scored at a time where the catalogue is large, so memory stays bounded."""


class GuardOptions(Section):
    """How a variant uses a guard."""

    table: str
    """The guard, a key of ``guards``."""
    weights: bool = True
    """Multiply the loss of a guarded negative by its weight, or add the logarithm to its logit in softmax losses."""
    exclude: int = Field(default=0, ge=0)
    """The first so many guarded items of a user are no negatives at all; samplers choose among the others."""

    @model_validator(mode="after")
    def _does_something(self) -> GuardOptions:
        if not self.weights and not self.exclude:
            raise ValueError("weights: false and exclude: 0 have no effect: set one of them, or leave the guard out")
        return self
