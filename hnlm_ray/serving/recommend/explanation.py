"""Where a recommendation comes from: the history, what the language model wrote, and where its negative ranks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hnlm_ray.serving.bundle.bundle import Bundle
from hnlm_ray.serving.recommend.pages import Pages
from hnlm_ray.serving.recommend.recommender import Recommender

__all__ = ["Explained", "Explainer", "NegativeStory", "NothingUnseenError"]

_NEAREST, _MOST_NEGATIVES = 5, 20


class NothingUnseenError(LookupError):
    """A user has seen every item, so there is no recommendation to explain."""


@dataclass(frozen=True, slots=True)
class NegativeStory:
    """A hard negative that the language model wrote for a user.

    Attributes:
        beside: number of the item that it was written beside.
        answer: its name, as written.
        reasoning: why, as written.
        item: number of the item that it was matched to, None for none.
        rank: where that item stands among all that the user has not met, from 1; None where they have met it.
    """

    beside: int
    answer: str
    reasoning: str
    item: int | None
    rank: int | None


@dataclass(frozen=True, slots=True)
class Explained:
    """Why an item comes.

    Attributes:
        item: number of the item.
        score: of the user for it.
        rank: from 1, among all that the user has not met; None where they have met it.
        because: numbers of the nearest items of the history, and their cosines, the nearest first.
        negatives: those that the model wrote for the user.
    """

    item: int
    score: float
    rank: int | None
    because: list[tuple[int, float]]
    negatives: list[NegativeStory]


class Explainer:
    """Reads the texts of a bundle as they are asked for; safe to use from several threads."""

    def __init__(self, recommender: Recommender) -> None:
        bundle = recommender.bundle
        self._recommender = recommender
        self._users, self._items = bundle.contents.user_vectors, bundle.contents.item_vectors
        self._user_profiles = _pages(bundle, "user_profiles", "user")
        self._item_profiles = _pages(bundle, "item_profiles", "item")
        self._negatives = _pages(bundle, "negatives", "user")

    def user_profile(self, row: int) -> str:
        """As the language model wrote it; empty where it wrote none."""
        return _summary(self._user_profiles, row)

    def item_profile(self, item: int) -> str:
        """As the language model wrote it; empty where it wrote none."""
        return _summary(self._item_profiles, item)

    def explain(self, user_id: str, item_id: str | None = None) -> Explained:
        """Explain one recommendation.

        Args:
            user_id: a user with a trained vector.
            item_id: by default the best item that the user has not met.

        Raises:
            KeyError: nothing is known about the user, or the catalogue lacks the item.
            NothingUnseenError: no item is named, and the user has seen every one.
        """
        row, history = self._recommender.row_of(user_id), self._recommender.history(user_id)
        scores = self._items @ self._users[row]
        unseen = np.ones(len(scores), dtype=np.bool_)
        unseen[history] = False
        if item_id is not None:
            item = self._recommender.catalogue[item_id]
        elif unseen.any():
            item = int(np.argmax(np.where(unseen, scores, -np.inf)))
        else:
            raise NothingUnseenError("the user has seen every item")

        def rank(number: int) -> int | None:
            if not unseen[number]:
                return None
            ahead = (scores > scores[number]) & unseen
            tied = (scores[:number] == scores[number]) & unseen[:number]
            return 1 + int(np.count_nonzero(ahead)) + int(np.count_nonzero(tied))

        written = [] if self._negatives is None else self._negatives.rows(row)[:_MOST_NEGATIVES]
        stories = [
            NegativeStory(
                one["item"], one["answer"], one["reasoning"], one["negative"],
                None if one["negative"] is None else rank(one["negative"]),
            )
            for one in written
        ]  # fmt: skip
        return Explained(item, float(scores[item]), rank(item), self._nearest(item, history.tolist()), stories)

    def _nearest(self, item: int, history: list[int]) -> list[tuple[int, float]]:
        others = [other for other in history if other != item]
        vectors, target = self._items[others], self._items[item]
        lengths = np.linalg.norm(vectors, axis=1) * np.linalg.norm(target)
        cosines = (vectors @ target) / np.maximum(lengths, 1e-12)
        order = np.argsort(-cosines, kind="stable")[:_NEAREST]
        return [(others[place], float(cosines[place])) for place in order.tolist()]


def _pages(bundle: Bundle, name: str, key: str) -> Pages | None:
    path = bundle.texts(name)
    return None if path is None else Pages(path, key)


def _summary(pages: Pages | None, key: int) -> str:
    rows = [] if pages is None else pages.rows(key)
    return str(rows[0]["summary"]) if rows else ""
