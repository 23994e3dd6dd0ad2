"""Which ranked items are relevant, and the two figures that models are chosen by, for a block of users.

Everything is an array over users, so that training and evaluation compute the same figures with the same code.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from hnlm_ray.kernels.incidence import Pairs

__all__ = ["check_ranking", "discounts", "hits", "ideal_gains", "ndcg", "ratio", "recall"]

Ranking = npt.NDArray[np.int32]
Hits = npt.NDArray[np.bool_]
Counts = npt.NDArray[np.int64]
Values = npt.NDArray[np.float64]


def check_ranking(top: Ranking, n_items: int) -> None:
    """Refuse a ranking that no metric is defined for.

    Args:
        top: (B, k) item numbers, -1 where there is none.
        n_items: size of the catalogue.

    Raises:
        ValueError: a number is neither an item nor -1, or a user has an item twice.
    """
    if not top.size:
        return
    ordered = np.sort(top, axis=1)
    low, high = int(ordered[:, 0].min()), int(ordered[:, -1].max())
    if low < -1 or high >= n_items:
        raise ValueError(f"a ranking holds items from {low} to {high}, expected -1 to {n_items - 1}")
    repeated = (ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0)
    if repeated.any():
        row, place = (int(axis[0]) for axis in np.nonzero(repeated))
        raise ValueError(f"a ranking holds item {ordered[row, place]} twice, in row {row}")


def hits(top: Ranking, relevant: Pairs, k: int) -> Hits:
    """Whether the item at each of the first ``k`` ranks is relevant.

    Args:
        top: (B, at least k) item numbers, best first, -1 where there is none.
        relevant: the relevant items of the same B users.
        k: the cut-off.

    Returns:
        (B, k) bool.

    Raises:
        ValueError: ``top`` has fewer than ``k`` columns or another number of users than ``relevant``, names an item
            twice for a user, or an item that does not exist.
    """
    n_users = len(relevant.offsets) - 1
    if top.shape[1] < k or len(top) != n_users:
        raise ValueError(f"top is {top.shape}, expected {n_users} users and at least {k} items")
    items = top[:, :k]
    check_ranking(items, relevant.n_items)
    found = np.zeros(items.shape, dtype=np.bool_)
    if len(relevant.items):
        # Ascending, since the items of each user are.
        keys = np.repeat(np.arange(n_users) * relevant.n_items, np.diff(relevant.offsets)) + relevant.items
        wanted = np.arange(n_users)[:, None] * relevant.n_items + items
        places = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
        found = (keys[places] == wanted) & (items >= 0)
    return found


def discounts(k: int) -> Values:
    """``1 / log2(rank + 1)`` for the ranks 1 to ``k``: (k,) float64 (Järvelin and Kekäläinen, TOIS 2002)."""
    weights: Values = 1.0 / np.log2(np.arange(2, k + 2))
    return weights


def ideal_gains(k: int) -> Values:
    """The largest discounted gain of 0 to ``k`` relevant items: (k + 1,) float64."""
    return np.concatenate([[0.0], np.cumsum(discounts(k))])


def recall(found: Hits, sizes: Counts) -> Values:
    """Share of the relevant items that were found.

    Args:
        found: (B, k) of :func:`hits`.
        sizes: (B,) number of relevant items.

    Returns:
        (B,) float64, NaN for users without relevant items.
    """
    return ratio(found.sum(axis=1), sizes)


def ndcg(found: Hits, sizes: Counts) -> Values:
    """Normalised discounted cumulative gain of binary relevance; arguments and result as in :func:`recall`."""
    k = found.shape[1]
    return ratio(found @ discounts(k), ideal_gains(k)[np.minimum(sizes, k)])


def ratio(sums: npt.NDArray[np.number], sizes: npt.NDArray[np.number]) -> Values:
    """``sums / sizes``, float64; NaN where the size is 0."""
    values: Values = np.full(len(sums), np.nan)
    np.divide(sums, sizes, out=values, where=sizes > 0)
    return values
