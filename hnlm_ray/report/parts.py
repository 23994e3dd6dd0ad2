"""What each part of a variant gave: variants that differ in one part alone, compared over paired users."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from hnlm_ray.config.variants import VariantConfig
from hnlm_ray.evaluation.significance import Interval, holm, paired_bootstrap

__all__ = ["PARTS", "PartGain", "part_gains"]

PARTS = ("item_graph", "guard", "semantic", "item_text", "item_features", "user_features", "text_contrast")
"""The options of a variant that count as a part of it."""


@dataclass(frozen=True)
class PartGain:
    """The NDCG of a variant with a part, minus that of one that differs in this part alone.

    Attributes:
        part: the option, one of :data:`PARTS`.
        variant: the variant with the part.
        beside: the one that lacks it or has another in its place.
        instead: what that one has in its place; None where it lacks it.
        base: mean NDCG of ``beside`` over users and seeds.
        interval: of the difference, bootstrapped over users.
        p_value: of the bootstrap, adjusted by Holm's method for the number of comparisons.
    """

    part: str
    variant: str
    beside: str
    instead: str | None
    base: float
    interval: Interval
    p_value: float

    @property
    def relative(self) -> float | None:
        """The difference as a share of ``base``; None where that is 0."""
        return self.interval.mean / self.base if self.base else None


def part_gains(variants: Mapping[str, VariantConfig], user_metrics: pa.Table, seed: int) -> list[PartGain]:
    """Every two variants that differ in one part alone, in the order of :data:`PARTS`.

    Args:
        variants: options by name.
        user_metrics: the table, in which every variant has the same users.
        seed: of the whole run.
    """
    ndcg = _by_variant(user_metrics)
    gains = []
    for part, name, beside in _pairs({name: variants[name] for name in variants if name in ndcg}):
        interval = paired_bootstrap(ndcg[name], ndcg[beside], seed)
        if interval is not None:
            other = getattr(variants[beside], part)
            instead = str(other) if other else None
            base = float(ndcg[beside].mean())
            gains.append(PartGain(part, name, beside, instead, base, interval, interval.p_value))
    adjusted = holm([gain.p_value for gain in gains])
    return [replace(gain, p_value=p_value) for gain, p_value in zip(gains, adjusted, strict=True)]


def _pairs(variants: Mapping[str, VariantConfig]) -> Iterator[tuple[str, str, str]]:
    """Part, variant with it and variant beside it; of two that both have the part, the later one is compared."""
    options = {name: variant.model_dump() for name, variant in variants.items()}
    differing = {
        (one, other): [key for key in options[one] if options[one][key] != options[other][key]]
        for one, other in combinations(options, 2)
    }
    for part in PARTS:
        for (one, other), keys in differing.items():
            if keys == [part]:
                yield (part, other, one) if options[other][part] else (part, one, other)


def _by_variant(user_metrics: pa.Table) -> dict[str, npt.NDArray[np.float64]]:
    """NDCG of each user, sorted by user and averaged over seeds."""
    averaged = user_metrics.group_by(["variant", "user"]).aggregate([("ndcg", "mean")]).sort_by("user")
    names = pc.unique(averaged["variant"]).to_pylist()
    return {name: averaged.filter(pc.equal(averaged["variant"], name))["ndcg_mean"].to_numpy() for name in names}
