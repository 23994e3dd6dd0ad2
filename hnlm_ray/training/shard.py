"""The block of users that one worker owns."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from hnlm_ray.data.interactions import Interactions

__all__ = ["Shard", "user_ranges"]


@dataclass(frozen=True)
class Shard:
    """One worker's users with their interactions; users are numbered from 0 inside the block.

    Attributes:
        first_user: the number of the block's first user among all.
        usable: (n_users,) int64, usable train pairs of each user of all blocks: all of them, or none of a user who has
            seen every item.
        train: the block's train interactions.
        valid: the block's validation interactions.
        item_degrees: (n_items,) int64, train interactions of each item in all blocks.
    """

    first_user: int
    usable: npt.NDArray[np.int64]
    train: Interactions
    valid: Interactions
    item_degrees: npt.NDArray[np.int64]

    @property
    def last_user(self) -> int:
        """The number of the first user after the block."""
        return self.first_user + self.train.n_users

    @property
    def n_users(self) -> int:
        """Users of all blocks together."""
        return len(self.usable)

    @cached_property
    def n_pairs(self) -> int:
        """Usable train pairs of all blocks together."""
        return int(self.usable.sum())

    @cached_property
    def first_pair(self) -> int:
        """The number of the block's first usable train pair among all, which are ordered by user."""
        return int(self.usable[: self.first_user].sum())

    @property
    def has_negatives(self) -> npt.NDArray[np.bool_]:
        """(users of the block,) bool: whether there is an item that the user has not seen."""
        return self.train.degree < self.train.n_items

    @classmethod
    def cut(cls, train: Interactions, valid: Interactions, rank: int, world_size: int) -> Shard:
        """The block of worker ``rank`` of ``world_size``."""
        first, last = user_ranges(train, world_size)[rank]
        degrees = train.degree
        return cls(
            first_user=first,
            usable=np.where(degrees < train.n_items, degrees, 0),
            train=train.slice_users(first, last),
            valid=valid.slice_users(first, last),
            item_degrees=train.item_popularity,
        )


def user_ranges(train: Interactions, world_size: int) -> list[tuple[int, int]]:
    """Contiguous ranges ``(first, last)`` of users with about as many train pairs each; some may be empty."""
    targets = np.arange(1, world_size) * len(train.items) / world_size
    cuts = np.searchsorted(train.offsets, targets).tolist()
    return list(zip([0, *cuts], [*cuts, train.n_users], strict=True))
