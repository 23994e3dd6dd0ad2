"""Items nearest to vectors, among those that a user has not met."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from hnlm_ray.data.interactions import Interactions
from hnlm_ray.kernels.ranking import ranked_block
from hnlm_ray.kernels.vectors import unit_rows

__all__ = ["neighbours_among", "unmet_neighbours"]

_ROWS_AT_ONCE = 1024


def neighbours_among(
    vectors: npt.NDArray[np.floating[Any]],
    candidates: npt.NDArray[np.int32],
    items: npt.NDArray[np.floating[Any]],
    k: int,
) -> npt.NDArray[np.int32]:
    """The ``k`` candidates nearest to each vector by cosine: (P, k) int32, -1 past the end.

    Args:
        vectors: (P, d).
        candidates: (P, L) item numbers, -1 for none; equal ones keep their order.
        items: (I, d).
        k: how many.
    """
    units = unit_rows(items)
    nearest = np.full((len(vectors), k), -1, np.int32)
    for start in range(0, len(vectors), _ROWS_AT_ONCE):
        own = candidates[start : start + _ROWS_AT_ONCE]
        near = vectors[start : start + _ROWS_AT_ONCE].astype(np.float32)
        closeness = np.where(own >= 0, np.einsum("pd,pld->pl", near, units[np.maximum(own, 0)]), -np.inf)
        order = np.argsort(-closeness, axis=1, kind="stable")[:, :k]
        chosen = np.take_along_axis(own, order, axis=1)
        nearest[start : start + _ROWS_AT_ONCE, : chosen.shape[1]] = chosen
    return nearest


def unmet_neighbours(
    vectors: npt.NDArray[np.floating[Any]],
    users: npt.NDArray[np.integer],
    items: npt.NDArray[np.floating[Any]],
    train: Interactions,
    k: int,
) -> npt.NDArray[np.int32]:
    """The ``k`` items nearest to each vector by cosine that its user has not met: (P, k) int32, -1 past the end.

    Args:
        vectors: (P, d).
        users: (P,) of the vectors, in any order; users may repeat.
        items: (I, d).
        train: what users have met.
        k: how many.
    """
    units = unit_rows(items)
    nearest = np.full((len(vectors), k), -1, np.int32)
    for start in range(0, len(vectors), _ROWS_AT_ONCE):
        rows = slice(start, start + _ROWS_AT_ONCE)
        met = [train.row(int(user)) for user in users[rows]]
        counts = [len(own) for own in met]
        pairs = np.repeat(np.arange(len(met)), counts), np.concatenate(met)
        seen = Interactions.from_pairs(*pairs, len(met), train.n_items)
        nearest[rows] = ranked_block(vectors[rows].astype(np.float32), units, seen, k).items
    return nearest
