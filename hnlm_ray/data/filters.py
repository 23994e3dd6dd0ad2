"""Filters of interactions. Each gives a boolean mask of the rows to keep, so that what it drops can be counted."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import numpy as np
import numpy.typing as npt

from hnlm_ray.kernels.runs import places_in_runs, runs_of

__all__ = ["k_core", "keep_dated", "keep_latest", "keep_rated"]

Mask = npt.NDArray[np.bool_]


def keep_rated(rating: npt.NDArray[np.floating], minimum: float) -> Mask:
    """Keep what is rated at least ``minimum`` or not rated (NaN): mask (n,)."""
    kept: Mask = np.isnan(rating) | (rating >= minimum)
    return kept


def keep_dated(timestamp: npt.NDArray[np.number], present: Mask, first: date | None, last: date | None) -> Mask:
    """Keep what happened between two days, both included, in UTC: mask (n,).

    With a window, interactions without a timestamp are dropped.

    Args:
        timestamp: (n,), seconds since 1970.
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
    """Keep the largest set in which every user and every item has at least ``k`` interactions: mask (n,).

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
    """Keep the latest ``most`` interactions of each user: mask (n,).

    Args:
        users: (n,), in any order.
        order: (n,), rank in time; distinct for each user.
        most: at least 1.
    """
    sequence = np.lexsort((-order, users))
    place = places_in_runs(runs_of(users[sequence])[1])
    kept = np.zeros(len(users), dtype=np.bool_)
    kept[sequence[place < most]] = True
    return kept


def _midnight(day: date) -> int:
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp())
