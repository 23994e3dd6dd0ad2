"""The nearest other rows of some rows, exactly and block by block."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hnlm_ray.kernels.incidence import PairRows
from hnlm_ray.kernels.ranking import Ranked, ranked_block, ranked_scores

__all__ = ["Nearest", "nearest_by_scores", "nearest_rows"]


@dataclass(frozen=True)
class Nearest:
    """The neighbours of some rows.

    Attributes:
        rows: (N,) int32, each row as often as it has neighbours.
        neighbours: (N,) int32, the nearest first.
        similarities: (N,) float32, above 0.
    """

    rows: npt.NDArray[np.int32]
    neighbours: npt.NDArray[np.int32]
    similarities: npt.NDArray[np.float32]


def _themselves(start: int, stop: int, n_items: int) -> PairRows:
    """Each row's own number, as what it has seen."""
    return PairRows(np.arange(stop - start + 1), np.arange(start, stop, dtype=np.int32), n_items)


def nearest_rows(units: npt.NDArray[np.float32], start: int, stop: int, count: int) -> Nearest:
    """The nearest other rows of rows ``start`` to ``stop - 1`` by inner product.

    Args:
        units: (n, d) float32 of unit length, or zeros.
        start: first row.
        stop: the one after the last row.
        count: neighbours of a row, at most; those with a product of 0 or below are left out.
    """
    ranked = ranked_block(units[start:stop], units, _themselves(start, stop, len(units)), count)
    similarities = np.einsum("rd,rkd->rk", units[start:stop], units[ranked.items])
    return _listed(ranked, similarities, start)


def nearest_by_scores(scores: npt.NDArray[np.float32], start: int, count: int) -> Nearest:
    """The same by given similarities (B, n) of the rows from ``start`` on to all rows."""
    own = _themselves(start, start + len(scores), scores.shape[1])
    ranked = ranked_scores(scores, own, count)
    return _listed(ranked, np.take_along_axis(scores, np.maximum(ranked.items, 0), axis=1), start)


def _listed(ranked: Ranked, similarities: npt.NDArray[np.floating[Any]], start: int) -> Nearest:
    rows, places = np.nonzero((ranked.items >= 0) & (similarities > 0.0))
    kept = similarities[rows, places].astype(np.float32)
    return Nearest((rows + start).astype(np.int32), ranked.items[rows, places], kept)
