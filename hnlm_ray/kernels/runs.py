"""Runs of equal keys in an array that is sorted by key."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["places_in_runs", "runs_of"]


def runs_of(keys: npt.NDArray[Any]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The first position and the length of each run.

    Args:
        keys: (n,), equal ones side by side.

    Returns:
        Two arrays (runs,) int64.
    """
    starts = np.flatnonzero(np.r_[True, keys[1:] != keys[:-1]]) if len(keys) else np.empty(0, np.int64)
    return starts, np.diff(np.r_[starts, len(keys)])


def places_in_runs(lengths: npt.NDArray[np.integer]) -> npt.NDArray[np.int64]:
    """The place of each element in its run, from 0.

    Args:
        lengths: (runs,) integers, the lengths of all runs in order.

    Returns:
        (n,) int64, where n is the sum of the lengths.
    """
    places: npt.NDArray[np.int64] = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    return places
