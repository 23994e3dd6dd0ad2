"""Explanations of recommendations: the nearest items of the history, and what the language model wrote."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hnlm_ray.kernels.vectors import unit_rows
from hnlm_ray.serving.bundle.bundle import Bundle
from hnlm_ray.serving.recommend.parquet_lookup import ParquetLookup
from hnlm_ray.serving.recommend.recommender import Recommender

__all__ = ["Explainer", "Explanation", "NothingUnseenError", "WrittenNegative"]

_NEAREST, _MOST_NEGATIVES = 5, 20


class NothingUnseenError(LookupError):
    """A user has seen every item, so there is no recommendation to explain."""


@dataclass(frozen=True, slots=True)
class WrittenNegative:
    """A hard negative that the language model wrote for a user.

    Attributes:
        beside: number of the positive item that it was written for.
        answer: its title, as the model wrote it.
        reasoning: the model's reason.
        item: number of the item that it was matched to; None for none.
        rank: rank of that item among all that the user has not seen, from 1; None where they have seen it.
    """

    beside: int
    answer: str
    reasoning: str
    item: int | None
    rank: int | None


@dataclass(frozen=True, slots=True)
class Explanation:
    """The reasons for recommending an item to a user.

    Attributes:
        item: number of the item.
        score: of the item for the user, as it is recommended by.
        rank: rank among all items that the user has not seen, from 1; None where they have seen it.
        because: numbers and cosines of the nearest items of the history, the nearest first.
        negatives: the hard negatives that the language model wrote for the user.
    """

    item: int
    score: float
    rank: int | None
    because: list[tuple[int, float]]
    negatives: list[WrittenNegative]


class Explainer:
    """Explains recommendations of a bundle; safe to use from several threads."""

    def __init__(self, recommender: Recommender) -> None:
        bundle = recommender.bundle
        self._recommender = recommender
        self._items = bundle.contents.item_vectors
        self._user_profiles = _lookup(bundle, "user_profiles", "user")
        self._item_profiles = _lookup(bundle, "item_profiles", "item")
        self._negatives = _lookup(bundle, "negatives", "user")

    def user_profile(self, row: int) -> str:
        """The profile that the language model wrote of a user, by number; empty where it wrote none."""
        return _summary(self._user_profiles, row)

    def item_profile(self, item: int) -> str:
        """The profile that the language model wrote of an item, by number; empty where it wrote none."""
        return _summary(self._item_profiles, item)

    def explain(self, user_id: str, item_id: str | None = None) -> Explanation:
        """Explain one recommendation.

        Args:
            user_id: a user with a history.
            item_id: by default the best item that the user has not seen.

        Raises:
            KeyError: the user is unknown, or the catalogue lacks the item.
            NothingUnseenError: no item is named, and the user has seen every one.
        """
        row, history = self._recommender.users[user_id], self._recommender.history(user_id)
        scores = self._recommender.scores.of_users(np.array([row]))[0]
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
            WrittenNegative(
                one["item"], one["answer"], one["reasoning"], one["negative"],
                None if one["negative"] is None else rank(one["negative"]),
            )
            for one in written
        ]  # fmt: skip
        return Explanation(item, float(scores[item]), rank(item), self._nearest(item, history.tolist()), stories)

    def _nearest(self, item: int, history: list[int]) -> list[tuple[int, float]]:
        others = [other for other in history if other != item]
        cosines = unit_rows(self._items[others]) @ unit_rows(self._items[[item]])[0]
        order = np.argsort(-cosines, kind="stable")[:_NEAREST]
        return [(others[place], float(cosines[place])) for place in order.tolist()]


def _lookup(bundle: Bundle, name: str, key: str) -> ParquetLookup | None:
    path = bundle.text_table(name)
    return None if path is None else ParquetLookup(path, key)


def _summary(profiles: ParquetLookup | None, key: int) -> str:
    rows = [] if profiles is None else profiles.rows(key)
    return str(rows[0]["summary"]) if rows else ""
