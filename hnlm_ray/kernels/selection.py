"""The best items of rows of scores, exactly: score descending, then item number ascending.

A compiled loop instead of :mod:`hnlm_ray.kernels.ranking`, because a service ranks one user at a time: there a dozen
calls into a tensor library cost as much as the scoring, and the library itself takes seconds and hundreds of megabytes
to load. The idea is the same: the ``k`` best items lie in groups of neighbours whose maxima reach the ``k``-th best
maximum, so that nearly all scores are read once and compared with nothing else.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from hnlm_ray.kernels.compiled import compiled

__all__ = ["best_items", "mask_rows"]

_GROUP = 64

_INSERTED, _SHARE = 512, 32
"""The loop keeps its best in order by insertion, which for more of them than both ``_INSERTED`` and one in ``_SHARE``
items takes longer than sorting everything."""


def best_items(
    scores: npt.NDArray[np.float32], k: int
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """The ``k`` largest scores of each row; -inf marks an item that is never taken.

    Args:
        scores: (B, I) float32, rows contiguous, no NaN.
        k: at least 1.

    Returns:
        Items and scores, both (B, min(k, I)), best first, and how many places of each row are filled (B,).
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
    seen: npt.NDArray[np.int32],
) -> None:  # fmt: skip
    """Set what users have met to -inf, in place.

    Args:
        scores: (B, I) float32.
        rows: (B,) int64, the user of each row of scores.
        offsets: (U + 1,) int64, where the items of each user stand in ``seen``.
        seen: (nnz,) int32.
    """
    _kernels()[1](scores, rows, offsets, seen)


@functools.cache
def _kernels() -> tuple[Callable[..., None], Callable[..., None]]:
    """Compiled at the first use; kept on disk for the next process where that can be."""
    # Without "no NaN" the maximum of a group is not vectorised; infinities must stay what they are.
    options: dict[str, Any] = {"nogil": True, "boundscheck": False, "fastmath": {"nnan", "nsz", "reassoc"}}
    return compiled(_select, **options), compiled(_mask, **options)


def _mask(scores: Any, rows: Any, offsets: Any, seen: Any) -> None:
    for row in range(len(rows)):
        user = rows[row]
        for place in range(offsets[user], offsets[user + 1]):
            scores[row, seen[place]] = -np.inf


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
