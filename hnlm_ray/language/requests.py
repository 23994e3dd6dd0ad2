"""What each prompt shows: request rows from the train split, and renderers that look up their texts.

No other module chooses what a prompt may show. Every function keeps the train split only, so that nothing that is held
out reaches a model, whatever the caller passes. A request row holds ids and what is known of its user; the renderer,
which travels to the workers once, holds the catalogue and the profiles of its items.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from hnlm_ray.config.language import NegativesConfig, ProfilesConfig
from hnlm_ray.kernels.runs import places_in_runs, runs_of
from hnlm_ray.language.prompts import render
from hnlm_ray.language.prompts.render import Budget, Product, Prompt
from hnlm_ray.language.prompts.wording import Task, Wording
from hnlm_ray.run.rows import is_among

__all__ = [
    "ItemRenderer",
    "NegativeRenderer",
    "UserRenderer",
    "item_requests",
    "negative_requests",
    "profile_texts",
    "shown_items",
    "train_rows",
    "user_requests",
]

_REVIEWS = pa.schema([("item", pa.int32()), ("timestamp", pa.int64()), ("review", pa.string()), ("row", pa.int64())])
PromptOf = Callable[[Budget | None], Prompt]
"""Renders one prompt within a budget."""


def train_rows(interactions: pa.Table) -> pa.Table:
    """The train split, in the order of the table."""
    return interactions.filter(pc.equal(interactions["split"], "train"))


def item_requests(interactions: Iterable[pa.Table], n_items: int, limits: ProfilesConfig) -> pa.Table:
    """The requests for item profiles.

    Args:
        interactions: parts of a table of :data:`hnlm_ray.tables.INTERACTIONS`.
        n_items: items of the catalogue.
        limits: ``max_feedback`` is read.

    Returns:
        One row per item: ``id``, and the list ``reviews`` of its latest train reviews that are not blank, newest first.
    """
    kept, before = _REVIEWS.empty_table(), 0
    for part in interactions:
        rows = part.append_column("row", pa.array(np.arange(before, before + part.num_rows)))
        before += part.num_rows
        rows = train_rows(rows).select(_REVIEWS.names)
        rows = rows.filter(pc.greater(pc.utf8_length(pc.utf8_trim_whitespace(rows["review"])), 0))
        kept = _newest(pa.concat_tables([kept, rows.cast(_REVIEWS)]), limits.max_feedback)
    reviews = _lists(kept["item"].to_numpy(), n_items, kept["review"])
    return pa.table({"id": np.arange(n_items), "reviews": reviews})


def _newest(reviews: pa.Table, most: int) -> pa.Table:
    """So many of each item, newest first; without times, the later row of the table counts as the newer one."""
    reviews = reviews.sort_by([("item", "ascending"), ("timestamp", "descending"), ("row", "descending")])
    places = places_in_runs(runs_of(reviews["item"].to_numpy())[1])
    return reviews.filter(pa.array(places < most))


def user_requests(interactions: pa.Table, limits: ProfilesConfig) -> pa.Table:
    """The requests for user profiles.

    Args:
        interactions: all rows of some users or of all, of :data:`hnlm_ray.tables.INTERACTIONS`: by user, the oldest
            first.
        limits: ``max_history`` is read.

    Returns:
        One row per user with a train interaction: ``id``, and of the latest ones, oldest first, the lists ``items``
        int32, ``ratings`` float32 (null where there is none) and ``reviews`` string.
    """
    rows = train_rows(interactions)
    users = rows["user"].to_numpy()
    from_end = places_in_runs(runs_of(users[::-1])[1])[::-1]
    kept = np.flatnonzero(from_end < limits.max_history)
    rows = rows.take(pa.array(kept))
    ids, codes = np.unique(users[kept], return_inverse=True)
    lists = {f"{name}s": _lists(codes, len(ids), rows[name]) for name in ("item", "rating", "review")}
    return pa.table({"id": ids.astype(np.int64), **lists})


def shown_items(by_user: pa.Table, users: npt.NDArray[np.int64]) -> npt.NDArray[np.int32]:
    """The items in the shown history of some users.

    Args:
        by_user: from :func:`user_requests`.
        users: ascending.

    Returns:
        (n,) int32, some of them more than once.
    """
    chosen = by_user["items"].filter(pa.array(is_among(by_user["id"].to_numpy(), users)))
    return np.asarray(chosen.combine_chunks().flatten().to_numpy())


def negative_requests(
    pairs: npt.NDArray[np.int64], n_items: int, customers: pa.Array, candidates: pa.ListArray | None = None
) -> pa.Table:
    """The requests for written negatives.

    Args:
        pairs: from :func:`hnlm_ray.language.pairs.choose_pairs`.
        n_items: items of the catalogue.
        customers: of each pair, the profile of its user, "" where there is none.
        candidates: of each pair, from :func:`hnlm_ray.language.candidates.candidates_of`; None for none.

    Returns:
        One row per pair: its number ``id``, ``item``, int32, ``customer``, and the list ``candidates`` of int32.
    """
    if candidates is None:
        candidates = pa.array([[]] * len(pairs), pa.list_(pa.int32()))
    item = (pairs % n_items).astype(np.int32)
    return pa.table({"id": pairs, "item": item, "customer": customers, "candidates": candidates})


def profile_texts(profiles: pa.Table, key: str, size: int, first: int = 0) -> tuple[pa.Array, int]:
    """The profile of each item or user as later prompts show it.

    Args:
        profiles: a table of :data:`hnlm_ray.tables.ITEM_PROFILES` or :data:`hnlm_ray.tables.USER_PROFILES`.
        key: ``item`` or ``user``.
        size: how many items or users there are.
        first: the number of the first of them.

    Returns:
        (size,) strings: the summary where the status is ``ok``, else ""; and how many rows of ``profiles`` are not
        ``ok``.
    """
    usable = profiles.filter(pc.equal(profiles["status"], "ok"))
    place = np.full(size, -1)
    place[usable[key].to_numpy() - first] = np.arange(usable.num_rows)
    texts = usable["summary"].combine_chunks().take(pa.array(place, mask=place < 0))
    return texts.fill_null(""), profiles.num_rows - usable.num_rows


@dataclass(frozen=True)
class ItemRenderer:
    """Prompts for item profiles, from rows of :func:`item_requests`.

    Attributes:
        items: a table of :data:`hnlm_ray.tables.ITEMS`, sorted by item.
        limits: how much a prompt shows, and what it asks for.
        noun: what an item is called.
        is_curbed: whether earlier answers were cut or repeated themselves.
    """

    items: pa.Table
    limits: ProfilesConfig
    noun: str = "product"
    is_curbed: bool = False
    task: Task = field(default="item_profile", init=False)

    @property
    def examples(self) -> tuple[str, ...]:
        """The answers of the worked examples in its prompts."""
        return Wording.of(self.task, self.limits, self.noun).answers

    def curbed(self) -> ItemRenderer:
        """See :class:`hnlm_ray.language.engines.protocol.Renderer`."""
        return replace(self, is_curbed=True)

    def prompts(self, requests: pa.Table) -> Iterator[PromptOf]:
        """See :class:`hnlm_ray.language.engines.protocol.Renderer`."""
        shown = self.items.take(requests["id"]).to_pylist()
        for item, reviews in zip(shown, requests["reviews"].to_pylist(), strict=True):
            yield functools.partial(
                render.item_profile, _product(item, reviews), self.limits, noun=self.noun, curbed=self.is_curbed
            )


@dataclass(frozen=True)
class UserRenderer:
    """Prompts for user profiles, from rows of :func:`user_requests`.

    Attributes:
        items: a table of :data:`hnlm_ray.tables.ITEMS`, sorted by item.
        profiles: (I,) strings of the items, from :func:`profile_texts`.
        limits: how much a prompt shows, and what it asks for.
        noun: what an item is called.
        is_curbed: whether earlier answers were cut or repeated themselves.
    """

    items: pa.Table
    profiles: pa.Array
    limits: ProfilesConfig
    noun: str = "product"
    is_curbed: bool = False
    task: Task = field(default="user_profile", init=False)

    @property
    def examples(self) -> tuple[str, ...]:
        """The answers of the worked examples in its prompts."""
        return Wording.of(self.task, self.limits, self.noun).answers

    def curbed(self) -> UserRenderer:
        """See :class:`hnlm_ray.language.engines.protocol.Renderer`."""
        return replace(self, is_curbed=True)

    def prompts(self, requests: pa.Table) -> Iterator[PromptOf]:
        """See :class:`hnlm_ray.language.engines.protocol.Renderer`."""
        bought = pc.dictionary_encode(requests["items"].combine_chunks().flatten())
        shown = self._shown(bought.dictionary)
        own = (requests[name].combine_chunks().flatten().to_pylist() for name in ("ratings", "reviews"))
        items = map(shown.__getitem__, bought.indices.to_pylist())
        rows = map(functools.partial(render.purchase_line, limits=self.limits), items, *own)
        for size in pc.list_value_length(requests["items"]).to_pylist():
            lines = list(itertools.islice(rows, size))
            yield functools.partial(
                render.user_profile_of_lines, lines, self.limits, noun=self.noun, curbed=self.is_curbed
            )

    def _shown(self, items: pa.Array) -> list[tuple[str, str]]:
        """What is shown of some items."""
        titles, categories = (self.items[name].take(items).to_pylist() for name in ("title", "categories"))
        profiles = self.profiles.take(items).to_pylist()
        about = zip(titles, map(tuple, categories), profiles, strict=True)
        return [render.shown_item(*one, self.limits) for one in about]


@dataclass(frozen=True)
class NegativeRenderer:
    """Prompts for hard negatives, from rows of :func:`negative_requests`.

    Attributes:
        items: a table of :data:`hnlm_ray.tables.ITEMS`, sorted by item.
        item_profiles: (I,) strings, from :func:`profile_texts`.
        limits: how much a prompt shows, and what it asks for.
        noun: what an item is called.
        is_curbed: whether earlier answers were cut or repeated themselves.
    """

    items: pa.Table
    item_profiles: pa.Array
    limits: NegativesConfig
    noun: str = "product"
    is_curbed: bool = False
    task: Task = field(default="negative", init=False)

    def curbed(self) -> NegativeRenderer:
        """See :class:`hnlm_ray.language.engines.protocol.Renderer`."""
        return replace(self, is_curbed=True)

    def prompts(self, requests: pa.Table) -> Iterator[PromptOf]:
        """See :class:`hnlm_ray.language.engines.protocol.Renderer`."""
        shown = self.items.take(requests["item"]).to_pylist()
        customers = requests["customer"].to_pylist()
        profiles = self.item_profiles.take(requests["item"].combine_chunks()).to_pylist()
        titles = self.items["title"].to_pylist()
        chosen = requests["candidates"].to_pylist()
        for item, customer, profile, numbers in zip(shown, customers, profiles, chosen, strict=True):
            yield functools.partial(
                render.negative,
                customer,
                _product(item, []),
                profile,
                self.limits,
                candidates=[titles[number] for number in numbers],
                noun=self.noun,
                curbed=self.is_curbed,
            )


def _product(item: dict[str, Any], reviews: list[str]) -> Product:
    return Product(item["title"], item["brand"], item["categories"], item["description"], reviews)


def _lists(codes: npt.NDArray[Any], size: int, values: pa.ChunkedArray) -> pa.ListArray:
    """Values grouped by sorted codes in ``[0, size)``."""
    offsets = np.searchsorted(codes, np.arange(size + 1)).astype(np.int32)
    return pa.ListArray.from_arrays(offsets, values.combine_chunks())
