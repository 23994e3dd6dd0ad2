"""Models of vectors joined into one: their scores, brought to one scale for each user, and added.

For a model of vectors the mean and the standard deviation of a user's scores over the items follow from the mean and
the covariance of the item vectors, ``z = (u . i - u . m) / sqrt(u' C u)``. The second term changes no order, so the
z-scores of several such models are one model: user vectors over these deviations, item vectors side by side.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from hnlm_ray.models.rankers import VectorRanker

__all__ = ["FLATTEST", "JoinedVectors"]

Floats = npt.NDArray[np.float32]
FLATTEST = 1e-12
"""A user whose scores differ by less has no opinion."""


@dataclass(frozen=True)
class JoinedVectors:
    """Models as one whose scores are the weighted sum of their z-scores, but for a constant per user.

    Attributes:
        parts: each model, of the same users and items, and the weight of its z-scores.
    """

    parts: Sequence[tuple[VectorRanker, float]]

    def users(self, start: int, stop: int) -> Floats:
        """Joined vectors (B, sum of d) float32 of users ``start`` to ``stop - 1``."""
        scaled = [
            weight * _over_deviation(ranker.user_vectors[start:stop], covariance)
            for (ranker, weight), covariance in zip(self.parts, self._covariances, strict=True)
        ]
        return np.hstack(scaled)

    @cached_property
    def items(self) -> Floats:
        """Item vectors (n_items, sum of d) float32 side by side."""
        return np.hstack([ranker.item_vectors for ranker, _ in self.parts])

    @cached_property
    def _covariances(self) -> list[npt.NDArray[np.float64]]:
        return [_covariance(ranker.item_vectors) for ranker, _ in self.parts]

    def scales(self) -> Floats:
        """For each joined coordinate, the mean length of the item vectors of its model, (sum of d,) float32."""
        lengths = [np.linalg.norm(ranker.item_vectors, axis=1).mean() for ranker, _ in self.parts]
        dims = [ranker.item_vectors.shape[1] for ranker, _ in self.parts]
        scales: Floats = np.maximum(np.repeat(lengths, dims), FLATTEST).astype(np.float32)
        return scales


def _covariance(item_vectors: Floats) -> npt.NDArray[np.float64]:
    items = item_vectors.astype(np.float64)
    centred = items - items.mean(axis=0)
    covariance: npt.NDArray[np.float64] = centred.T @ centred / len(items)
    return covariance


def _over_deviation(user_vectors: Floats, covariance: npt.NDArray[np.float64]) -> Floats:
    """User vectors (B, d) divided by the standard deviation of the user's scores over all items."""
    users = user_vectors.astype(np.float64)
    variance = np.einsum("ud,de,ue->u", users, covariance, users)
    scaled: Floats = (users / np.sqrt(np.maximum(variance, FLATTEST))[:, None]).astype(np.float32)
    return scaled
