"""Recommendations out of a bundle, without Ray and without a server."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from hnlm_ray.serving.bundle import Bundle, BundleInfo, load_bundle

__all__ = ["Recommendation", "RecommendedItem", "Recommender"]

_USERS_AT_ONCE = 256
"""Bounds the memory of a large request to so many rows of scores."""


@dataclass(frozen=True, slots=True)
class RecommendedItem:
    """One line of a recommendation.

    Attributes:
        item_id: the catalogue's own id.
        title: as the catalogue has it; may be empty.
        score: inner product of the vectors; for popular items, the number of interactions.
    """

    item_id: str
    title: str
    score: float


@dataclass(frozen=True, slots=True)
class Recommendation:
    """The answer for one user.

    Attributes:
        items: best first; fewer than asked where the user has met the rest.
        source: ``popular`` where the bundle knows nothing about the user.
        bundle_version: of the bundle that answered.
    """

    items: tuple[RecommendedItem, ...]
    source: Literal["personal", "popular"]
    bundle_version: str


class Recommender:
    """Scores the whole catalogue for a user and keeps the best; safe to call from several threads.

    Items come in the order score descending, then position in the catalogue ascending, so that ties are the same on
    every machine.
    """

    def __init__(self, bundle: Bundle) -> None:
        contents = bundle.contents
        self._info = bundle.info
        self._users, self._vectors = contents.user_vectors, contents.item_vectors
        self._offsets, self._seen = contents.seen_offsets, contents.seen_items
        self._item_ids: list[str] = contents.items.column("item_id").to_pylist()
        self._titles: list[str] = contents.items.column("title").to_pylist()
        # A user without a single interaction has a vector that nothing has trained.
        known = np.flatnonzero(np.diff(self._offsets)).tolist()
        names = contents.users.column("user_id").to_pylist()
        self._rows: dict[str, int] = {names[row]: row for row in known}
        self._popular = np.argsort(-contents.popularity, kind="stable")
        self._popularity = contents.popularity[self._popular]

    @classmethod
    def load(cls, path: str) -> Recommender:
        """Read a bundle from a folder, local or remote.

        Raises:
            BundleError: it is missing or damaged.
        """
        return cls(load_bundle(path))

    @property
    def info(self) -> BundleInfo:
        """What the bundle says about itself."""
        return self._info

    def knows(self, user_id: str) -> bool:
        """Whether the user gets personal recommendations."""
        return user_id in self._rows

    def recommend(self, user_id: str, k: int = 10, exclude_seen: bool = True) -> Recommendation:
        """The ``k`` best items for one user.

        Args:
            user_id: as in the raw data; anybody else gets popular items.
            k: at least 1.
            exclude_seen: leave out the items of the user's train and valid interactions.

        Raises:
            ValueError: ``k`` is below 1.
        """
        return self.recommend_many([user_id], k, exclude_seen)[0]

    def recommend_many(self, user_ids: Sequence[str], k: int = 10, exclude_seen: bool = True) -> list[Recommendation]:
        """:meth:`recommend` for many users at once, in their order.

        A score can differ in its last bit from that of a single request, because the products are summed in another
        order.
        """
        if k < 1:
            raise ValueError(f"k is {k}, expected at least 1")
        found = np.array([self._rows.get(user_id, -1) for user_id in user_ids], dtype=np.int64)
        popular = self._popular_items(k)
        answers = [popular] * len(user_ids)
        known = np.flatnonzero(found >= 0)
        for start in range(0, len(known), _USERS_AT_ONCE):
            block = known[start : start + _USERS_AT_ONCE]
            items, scores = self._personal(found[block], k, exclude_seen)
            for position, row_items, row_scores in zip(block.tolist(), items, scores, strict=True):
                answers[position] = self._answer(row_items, row_scores, "personal")
        return answers

    def _personal(
        self, rows: npt.NDArray[np.int64], k: int, exclude_seen: bool
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
        """Items and scores, both (B, k'); a score of -inf marks an item that must not be shown."""
        scores = self._users[rows] @ self._vectors.T
        if exclude_seen:
            starts, stops = self._offsets[rows], self._offsets[rows + 1]
            lengths = stops - starts
            within = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
            seen = self._seen[np.repeat(starts, lengths) + within]
            scores[np.repeat(np.arange(len(rows)), lengths), seen] = -np.inf
        return _best(scores, min(k, scores.shape[1]))

    def _popular_items(self, k: int) -> Recommendation:
        return self._answer(self._popular[:k], self._popularity[:k], "popular")

    def _answer(
        self, items: npt.NDArray[np.int64], scores: npt.NDArray[np.generic], source: Literal["personal", "popular"]
    ) -> Recommendation:
        lines = zip(items.tolist(), scores.tolist(), strict=True)
        shown = tuple(
            RecommendedItem(self._item_ids[item], self._titles[item], float(score))
            for item, score in lines
            if score != -np.inf
        )
        return Recommendation(shown, source, self._info.version)


def _best(scores: npt.NDArray[np.float32], width: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """The ``width`` largest of each row, ties by column; both results are (B, width), best first."""
    threshold = np.partition(scores, -width, axis=1)[:, -width, None]
    chosen = scores >= threshold
    tied = np.flatnonzero(np.count_nonzero(chosen, axis=1) > width)
    if len(tied):
        above = scores[tied] > threshold[tied]
        equal = scores[tied] == threshold[tied]
        room = width - np.count_nonzero(above, axis=1)[:, None]
        chosen[tied] = above | (equal & (np.cumsum(equal, axis=1) <= room))
    items = np.nonzero(chosen)[1].reshape(len(scores), width)
    values = np.take_along_axis(scores, items, axis=1)
    order = np.argsort(-values, axis=1, kind="stable")
    return np.take_along_axis(items, order, axis=1), np.take_along_axis(values, order, axis=1)
