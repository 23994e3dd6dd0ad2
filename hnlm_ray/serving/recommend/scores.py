"""Scores of a bundle: inner products of vectors and, where the bundle has lists between items, votes of the history."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from hnlm_ray.kernels.vectors import unit_rows
from hnlm_ray.kernels.votes import add_votes, scaled_votes

if TYPE_CHECKING:
    from hnlm_ray.serving.bundle.contents import Contents

__all__ = ["Scores"]

Floats = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]


class Scores:
    """Scores items for users by number, and for strangers; safe to use from several threads.

    Attributes:
        has_votes: whether a score is more than the inner product of two vectors.
    """

    def __init__(self, contents: Contents) -> None:
        self._contents = contents
        self.has_votes = contents.lists is not None

    def of_users(self, rows: Rows) -> Floats:
        """Scores (B, I) of all items for users by their numbers (B,)."""
        contents = self._contents
        scores = _products(contents.user_vectors[rows], contents.item_vectors)
        if contents.lists is not None:
            add_votes(scores, scaled_votes(contents.histories(rows), contents.lists))
        return scores

    def of_vector(self, vector: Floats, history: npt.NDArray[np.integer] | None = None) -> Floats:
        """Scores (1, I) of all items for the vector (d,) of a stranger with a history, or without one."""
        contents = self._contents
        scores = _products(vector[None], contents.item_vectors)
        if contents.lists is not None and history is not None:
            add_votes(scores, scaled_votes(contents.history_of(history), contents.lists))
        return scores

    def of_items(self, row: int, items: npt.NDArray[np.integer]) -> Floats:
        """Scores (n,) of some items for a user by number."""
        contents = self._contents
        scores: Floats = contents.item_vectors[items] @ contents.user_vectors[row]
        if contents.lists is None:
            return scores
        voted, votes = self.voted(row)
        if not len(voted):
            return scores
        places = np.minimum(np.searchsorted(voted, items), len(voted) - 1)
        scores += np.where(voted[places] == items, votes[places], np.float32(0.0))
        return scores

    def of_similarity(self, item: int) -> Floats:
        """Cosines (1, I) of the vectors of all items with that of one, which itself has -inf."""
        scores: Floats = (self._units @ self._units[item])[None]
        scores[0, item] = -np.inf
        return scores

    @functools.cached_property
    def _units(self) -> Floats:
        return unit_rows(self._contents.item_vectors)

    def voted(self, row: int) -> tuple[npt.NDArray[np.int32], Floats]:
        """The items that a user's history votes for, ascending, and their votes; none without lists."""
        if self._contents.lists is None:
            return np.empty(0, np.int32), np.empty(0, np.float32)
        votes = scaled_votes(self._contents.histories(np.array([row])), self._contents.lists)
        votes.sort_indices()
        return votes.indices.astype(np.int32), votes.data


def _products(users: Floats, items: Floats) -> Floats:
    # For one vector the product is faster in this form.
    scores: Floats = (items @ users[0])[None] if len(users) == 1 else users @ items.T
    return scores
