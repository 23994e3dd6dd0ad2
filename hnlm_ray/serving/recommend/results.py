"""What a recommender returns: rankings in numbers, and recommendations with ids and titles."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

__all__ = ["ItemScore", "Ranking", "Recommendation", "RecommendedItem", "Source"]

Source = Literal["personal", "folded_in", "profile", "popular"]
"""What a ranking is based on: ``personal``, the user's trained vector; ``folded_in``, a history; ``profile``, a text;
``popular``, popularity alone, because nothing is known about the user."""


@dataclass(frozen=True, slots=True)
class Ranking:
    """The best items for one user, in numbers.

    Attributes:
        items: (n,) integers, best first.
        scores: (n,) float32, descending.
        source: what the ranking is based on.
    """

    items: npt.NDArray[np.integer]
    scores: npt.NDArray[np.float32]
    source: Source


@dataclass(frozen=True, slots=True)
class RecommendedItem:
    """One line of a recommendation.

    Attributes:
        item_id: the id in the raw data.
        title: as in the catalogue; may be empty.
        score: inner product of the vectors, less the popularity penalty; for popular items the number of
            interactions; for similar items the cosine.
    """

    item_id: str
    title: str
    score: float


@dataclass(frozen=True, slots=True)
class Recommendation:
    """The recommendation for one user.

    Attributes:
        items: best first; fewer than ``k`` where the options and the history leave no more.
        source: what the ranking is based on.
        bundle_version: version of the bundle that answered.
    """

    items: tuple[RecommendedItem, ...]
    source: Source
    bundle_version: str


@dataclass(frozen=True, slots=True)
class ItemScore:
    """The score of one item for one user.

    Attributes:
        item_id: as it was given.
        score: inner product of the vectors; None for an item that the catalogue lacks.
        seen: whether the item is in the user's history.
    """

    item_id: str
    score: float | None
    seen: bool
