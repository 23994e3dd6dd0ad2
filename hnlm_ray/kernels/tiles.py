"""The best items of many users at once: matrix products and selection alternate on tiles of scores.

A tile has as many users as an efficient matrix product needs, and as many items as stay in the cache until the best are
selected; the best of each user are carried from tile to tile. The order is that of :mod:`hnlm_ray.kernels.selection`:
score descending, then item number ascending.

Three passes over a row of a tile find its best: the maxima of groups of neighbours; a bound that enough of these maxima
exceed; the scores above the bound, which are in few groups. Only these are sorted. For 100 items of 20,000 that takes
half as long as keeping a sorted list (``benchmarks/batch_topk.py``).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import numpy as np
import numpy.typing as npt

from hnlm_ray.kernels.compiled import SCORE_OPTIONS, compiled
from hnlm_ray.kernels.selection import mask_rows

__all__ = ["Seen", "best_products"]

_Function = TypeVar("_Function", bound=Callable[..., Any])

_GROUP = 32
_TILE_ITEMS = (256 * _GROUP, 640 * _GROUP)
"""Fewest and most items of a tile, for small and for large ``k``: narrower tiles take more selection, because each has
its own best; wider ones leave room for fewer users."""

_TILE_SCORES = 5 << 20
"""20 MiB of float32: with half of it products take about a tenth longer, twice as much leaves the cache."""

_ROWS_PER_THREAD = 16
"""Fewest rows for which another thread pays."""


@dataclass(frozen=True)
class Seen:
    """The histories of users, whose items are left out.

    Attributes:
        rows: (B,) int64, the number of each user.
        offsets: (U + 1,) int64, where the items of each user begin in ``items``.
        items: (nnz,) int32, each user's ascending.
    """

    rows: npt.NDArray[np.int64]
    offsets: npt.NDArray[np.int64]
    items: npt.NDArray[np.int32]


def best_products(
    users: npt.NDArray[np.float32], items: npt.NDArray[np.float32], k: int, seen: Seen | None = None,
    forbidden: npt.NDArray[np.float32] | None = None,
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32], npt.NDArray[np.int64]]:  # fmt: skip
    """The items with the ``k`` largest inner products with each user.

    Args:
        users: (B, d) float32.
        items: (I, d) float32.
        k: at least 1.
        seen: items to leave out for each user.
        forbidden: (I,) float32 that is added to every row, -inf where an item is left out for all users.

    Returns:
        Items (B, w) int32 and scores (B, w) float32, best first, where w is the smaller of k and I; and how many places
        of each row are filled, (B,) int64. Besides them about 20 MiB are in memory at a time, whatever B and I are.
    """
    best = _Best(len(users), min(k, len(items)), seen, forbidden)
    across = _even(len(items), _widest(best.items.shape[1]), _GROUP)
    down = _even(len(users), max(1, _TILE_SCORES // across), 1)
    buffer = np.empty(min(down, len(users)) * min(across, len(items)), np.float32)
    threads = _threads()
    with ThreadPoolExecutor(threads) as pool:  # starts threads only as they are needed
        for start in range(0, len(users), down):
            block = users[start : start + down]
            step = max(_ROWS_PER_THREAD, -(-len(block) // threads))
            for first in range(0, len(items), across):
                vectors = items[first : first + across]
                scores = buffer[: len(block) * len(vectors)].reshape(len(block), len(vectors))
                np.matmul(block, vectors.T, out=scores)
                parts = [(scores[low : low + step], start + low, first) for low in range(0, len(block), step)]
                others = [pool.submit(best.take, *part) for part in parts[1:]]
                best.take(*parts[0])
                for other in others:
                    other.result()
    return best.items, best.values, best.found


class _Best:
    """The best items so far of each user; threads may add tiles of different users concurrently."""

    def __init__(self, n_users: int, k: int, seen: Seen | None, forbidden: npt.NDArray[np.float32] | None) -> None:
        self.items = np.zeros((n_users, k), np.int32)
        self.values = np.zeros((n_users, k), np.float32)
        self.found = np.zeros(n_users, np.int64)
        self._seen, self._forbidden = seen, forbidden

    def take(self, scores: npt.NDArray[np.float32], start: int, first: int) -> None:
        """Add a tile of scores (b, n) from user ``start`` and item ``first`` on; tiles of a user come in item order."""
        rows = slice(start, start + len(scores))
        if self._forbidden is not None:
            scores += self._forbidden[first : first + scores.shape[1]]
        if self._seen is not None:
            mask_rows(scores, self._seen.rows[rows], self._seen.offsets, self._seen.items, first)
        _select(scores, first, self.items[rows], self.values[rows], self.found[rows])


def _widest(k: int) -> int:
    """Most items of a tile."""
    narrow, wide = _TILE_ITEMS
    return max(narrow, min(wide, 16 * _GROUP * k), 2 * _GROUP * k)  # fewer groups than k would bound nothing


def _even(total: int, most: int, multiple: int) -> int:
    """Size of equal steps through ``total``: a multiple of ``multiple``, at most ``most`` or one ``multiple``."""
    steps = max(1, -(-total // most))
    return max(1, -(-total // (steps * multiple))) * multiple


def _threads() -> int:
    """As many threads as a matrix product uses; Ray sets this variable to the number of CPUs of an actor."""
    told = os.environ.get("OMP_NUM_THREADS", "")
    return max(1, int(told)) if told.isdecimal() else os.cpu_count() or 1


def _compiled(function: _Function) -> _Function:
    return cast("_Function", compiled(function, **SCORE_OPTIONS))


@_compiled
def _select(scores: Any, first: Any, items: Any, values: Any, found: Any) -> None:
    """Take the best of a tile (B, T) into the best so far, ``items`` and ``values`` (B, k) with ``found`` (B,)."""
    k = items.shape[1]
    maxima = np.empty(-(-scores.shape[1] // _GROUP), np.float32)
    hits = np.empty(len(maxima) + 1, np.int64)
    room = -(-k // 8) * 16 + 4 * _GROUP  # a multiple of 16, see _sort
    chosen, numbers = np.empty(room, np.float32), np.empty(room, np.int32)
    top, top_numbers = np.empty(k, np.float32), np.empty(k, np.int32)
    for row in range(len(scores)):
        _group_maxima(scores[row], maxima)
        before = found[row]
        chosen[:before], numbers[:before] = values[row, :before], items[row, :before]
        bound = chosen[k - 1] if before == k else _bound(maxima, k)
        n_hits, count = 0, before
        for group in range(len(maxima)):  # without a branch: which groups are hit cannot be predicted
            hits[n_hits] = group
            n_hits += 1 if maxima[group] > bound else 0
        for hit in range(n_hits):
            if count + _GROUP > room:
                count = _sort(chosen, numbers, count, top, top_numbers)
                bound = max(bound, chosen[k - 1]) if count == k else bound
            count = _above(scores[row], hits[hit], bound, first, chosen, numbers, count)
        if n_hits:
            count = _sort(chosen, numbers, count, top, top_numbers)
            values[row, :count], items[row, :count] = chosen[:count], numbers[:count]
            found[row] = count


@_compiled
def _group_maxima(scores: Any, maxima: Any) -> None:
    n_full = len(scores) // _GROUP
    for group in range(n_full):  # of a length that the compiler knows
        part = scores[group * _GROUP : group * _GROUP + _GROUP]
        maximum = np.float32(-np.inf)
        for place in range(_GROUP):
            score = part[place]
            maximum = score if score > maximum else maximum
        maxima[group] = maximum
    if n_full < len(maxima):
        maxima[n_full] = scores[n_full * _GROUP :].max()


@_compiled
def _bound(maxima: Any, k: Any) -> Any:
    """A value that at least ``k`` of the maxima exceed, and not many more; -inf where fewer exceed -inf.

    Counts are float32, which is exact here: integers would keep the loops from being vectorised.
    """
    one, zero = np.float32(1.0), np.float32(0.0)
    finite, total, high = zero, zero, np.float32(-np.inf)
    for place in range(len(maxima)):
        maximum = maxima[place]
        finite += one if maximum > -np.inf else zero
        total += maximum if maximum > -np.inf else zero
        high = maximum if maximum > high else high
    low = np.float32(-np.inf)
    if finite < k:
        return low
    probe = total / finite
    step = high - probe
    for _ in range(16):
        above = zero
        for place in range(len(maxima)):
            above += one if maxima[place] > probe else zero
        if above < k:
            high = probe
        else:
            low = probe
            if above <= k + k // 8 + 2:
                break
        if low == -np.inf:  # nothing below is known yet
            probe -= step
            step *= np.float32(2.0)
        else:
            probe = low + (high - low) * np.float32(0.5)
    return low


@_compiled
def _above(scores: Any, group: Any, bound: Any, first: Any, chosen: Any, numbers: Any, count: Any) -> Any:
    """Append the scores of a group that exceed the bound, and their items; returns the new count."""
    start = group * _GROUP
    for place in range(start, min(start + _GROUP, len(scores))):
        score = scores[place]
        if score > bound:
            chosen[count], numbers[count] = score, first + place
            count += 1
    return count


@_compiled
def _sort(chosen: Any, numbers: Any, count: Any, top: Any, top_numbers: Any) -> Any:
    """Sort the first ``count`` of ``chosen``, keeping the best k; equal scores stay in their order.

    A score's place is the number of larger ones, which one vectorised loop counts. ``top`` and ``top_numbers`` (k,) are
    room to work in. Returns how many are left.
    """
    k = len(top)
    padded = -(-count // 16) * 16
    chosen[count:padded] = -np.inf
    top_numbers[:] = -1
    for place in range(count):
        score, larger = chosen[place], np.float32(0.0)
        for other in range(padded):
            larger += np.float32(1.0) if chosen[other] > score else np.float32(0.0)
        rank = int(larger)
        while rank < k and top_numbers[rank] >= 0:
            rank += 1
        if rank < k:
            top[rank], top_numbers[rank] = score, numbers[place]
    count = min(count, k)
    chosen[:count], numbers[:count] = top[:count], top_numbers[:count]
    return count
