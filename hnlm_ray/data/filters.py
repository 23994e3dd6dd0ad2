"""Which interactions are kept. Each rule answers a mask, so that rules can be counted before they are applied."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import numpy as np
import numpy.typing as npt

__all__ = ["k_core", "keep_dated", "keep_latest", "keep_rated"]

Mask = npt.NDArray[np.bool_]


def keep_rated(rating: npt.NDArray[np.floating], minimum: float) -> Mask:
    """Rated at least ``minimum``, or not rated at all (NaN)."""
    kept: Mask = np.isnan(rating) | (rating >= minimum)
    return kept


def keep_dated(timestamp: npt.NDArray[np.int64], present: Mask, first: date | None, last: date | None) -> Mask:
    """Inside the window, both days included, in UTC; with a window, what has no time is dropped.

    Args:
        timestamp: int64 (n,), seconds since 1970.
        present: bool (n,), where ``timestamp`` means something.
        first: earliest day, or None.
        last: latest day, or None.
    """
    if first is None and last is None:
        return np.ones(len(timestamp), dtype=np.bool_)
    kept = present.copy()
    if first is not None:
        kept &= timestamp >= _midnight(first)
    if last is not None:
        kept &= timestamp < _midnight(last + timedelta(days=1))
    return kept


def k_core(users: npt.NDArray[np.integer], items: npt.NDArray[np.integer], k: int) -> Mask:
    """The largest set in which every user and every item has at least ``k`` interactions.

    Args:
        users: (n,), non-negative.
        items: (n,), non-negative; pairs are distinct.
        k: 0 and 1 keep everything.
    """
    kept = np.ones(len(users), dtype=np.bool_)
    while kept.any():
        enough_users = np.bincount(users[kept], minlength=users.max() + 1) >= k
        enough_items = np.bincount(items[kept], minlength=items.max() + 1) >= k
        left = kept & enough_users[users] & enough_items[items]
        if left.sum() == kept.sum():
            break
        kept = left
    return kept


def keep_latest(users: npt.NDArray[np.integer], order: npt.NDArray[np.integer], most: int) -> Mask:
    """The latest ``most`` interactions of each user.

    Args:
        users: (n,), in any order.
        order: (n,), rank in time, no two alike inside a user.
        most: at least 1.
    """
    sequence = np.lexsort((-order, users))
    ordered = users[sequence]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]]) if len(ordered) else np.empty(0, np.int64)
    place = np.arange(len(ordered)) - np.repeat(starts, np.diff(np.r_[starts, len(ordered)]))
    kept = np.zeros(len(users), dtype=np.bool_)
    kept[sequence[place < most]] = True
    return kept


def _midnight(day: date) -> int:
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp())
