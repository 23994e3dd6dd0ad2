"""What a fit may read besides the interactions."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from hnlm_ray.data.histories import Histories
from hnlm_ray.samplers.guard import Guard
from hnlm_ray.samplers.semantic import PairVectors

if TYPE_CHECKING:
    from scipy.sparse import csr_array

__all__ = ["SideInformation"]


@dataclass(frozen=True)
class SideInformation:
    """Semantic vectors, texts, features, neighbours, guard, histories: each for variants that need it, None for others.

    Attributes:
        vectors: hard negatives by pair, for a semantic variant.
        item_texts: (I, D) unit text vectors, for a variant with ``item_text`` or ``text_contrast``.
        item_features: (I, F) float32 of :func:`hnlm_ray.models.features.feature_rows`, for one with ``item_features``.
        user_features: (U, F) float32 likewise, for one with ``user_features``.
        item_graph: (I, I) float32 of :func:`hnlm_ray.models.item_graph.normalised_neighbours`, for one with
            ``item_graph``.
        guard: of all users, for one with ``guard``.
        histories: the train interactions in order of time, for a backbone that reads it.
        seen_histories: train and valid interactions in order of time, by which users are known when the test split is
            ranked; None where nothing more is known of them than ``histories``.
    """

    vectors: PairVectors | None = None
    item_texts: npt.NDArray[np.floating[Any]] | None = None
    item_graph: csr_array[np.float32, tuple[int, int]] | None = None
    guard: Guard | None = None
    histories: Histories | None = None
    seen_histories: Histories | None = None
    item_features: csr_array[np.float32, tuple[int, int]] | None = None
    user_features: csr_array[np.float32, tuple[int, int]] | None = None

    def slice_users(self, first: int, last: int) -> SideInformation:
        """What concerns users ``first`` to ``last - 1``; the guard counts them from 0."""
        return replace(
            self,
            vectors=None if self.vectors is None else self.vectors.slice_users(first, last),
            guard=None if self.guard is None else self.guard.slice_users(first, last),
            user_features=None if self.user_features is None else self.user_features[first:last],
            histories=None if self.histories is None else self.histories.slice_users(first, last),
            seen_histories=None if self.seen_histories is None else self.seen_histories.slice_users(first, last),
        )
