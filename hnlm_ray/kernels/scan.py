"""Exact recommendations for one user at a quarter of the memory traffic.

The scores of one user are the product of a matrix with a vector, which takes as long as reading the matrix: only fewer
bytes make it faster. So a second copy of the items has eight bits per coordinate, with a bound on the error of each. A
first pass over this copy gives an interval for every score; the few dozen items whose interval reaches into the best
``k`` are scored again from the full vectors. The result is the same as that of scoring every item in full.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from hnlm_ray.kernels.compiled import compiled
from hnlm_ray.kernels.selection import best_items

__all__ = ["Scan"]

Floats = npt.NDArray[np.float32]

_ITEM_STEPS, _USER_STEPS = 127, 32767
_WIDEST = 512
"""Most coordinates for which a sum of products fits 32 bits."""

_SLACK = np.float32(1.0 + 1e-3)
"""Factor that covers the rounding of the bounds themselves."""

_ROWS_AT_ONCE = 65_536
_SMALLEST = np.finfo(np.float32).min


class Scan:
    """The items of a catalogue in eight bits per coordinate; safe to use from several threads."""

    def __init__(self, item_vectors: Floats) -> None:
        """Quantise the items.

        Args:
            item_vectors: (I, d) float32, d at most 512.
        """
        n_items, dim = item_vectors.shape
        assert dim <= _WIDEST
        self._vectors, self._rooms = item_vectors, threading.local()
        self._codes = np.empty((n_items, dim), np.int8)
        self._scales, self._errors, self._lengths = (np.empty(n_items, np.float32) for _ in range(3))
        for start in range(0, n_items, _ROWS_AT_ONCE):
            rows = slice(start, start + _ROWS_AT_ONCE)
            vectors = item_vectors[rows]
            scales = np.maximum(np.abs(vectors).max(axis=1), np.float32(1e-30)) / np.float32(_ITEM_STEPS)
            self._codes[rows] = np.rint(vectors / scales[:, None])
            rebuilt = self._codes[rows] * scales[:, None]
            self._scales[rows] = scales
            self._errors[rows] = np.linalg.norm(vectors - rebuilt, axis=1) * _SLACK
            self._lengths[rows] = np.linalg.norm(rebuilt, axis=1) * _SLACK

    def _room(self) -> tuple[npt.NDArray[np.int32], Floats, Floats]:
        """Three arrays (I,) of this thread to work in: fresh memory would cost more than the pass that fills it."""
        if not hasattr(self._rooms, "arrays"):
            n_items = len(self._codes)
            self._rooms.arrays = (
                np.empty(n_items, np.int32),
                np.empty(n_items, np.float32),
                np.empty(n_items, np.float32),
            )
        arrays: tuple[npt.NDArray[np.int32], Floats, Floats] = self._rooms.arrays
        return arrays

    @staticmethod
    def suits(n_items: int, dim: int) -> bool:
        """Whether there are enough vectors for a scan to pay, and few enough coordinates."""
        return n_items >= 4096 and dim <= _WIDEST

    def best(
        self, user: Floats, k: int, seen: npt.NDArray[np.int32], forbidden: Floats | None
    ) -> tuple[npt.NDArray[np.int32], Floats]:
        """The ``k`` best items, (at most k,) int32, and their scores, float32; best first, ties by item number.

        Args:
            user: (d,) float32.
            k: at least 1.
            seen: (n,) int32, numbers of items to leave out.
            forbidden: (I,) float32, -inf for items to leave out and 0 for others; None to leave out none.
        """
        scale = max(float(np.abs(user).max()), 1e-30) / _USER_STEPS
        steps = np.rint(user / np.float32(scale)).astype(np.int16)
        length = np.float32(np.linalg.norm(user)) * _SLACK
        rest = np.float32(np.linalg.norm(user - steps * np.float32(scale))) * _SLACK
        totals, low, width = self._room()
        bounds = (self._scales, self._errors, self._lengths)
        _kernel(self._codes.shape[1])(self._codes, *bounds, steps, np.float32(scale), length, rest, totals, low, width)
        if forbidden is not None:
            low += forbidden
        low[seen] = -np.inf
        _, lowest, (found,) = best_items(low[None], k)
        if found == 0:
            return np.empty(0, np.int32), np.empty(0, np.float32)
        reach = lowest[0, found - 1] if found == min(k, len(low)) else np.float32(-np.inf)
        low += width
        # A comparison with the smallest number leaves out -inf, whatever the reach is.
        candidates = np.flatnonzero(low >= max(reach, _SMALLEST)).astype(np.int32)
        scores = self._vectors[candidates] @ user
        items, values, (found,) = best_items(scores[None], k)
        return candidates[items[0, :found]], values[0, :found]


@functools.cache
def _kernel(dim: int) -> Callable[..., None]:
    """The first pass, compiled for vectors of one width, which must be a constant for the compiler."""

    def bound(
        codes: Any, scales: Any, errors: Any, lengths: Any, steps: Any, scale: Any, length: Any, rest: Any,
        totals: Any, low: Any, width: Any,
    ) -> None:  # fmt: skip
        """Compute the lower ends of the intervals of all scores, and their widths.

        With v = q + e and u = p + f, the product u.v differs from p.q by at most |e| |u| + |q| |f|.
        """
        for item in range(codes.shape[0]):
            total = np.int32(0)
            for place in range(dim):
                total += np.int32(codes[item, place]) * np.int32(steps[place])
            totals[item] = total  # turned into a float here, the loop would take four times as long
        for item in range(codes.shape[0]):
            middle = np.float32(totals[item]) * (scales[item] * scale)
            # 32-bit floats hold 24 bits of the sum.
            error = errors[item] * length + lengths[item] * rest + abs(middle) * np.float32(1e-6)
            low[item] = middle - error
            width[item] = np.float32(2.0) * error

    return compiled(bound, nogil=True, boundscheck=False, fastmath=True)
