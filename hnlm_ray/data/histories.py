"""The histories of users in order of time: the form in which models of sequences read interactions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from hnlm_ray.errors import DataError

if TYPE_CHECKING:
    from hnlm_ray.data.interactions import Interactions

__all__ = ["Histories"]


@dataclass(frozen=True, eq=False)
class Histories:
    """The items of each user, the earliest first.

    Attributes:
        offsets: int64 (n_users + 1,); the items of user ``u`` are ``items[offsets[u]:offsets[u + 1]]``.
        items: int32 (n_pairs,), for each user in order of time.
    """

    offsets: npt.NDArray[np.int64]
    items: npt.NDArray[np.int32]

    @classmethod
    def from_table(cls, table: pa.Table, n_users: int, splits: Sequence[str] = ("train",)) -> Histories:
        """From the rows of some splits in the table ``interactions``; rows of one second stay in their order.

        Raises:
            DataError: an interaction has no time.
        """
        table = table.filter(pc.is_in(table["split"], pa.array(list(splits), pa.string())))
        if missing := table["timestamp"].null_count:
            raise DataError(
                f"{missing:,} of {len(table):,} interactions have no time, and a model of sequences needs their order",
                "name the column of times in data.columns.timestamp, or train another backbone",
            )
        users = table["user"].to_numpy()
        order = np.lexsort((table["timestamp"].to_numpy(), users))
        offsets = np.zeros(n_users + 1, dtype=np.int64)
        np.cumsum(np.bincount(users, minlength=n_users), out=offsets[1:])
        return cls(offsets, table["item"].to_numpy()[order].astype(np.int32, copy=False))

    def __len__(self) -> int:
        """The number of interactions."""
        return len(self.items)

    @property
    def n_users(self) -> int:
        """How many users there are, with or without an interaction."""
        return len(self.offsets) - 1

    @cached_property
    def users(self) -> npt.NDArray[np.int32]:
        """The user of each interaction: int32 (n_pairs,)."""
        return np.repeat(np.arange(self.n_users, dtype=np.int32), np.diff(self.offsets))

    def slice_users(self, start: int, stop: int) -> Histories:
        """The histories of users ``start`` to ``stop - 1``, renumbered from 0."""
        offsets = self.offsets[start : stop + 1]
        return Histories(offsets - offsets[0], self.items[offsets[0] : offsets[-1]])

    def orders(self, interactions: Interactions) -> bool:
        """Whether these are the interactions, put in order."""
        if not np.array_equal(self.offsets, interactions.offsets):
            return False
        keys = self.users.astype(np.int64) * interactions.n_items + self.items
        return np.array_equal(np.sort(keys), interactions.keys)
