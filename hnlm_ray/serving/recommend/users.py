"""The users of a bundle: ids, numbers and histories."""

from __future__ import annotations

import bisect
import functools
import itertools
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from hnlm_ray.serving.bundle.contents import Contents

__all__ = ["Users"]

_IDS_AT_ONCE = 10_000
"""Ids added to the dictionary in one call: a call for a million of them would block every other thread."""


class Users:
    """Users with at least one interaction, by id; safe to use from several threads.

    A user without interactions has a vector that nothing has trained, and counts as unknown.
    """

    def __init__(self, contents: Contents) -> None:
        self._offsets, self._seen = contents.seen_offsets, contents.seen_items
        self._numbers: dict[str, int] = {}
        known = np.flatnonzero(np.diff(self._offsets))
        ids = contents.users["user_id"].to_numpy(zero_copy_only=False)
        for start in range(0, len(known), _IDS_AT_ONCE):
            rows = known[start : start + _IDS_AT_ONCE]
            self._numbers.update(zip(ids[rows].tolist(), rows.tolist(), strict=True))

    def __contains__(self, user_id: str) -> bool:
        return user_id in self._numbers

    def __getitem__(self, user_id: str) -> int:
        """The number of a user; KeyError for an unknown one."""
        return self._numbers[user_id]

    @property
    def ids(self) -> list[str]:
        """Ids in the order of the bundle."""
        return list(self._numbers)

    def numbers(self, user_ids: Sequence[str]) -> npt.NDArray[np.int64]:
        """(n,) int64: the number of each user, -1 for an unknown one."""
        numbers = self._numbers
        return np.array([numbers.get(user_id, -1) for user_id in user_ids], dtype=np.int64)

    def history(self, number: int) -> npt.NDArray[np.int32]:
        """Numbers of the items that a user has interacted with, ascending."""
        return self._seen[self._offsets[number] : self._offsets[number + 1]]

    def search(self, prefix: str, limit: int) -> list[str]:
        """The first ``limit`` ids that begin with a prefix, in alphabetical order."""
        start = bisect.bisect_left(self._sorted_ids, prefix)
        found = itertools.takewhile(lambda user_id: user_id.startswith(prefix), self._sorted_ids[start : start + limit])
        return list(found)

    @functools.cached_property
    def _sorted_ids(self) -> list[str]:
        # Arrow releases the interpreter lock meanwhile; its order of bytes is that of characters.
        ids = self.ids
        return [ids[place] for place in pc.sort_indices(pa.array(ids, pa.string())).to_numpy().tolist()]
