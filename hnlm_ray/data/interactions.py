"""Interactions as compressed sparse rows: the form in which samplers, models and metrics read them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

__all__ = ["Interactions"]


@dataclass(frozen=True, eq=False)
class Interactions:
    """Distinct (user, item) pairs, grouped by user.

    Attributes:
        offsets: int64 (n_users + 1,); the items of user ``u`` are ``items[offsets[u]:offsets[u + 1]]``.
        items: int32 (n_pairs,), ascending for each user, no item twice.
        n_items: size of the catalogue, whether or not every item has an interaction.
    """

    offsets: npt.NDArray[np.int64]
    items: npt.NDArray[np.int32]
    n_items: int

    @classmethod
    def from_pairs(
        cls, users: npt.NDArray[np.integer], items: npt.NDArray[np.integer], n_users: int, n_items: int
    ) -> Interactions:
        """From pairs in any order; repeated pairs count once.

        Raises:
            ValueError: a user or an item is out of range, or the arrays differ in length.
        """
        if len(users) != len(items):
            raise ValueError(f"{len(users)} users and {len(items)} items do not pair up")
        for name, values, size in (("user", users, n_users), ("item", items, n_items)):
            if len(values) and not 0 <= values.min() <= values.max() < size:
                raise ValueError(f"{name} numbers span {values.min()} to {values.max()}, expected 0 to {size - 1}")
        keys = np.unique(users.astype(np.int64) * n_items + items)
        offsets = np.zeros(n_users + 1, dtype=np.int64)
        np.cumsum(np.bincount(keys // max(n_items, 1), minlength=n_users), out=offsets[1:])
        return cls(offsets, (keys % max(n_items, 1)).astype(np.int32), n_items)

    @classmethod
    def from_table(
        cls, table: pa.Table, n_users: int, n_items: int, splits: Sequence[str] = ("train",)
    ) -> Interactions:
        """From the rows of some splits in the table ``interactions``."""
        table = table.filter(pc.is_in(table["split"], pa.array(list(splits), pa.string())))
        return cls.from_pairs(table["user"].to_numpy(), table["item"].to_numpy(), n_users, n_items)

    def __len__(self) -> int:
        """The number of pairs."""
        return len(self.items)

    @property
    def n_users(self) -> int:
        """How many users there are, with or without an interaction."""
        return len(self.offsets) - 1

    @cached_property
    def users(self) -> npt.NDArray[np.int32]:
        """The user of each pair: int32 (n_pairs,)."""
        return np.repeat(np.arange(self.n_users, dtype=np.int32), self.degree)

    @cached_property
    def keys(self) -> npt.NDArray[np.int64]:
        """``user * n_items + item`` of each pair, ascending: int64 (n_pairs,)."""
        return self.users.astype(np.int64) * self.n_items + self.items

    @property
    def degree(self) -> npt.NDArray[np.int64]:
        """Interactions of each user: int64 (n_users,)."""
        return np.diff(self.offsets)

    @property
    def item_popularity(self) -> npt.NDArray[np.int64]:
        """Interactions of each item: int64 (n_items,)."""
        return np.bincount(self.items, minlength=self.n_items)

    def row(self, user: int) -> npt.NDArray[np.int32]:
        """The items of one user, ascending."""
        return self.items[self.offsets[user] : self.offsets[user + 1]]

    def contains(self, users: npt.NDArray[np.integer], items: npt.NDArray[np.integer]) -> npt.NDArray[np.bool_]:
        """Whether each user has interacted with each item: two arrays that broadcast, to bool of their common shape."""
        wanted = users.astype(np.int64) * self.n_items + items
        if not len(self.items):
            return np.zeros(wanted.shape, dtype=np.bool_)
        places = np.minimum(np.searchsorted(self.keys, wanted), len(self.keys) - 1)
        found: npt.NDArray[np.bool_] = self.keys[places] == wanted
        return found

    def slice_users(self, start: int, stop: int) -> Interactions:
        """The interactions of users ``start`` to ``stop - 1``, renumbered from 0."""
        offsets = self.offsets[start : stop + 1]
        return Interactions(offsets - offsets[0], self.items[offsets[0] : offsets[-1]], self.n_items)
