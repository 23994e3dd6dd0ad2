"""Fits that are blended, by a guard or in an ensemble: whose they are, and how much each counts."""

from __future__ import annotations

from pydantic import Field

from hnlm_ray.config.section import Section

__all__ = ["EnsembleMember", "VariantFits"]


class VariantFits(Section):
    """Fits of one variant in a blend."""

    variant: str | None = None
    """A variant of ``train.variants``."""
    seeds: tuple[int, ...] = Field(default=(0,), min_length=1)
    """The fits of the variant, each a part of the blend; seeds that ``train.seeds`` lacks are fitted for it alone."""
    weight: float = 1.0
    """Factor of its scores in the blend, after they are brought to one scale."""


class EnsembleMember(VariantFits):
    """Fits whose vectors an ensemble joins."""

    variant: str
    """A variant of ``train.variants`` that is trained; it may have a guard."""
