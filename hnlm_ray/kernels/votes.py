"""Votes of the items of a history for other items, on the scale of scores whose deviation is known.

An item-item list gives each item a few others with weights; a history votes by the sum of its items' lists. Divided by
their deviation over all items, the votes of every user have the same scale, and few items have any, so that they are
added to dense scores in a moment. What the mean of the votes would subtract is the same for all items of a user.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from hnlm_ray.kernels.incidence import Pairs, incidence

if TYPE_CHECKING:
    from scipy.sparse import csr_array

    Matrix = csr_array[np.float32, tuple[int, int]]

__all__ = ["add_votes", "scaled_votes"]

_FLATTEST = 1e-6
"""Smallest deviation of votes that say anything, relative to their size: below it are rounding errors."""


def scaled_votes(history: Pairs, lists: Matrix) -> Matrix:
    """The votes (B, I) of B histories, each row over its standard deviation; float32, mostly 0.

    Args:
        history: the items of each user.
        lists: (I, I) float32, sparse; a row has what an item votes for.
    """
    votes = (incidence(history) @ lists).tocsr()
    rows, (n_rows, n_items) = _rows_of(votes), votes.shape
    exact = votes.data.astype(np.float64)
    means, squares = (np.bincount(rows, values, n_rows) / n_items for values in (exact, exact**2))
    deviations = np.sqrt(np.maximum(squares - means**2, 0.0))
    scales = np.divide(1.0, deviations, out=np.zeros(n_rows), where=deviations > _FLATTEST * np.sqrt(squares))
    votes.data = votes.data * scales.astype(np.float32)[rows]
    return votes


def add_votes(scores: npt.NDArray[np.float32], votes: Matrix) -> None:
    """Add votes (B, I) to scores (B, I) float32, in place."""
    scores[_rows_of(votes), votes.indices] += votes.data  # a row names no item twice


def _rows_of(matrix: Matrix) -> npt.NDArray[np.int64]:
    """The row of each stored value, in their order."""
    return np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
