"""The items of a bundle: ids, titles, categories, availability, and which of them a request allows."""

from __future__ import annotations

import difflib
import functools
import re
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from hnlm_ray.serving.recommend.options import RankingOptions

__all__ = ["Catalogue", "UnknownCategoryError"]

_WORD = re.compile(r"[^\W\d_]+")

_NAMED = 5
"""Categories that are named where none is near."""

_LONGEST_COMPARED = 200
"""Characters of a name that are compared with the others."""

_FILTERS_KEPT, _FILTER_BYTES = 256, 64 << 20
"""Bounds on the cached masks, (I,) float32 for each combination of categories: their number and their bytes."""


class UnknownCategoryError(ValueError):
    """The catalogue has no such category.

    Attributes:
        hint: the nearest one, or some that there are, as a clause that does not repeat what was asked for.
    """

    def __init__(self, name: str, hint: str) -> None:
        self.hint = hint
        super().__init__(f"there is no category {name!r}, {hint}")


class Catalogue:
    """Items by number and by id; safe to use from several threads.

    Attributes:
        ids: by number.
        titles: by number.
        popularity: (I,) int64, interactions of each item.
        available_bits: (I / 8 rounded up,) uint8, a bit per item, the lowest of each byte first, 1 where the item is
            available; None where all are.
    """

    def __init__(self, items: pa.Table, popularity: npt.NDArray[np.int64]) -> None:
        """Index the items.

        Args:
            items: I rows of :data:`hnlm_ray.tables.ITEMS`, sorted by item.
            popularity: (I,) int64.
        """
        self.ids: list[str] = _strings(items["item_id"])
        self.titles: list[str] = _strings(items["title"])
        self.popularity = popularity
        self._table = items
        self._number_of = _numbered(self.ids)
        self._categories = _members(items["categories"])
        self._set_unavailable(np.empty(0, dtype=np.int64))

    def __len__(self) -> int:
        return len(self.ids)

    def __contains__(self, item_id: str) -> bool:
        return item_id in self._number_of

    def __getitem__(self, item_id: str) -> int:
        """The number of an item; KeyError for one that the catalogue lacks."""
        return self._number_of[item_id]

    def numbers(self, item_ids: Iterable[str]) -> npt.NDArray[np.int64]:
        """(n,) int64: the numbers of those ids that the catalogue has, in their order."""
        numbers = self._number_of
        return np.array([numbers[item_id] for item_id in item_ids if item_id in numbers], dtype=np.int64)

    def row(self, item: int) -> dict[str, object]:
        """The item's row of :data:`hnlm_ray.tables.ITEMS`."""
        row: dict[str, object] = self._table.slice(item, 1).to_pylist()[0]
        return row

    @functools.cached_property
    def unpopularity(self) -> npt.NDArray[np.float32]:
        """(I,) float32: minus the log of one plus the popularity, standardised."""
        logs = np.log1p(self.popularity.astype(np.float64))
        standard: npt.NDArray[np.float32] = ((logs.mean() - logs) / max(float(logs.std()), 1e-12)).astype(np.float32)
        return standard

    def set_unavailable(self, item_ids: Iterable[str]) -> int:
        """Replace the set of unavailable items; returns how many of the ids the catalogue has."""
        unavailable = np.unique(self.numbers(item_ids))
        self._set_unavailable(unavailable)
        return len(unavailable)

    def _set_unavailable(self, unavailable: npt.NDArray[np.int64]) -> None:
        self._unavailable = unavailable
        available = ~np.isin(np.arange(len(self)), unavailable)
        self.available_bits = np.packbits(available, bitorder="little") if len(unavailable) else None
        # A new cache instead of an emptied one: another thread may be about to store an old mask.
        kept = max(1, min(_FILTERS_KEPT, _FILTER_BYTES // (4 * max(1, len(self)))))
        self._filter = functools.lru_cache(kept)(functools.partial(_mask, len(self), self._categories, unavailable))

    def is_available(self, item: int) -> bool:
        """Whether an item is available, by its number."""
        return item not in self._unavailable

    def recommendable(self, items: npt.NDArray[np.int32], options: RankingOptions) -> npt.NDArray[np.int32]:
        """Those of some items that are available, where the options ask for it."""
        return items[~np.isin(items, self._unavailable)] if options.available_only and len(items) else items

    def penalised(self, scores: npt.NDArray[np.float32], options: RankingOptions) -> npt.NDArray[np.float32]:
        """Scores (B, I) less the popularity penalty of the options, changed in place."""
        if options.popularity_penalty:
            spread = scores.std(axis=1, keepdims=True) * np.float32(options.popularity_penalty)
            scores += spread * self.unpopularity
        return scores

    def score_mask(self, options: RankingOptions) -> npt.NDArray[np.float32] | None:
        """(I,) float32 to add to scores: 0 where an item is allowed, -inf where not; None where all are allowed.

        The history of a user is not part of it.
        """
        mask = self._filter(options.categories, options.available_only)
        if options.include_items is None and not options.exclude_items:
            return mask
        if options.include_items is None:
            own = np.zeros(len(self), np.float32) if mask is None else mask.copy()
        else:
            own = np.full(len(self), -np.inf, np.float32)
            included = self.numbers(options.include_items)
            own[included] = 0.0 if mask is None else mask[included]
        own[self.numbers(options.exclude_items)] = -np.inf
        return own

    def categories(self, words: str, limit: int) -> list[tuple[str, int]]:
        """Categories whose name contains the words, ignoring case, with their number of items; the largest first."""
        wanted = words.casefold()
        found = [(name, len(own)) for name, own in self._categories.items() if wanted in name.casefold()]
        return sorted(found, key=lambda one: (-one[1], one[0]))[:limit]

    def spelled(self, names: Iterable[str]) -> tuple[str, ...]:
        """Categories as the catalogue spells them: case and space around and between words make no difference.

        Args:
            names: of categories; one that the catalogue has as it is stands for itself alone.

        Raises:
            UnknownCategoryError: the catalogue has none that is spelled like one of them.
        """
        found: list[str] = []
        for name in names:
            alike = (name,) if name in self._categories else self._spellings.get(_folded(name), ())
            if not alike:
                raise UnknownCategoryError(name, self._hint(name))
            found += alike
        return tuple(dict.fromkeys(found))

    def _hint(self, name: str) -> str:
        near = difflib.get_close_matches(_folded(name[:_LONGEST_COMPARED]), self._spellings, n=1)
        if near:
            return f"the nearest is {self._spellings[near[0]][0]!r}"
        some = ", ".join(repr(one) for one, _ in self.categories("", _NAMED))
        return f"there are {some}" if some else "the items have none"

    @functools.cached_property
    def _spellings(self) -> dict[str, tuple[str, ...]]:
        """The names of the categories by what they fold to."""
        spellings: dict[str, tuple[str, ...]] = {}
        for name in self._categories:
            key = _folded(name)
            spellings[key] = (*spellings.get(key, ()), name)
        return spellings

    def in_its_case(self, text: str) -> str:
        """A text with the words of categories in upper and lower case as the catalogue has them.

        An encoder that tells case apart has read "Board Games" in every item, and "board games" never.
        """
        return _WORD.sub(lambda word: self._cased_words.get(word[0].casefold(), word[0]), text)

    @functools.cached_property
    def _cased_words(self) -> dict[str, str]:
        """The words of the names of categories by what they fold to; of several spellings that of the most items."""
        smallest_first = sorted(self._categories, key=lambda name: len(self._categories[name]))
        return {word.casefold(): word for name in smallest_first for word in _WORD.findall(name)}

    def search(self, words: str, limit: int) -> list[int]:
        """Numbers of the items whose title or id contains the words, ignoring case; the most popular first."""
        wanted = words.casefold()
        found = [item for item, text in enumerate(self._searchable) if wanted in text]
        return sorted(found, key=lambda item: -int(self.popularity[item]))[:limit]

    @functools.cached_property
    def _searchable(self) -> list[str]:
        return [f"{title} {item_id}".casefold() for title, item_id in zip(self.titles, self.ids, strict=True)]


def _folded(name: str) -> str:
    return " ".join(name.casefold().split())


def _mask(
    n_items: int, members: dict[str, npt.NDArray[np.int64]], unavailable: npt.NDArray[np.int64],
    categories: tuple[str, ...], available_only: bool,
) -> npt.NDArray[np.float32] | None:  # fmt: skip
    if not categories and not (available_only and len(unavailable)):
        return None
    mask = np.full(n_items, -np.inf if categories else 0.0, dtype=np.float32)
    for name in categories:
        mask[members.get(name, [])] = 0.0
    if available_only:
        mask[unavailable] = -np.inf
    return mask


def _strings(column: pa.ChunkedArray) -> list[str]:
    """The same as ``to_pylist``, ten times as fast."""
    strings: list[str] = column.to_numpy(zero_copy_only=False).tolist()
    return strings


def _numbered(names: Sequence[str]) -> dict[str, int]:
    """The number of each name. Built in steps: one call for a million names would block every other thread."""
    numbers: dict[str, int] = {}
    for start in range(0, len(names), 10_000):
        numbers.update(zip(names[start : start + 10_000], range(start, len(names)), strict=False))
    return numbers


def _members(categories: pa.ChunkedArray) -> dict[str, npt.NDArray[np.int64]]:
    """Items of each category, ascending and distinct."""
    lists = categories.combine_chunks()
    owners = np.asarray(lists.value_parent_indices())
    encoded = lists.flatten().dictionary_encode()
    codes = encoded.indices.to_numpy(zero_copy_only=False)
    order = np.argsort(codes, kind="stable")
    bounds = np.searchsorted(codes[order], np.arange(len(encoded.dictionary) + 1))
    names = encoded.dictionary.to_pylist()
    return {name: np.unique(owners[order[bounds[code] : bounds[code + 1]]]) for code, name in enumerate(names)}
