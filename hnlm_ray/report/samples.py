"""Random samples of what the language model wrote, joined with titles and histories."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hnlm_ray.seeds import generator

__all__ = [
    "Catalogue",
    "ItemSample",
    "NegativeSample",
    "UserSample",
    "item_samples",
    "negative_samples",
    "user_samples",
]

_HISTORY = 5
"""Train items shown of one user."""


@dataclass(frozen=True)
class ItemSample:
    """An item and the profile that the model wrote for it; ``status`` says whether it was usable."""

    title: str
    categories: tuple[str, ...]
    status: str
    summary: str


@dataclass(frozen=True)
class UserSample:
    """A user, the titles of some train items (``more`` are not shown), and the profile that the model wrote."""

    user_id: str
    chose: tuple[str, ...]
    more: int
    status: str
    summary: str


@dataclass(frozen=True)
class NegativeSample:
    """A hard negative that the model wrote, and the item that it was matched to; ``matched`` is empty without one."""

    user_id: str
    profile: str
    chose: str
    answer: str
    status: str
    step: str
    similarity: float | None
    matched: str


class Catalogue:
    """Looks up titles, categories and histories by number.

    Args:
        users: table ``users``.
        items: table ``items``.
        interactions: columns user, item and split of table ``interactions``.
    """

    def __init__(self, users: pa.Table, items: pa.Table, interactions: pa.Table) -> None:
        self._user_ids = users.sort_by("user")["user_id"]
        items = items.sort_by("item")
        self._titles, self._categories = items["title"], items["categories"]
        self._train = interactions.filter(pc.equal(interactions["split"], "train"))

    def user_id(self, user: int) -> str:
        """The id of a user in the data."""
        return str(self._user_ids[user].as_py())

    def title(self, item: int) -> str:
        """The title of an item, or its number if it has none."""
        return str(self._titles[item].as_py() or f"item {item}")

    def categories(self, item: int) -> tuple[str, ...]:
        """Categories of an item, from the broadest to the narrowest."""
        return tuple(self._categories[item].as_py() or ())

    def history(self, user: int) -> list[int]:
        """Items of a user's train interactions, the latest first."""
        rows = self._train.filter(pc.equal(self._train["user"], user))
        items: list[int] = rows["item"].to_pylist()[::-1]
        return items


def item_samples(profiles: pa.Table, catalogue: Catalogue, seed: int, count: int) -> list[ItemSample]:
    """``count`` random rows of table ``item_profiles``."""
    return [
        ItemSample(catalogue.title(row["item"]), catalogue.categories(row["item"]), row["status"], row["summary"])
        for row in _draw(profiles, seed, "item_profiles", count)
    ]


def user_samples(profiles: pa.Table, catalogue: Catalogue, seed: int, count: int) -> list[UserSample]:
    """``count`` random rows of table ``user_profiles``."""
    samples = []
    for row in _draw(profiles, seed, "user_profiles", count):
        history = catalogue.history(row["user"])
        chose = tuple(catalogue.title(item) for item in history[:_HISTORY])
        more = len(history) - len(chose)
        samples.append(UserSample(catalogue.user_id(row["user"]), chose, more, row["status"], row["summary"]))
    return samples


def negative_samples(
    grounded: pa.Table, user_profiles: pa.Table | None, catalogue: Catalogue, seed: int, count: int
) -> list[NegativeSample]:
    """``count`` random rows of table ``grounded``, matched or not."""
    rows = _draw(grounded, seed, "grounded", count)
    profiles = {} if user_profiles is None else _summaries(user_profiles, [row["user"] for row in rows])
    return [
        NegativeSample(
            user_id=catalogue.user_id(row["user"]),
            profile=profiles.get(row["user"], ""),
            chose=catalogue.title(row["item"]),
            answer=row["answer"],
            status=row["status"],
            step=row["step"],
            similarity=row["similarity"],
            matched="" if row["negative"] is None else catalogue.title(row["negative"]),
        )
        for row in rows
    ]


def _summaries(user_profiles: pa.Table, users: Sequence[int]) -> dict[int, str]:
    rows = user_profiles.filter(pc.is_in(user_profiles["user"], value_set=pa.array(users, pa.int32())))
    return dict(zip(rows["user"].to_pylist(), rows["summary"].to_pylist(), strict=True))


def _draw(table: pa.Table, seed: int, name: str, count: int) -> list[dict[str, Any]]:
    rows = generator(seed, "report", name).permutation(len(table))[:count]
    drawn: list[dict[str, Any]] = table.take(np.sort(rows)).to_pylist()
    return drawn
