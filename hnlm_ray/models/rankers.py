"""Models as rankers: how each kind orders the items that a user has not seen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

from hnlm_ray.data.interactions import Interactions
from hnlm_ray.kernels.ranking import Ranked, ranked_block, ranked_scores
from hnlm_ray.kernels.votes import add_votes, scaled_votes
from hnlm_ray.models.item_item import ItemItem
from hnlm_ray.models.popularity import popularity_vectors
from hnlm_ray.seeds import derive, hash_counters

if TYPE_CHECKING:
    from scipy.sparse import csr_array

__all__ = [
    "ItemItemRanker",
    "RandomRanker",
    "Ranker",
    "VectorRanker",
    "VotedRanker",
    "popularity_ranker",
    "ranker_of",
]


class Ranker(Protocol):
    """Ranks items for a range of users."""

    def rank(self, start: int, stop: int, seen: Interactions, k: int) -> Ranked:
        """The ``k`` best items of each user that the user has not seen.

        Args:
            start: first user.
            stop: the one after the last user.
            seen: rows of these users, numbered from 0, with the items that are not recommended.
            k: how many, at least 1.

        Raises:
            ValueError: a score is not finite, or ``seen`` has other users or items.
        """


@dataclass(frozen=True)
class VectorRanker:
    """Ranks by the inner product of vectors.

    Attributes:
        user_vectors: (n_users, d) float32.
        item_vectors: (n_items, d) float32.
    """

    user_vectors: npt.NDArray[np.float32]
    item_vectors: npt.NDArray[np.float32]

    def rank(self, start: int, stop: int, seen: Interactions, k: int) -> Ranked:
        """See :class:`Ranker`."""
        return ranked_block(self.user_vectors[start:stop], self.item_vectors, seen, k)


@dataclass(frozen=True)
class ItemItemRanker:
    """Ranks by the votes of a user's train items.

    Attributes:
        model: weights between items.
        train: all train interactions; what else a user has seen is masked and has no vote.
    """

    model: ItemItem
    train: Interactions

    def rank(self, start: int, stop: int, seen: Interactions, k: int) -> Ranked:
        """See :class:`Ranker`."""
        return ranked_scores(self.model.scores(self.train.slice_users(start, stop)), seen, k)


@dataclass(frozen=True)
class VotedRanker:
    """Ranks by vectors and by the votes of a user's train items, added; see :mod:`hnlm_ray.kernels.votes`.

    Attributes:
        vectors: what scores every item.
        lists: weights between items, sparse.
        train: all train interactions; what else a user has seen is masked and has no vote.
    """

    vectors: VectorRanker
    lists: csr_array[np.float32, tuple[int, int]]
    train: Interactions

    def rank(self, start: int, stop: int, seen: Interactions, k: int) -> Ranked:
        """See :class:`Ranker`."""
        scores = self.vectors.user_vectors[start:stop] @ self.vectors.item_vectors.T
        add_votes(scores, scaled_votes(self.train.slice_users(start, stop), self.lists))
        return ranked_scores(scores, seen, k)


def ranker_of(vectors: VectorRanker | None, model: ItemItem | None, train: Interactions) -> Ranker:
    """How a model of vectors, of weights between items, or of both ranks.

    Raises:
        ValueError: it has neither, or has vectors and weights that are not sparse.
    """
    if model is None:
        if vectors is None:
            raise ValueError("a model needs vectors or weights between items")
        return vectors
    if vectors is None:
        return ItemItemRanker(model, train)
    if isinstance(model.weights, np.ndarray):
        raise ValueError("weights beside vectors must be sparse")
    return VotedRanker(vectors, model.weights, train)


@dataclass(frozen=True)
class RandomRanker:
    """Ranks at random; the order of a user does not depend on the block that the user is in.

    The ranking of a user goes through the catalogue from a random item in steps of a random length. The length has no
    divisor in common with the number of items, so that every item is visited once. At each rank every item is equally
    likely, and nothing has to be scored.

    Attributes:
        seed: of the whole run.
    """

    seed: int

    def rank(self, start: int, stop: int, seen: Interactions, k: int) -> Ranked:
        """See :class:`Ranker`; no two items are tied."""
        ranked = Ranked.nothing(stop - start, k)
        depth = min(k + int(seen.degree.max(initial=0)), seen.n_items)
        key, users = derive(self.seed, "evaluation", "random"), np.arange(start, stop)[:, None]
        first, step = (
            (hash_counters(key, 2 * users + part) % np.uint64(seen.n_items)).astype(np.int64) for part in (0, 1)
        )
        while (shared := np.gcd(step, seen.n_items) > 1).any():
            step[shared] += 1
        walk = (first + step * np.arange(depth)) % seen.n_items
        is_seen = seen.contains(users - start, walk)
        order = np.argsort(is_seen, axis=1, kind="stable")[:, :k]  # unseen items first, in the order of the walk
        items = np.where(np.take_along_axis(is_seen, order, axis=1), -1, np.take_along_axis(walk, order, axis=1))
        ranked.items[:, : items.shape[1]] = items
        return ranked


def popularity_ranker(train: Interactions) -> VectorRanker:
    """Ranks every user's unseen items by their number of train interactions."""
    return VectorRanker(*popularity_vectors(train))
