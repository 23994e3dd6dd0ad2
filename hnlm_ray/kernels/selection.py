"""The best items of rows of scores, exactly: score descending, then item number ascending.

A service ranks one user at a time. There the dozen calls into a tensor library that :mod:`hnlm_ray.kernels.ranking`
makes cost as much as the scoring, and the library itself takes seconds and hundreds of megabytes to load, so here is a
compiled loop. The idea is the same: the ``k`` best items are in groups of neighbours whose maxima reach the ``k``-th
largest maximum, so that nearly all scores are read once and compared with nothing else.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from hnlm_ray.kernels.compiled import SCORE_OPTIONS, compiled

__all__ = ["best_items", "mask_rows"]

_GROUP = 64

_INSERTED, _SHARE = 512, 32
"""The loop keeps its best in order by insertion, which takes longer than sorting everything where ``k`` exceeds both
``_INSERTED`` and one in ``_SHARE`` of the items."""


def best_items(
    scores: npt.NDArray[np.float32], k: int
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """The ``k`` largest scores of each row; items with -inf are never taken.

    Args:
        scores: (B, I) float32, rows contiguous, no NaN.
        k: at least 1.

    Returns:
        Items (B, w) int32 and scores (B, w) float32, best first, where w is the smaller of k and I; and how many places
        of each row are filled, (B,) int64.
    """
    width = min(k, scores.shape[1])
    items = np.zeros((len(scores), width), dtype=np.int32)
    values = np.zeros((len(scores), width), dtype=np.float32)
    found = np.zeros(len(scores), dtype=np.int64)
    if not width:
        return items, values, found
    if width > max(_INSERTED, scores.shape[1] // _SHARE):
        order = np.argsort(-scores, axis=1, kind="stable")[:, :width]
        ordered = np.take_along_axis(scores, order, axis=1)
        return order.astype(np.int32), ordered, np.count_nonzero(ordered > -np.inf, axis=1)
    _kernels()[0](scores, items, values, found)
    return items, values, found


def mask_rows(
    scores: npt.NDArray[np.float32], rows: npt.NDArray[np.int64], offsets: npt.NDArray[np.int64],
    seen: npt.NDArray[np.int32], first: int = 0,
) -> None:  # fmt: skip
    """Set the scores of items that users have seen to -inf, in place.

    Args:
        scores: (B, n) float32, of the items from number ``first`` on.
        rows: (B,) int64, the number of each row's user.
        offsets: (U + 1,) int64, where the items of each user begin in ``seen``.
        seen: (nnz,) int32, each user's ascending.
        first: number of the item in the first column.
    """
    _kernels()[1](scores, first, rows, offsets, seen)


@functools.cache
def _kernels() -> tuple[Callable[..., None], Callable[..., None]]:
    return compiled(_select, **SCORE_OPTIONS), compiled(_mask, **SCORE_OPTIONS)


def _mask(scores: Any, first: Any, rows: Any, offsets: Any, seen: Any) -> None:
    last = first + scores.shape[1]
    for row in range(len(rows)):
        low, stop = offsets[rows[row]], offsets[rows[row] + 1]
        high = stop
        while low < high:  # the first item that is not before the first column
            middle = (low + high) // 2
            if seen[middle] < first:
                low = middle + 1
            else:
                high = middle
        while low < stop and seen[low] < last:
            scores[row, seen[low] - first] = -np.inf
            low += 1


def _select(scores: Any, items: Any, values: Any, found: Any) -> None:  # noqa: C901 - one loop nest
    n_items, width = scores.shape[1], items.shape[1]
    n_full = n_items // _GROUP
    n_groups = n_full + (1 if n_full * _GROUP < n_items else 0)
    maxima, best = np.empty(n_groups, np.float32), np.empty(width, np.float32)
    for row in range(scores.shape[0]):
        for group in range(n_full):  # of a length that the compiler knows, which makes it twice as fast
            part = scores[row, group * _GROUP : group * _GROUP + _GROUP]
            maximum = np.float32(-np.inf)
            for place in range(_GROUP):
                score = part[place]
                maximum = score if score > maximum else maximum
            maxima[group] = maximum
        if n_groups > n_full:
            maxima[n_full] = scores[row, n_full * _GROUP :].max()
        n_best = 0  # of the best maxima, in descending order
        for group in range(n_groups):
            maximum = maxima[group]
            if n_best < width or maximum > best[width - 1]:
                position = min(n_best, width - 1)
                while position > 0 and best[position - 1] < maximum:
                    best[position] = best[position - 1]
                    position -= 1
                best[position] = maximum
                n_best = min(n_best + 1, width)
        threshold = best[width - 1] if n_best == width else np.float32(-np.inf)
        count = 0
        for group in range(n_groups):
            if maxima[group] < threshold:
                continue
            start = group * _GROUP
            part = scores[row, start : min(start + _GROUP, n_items)]
            for place in range(part.size):
                score = part[place]
                if score < threshold or score == -np.inf or (count == width and score <= values[row, width - 1]):
                    continue
                position = min(count, width - 1)
                while position > 0 and values[row, position - 1] < score:
                    values[row, position] = values[row, position - 1]
                    items[row, position] = items[row, position - 1]
                    position -= 1
                values[row, position] = score
                items[row, position] = start + place
                count = min(count + 1, width)
        found[row] = count
