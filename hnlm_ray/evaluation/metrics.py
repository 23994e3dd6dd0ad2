"""Ranking metrics of each user, vectorised over a block of users.

With ``T`` the held-out items of a user and ``hit(r)`` 1 where the item at rank ``r`` (from 1) is in ``T``:

============== ================================================================ ==========================
metric         definition at ``k``                                              ``ir_measures`` name
============== ================================================================ ==========================
recall         sum of hits / ``|T|``                                            ``R@k``
ndcg           sum of ``hit(r) / log2(r + 1)`` over the same sum for            ``nDCG@k``
               ``min(k, |T|)`` hits at the head
precision      sum of hits / ``k``                                              ``P@k``
hit_rate       1 when there is a hit                                            ``Success@k``
mrr            1 / rank of the first hit, 0 without one                         ``RR@k``
map            sum of ``hit(r)`` times precision at ``r``, / ``|T|``            ``AP@k``
============== ================================================================ ==========================

Average precision divides by ``|T|`` and not by ``min(k, |T|)``, as trec_eval does: a user with more held-out items than
``k`` cannot reach 1. A user without held-out items has no value: NaN, left out of every mean.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from hnlm_ray.data.interactions import Interactions

__all__ = [
    "METRICS",
    "SELECTION_CUTOFF",
    "average_precision",
    "coverage",
    "hit_rate",
    "hits",
    "mrr",
    "ndcg",
    "precision",
    "recall",
]

Ranking = npt.NDArray[np.int32]
Values = npt.NDArray[np.float64]


SELECTION_CUTOFF = 20
"""Models are chosen on validation NDCG at this cut-off, whatever else is reported."""


def recall(top: Ranking, relevant: Interactions, k: int) -> Values:
    """Share of the held-out items that stand among the first ``k``.

    Args:
        top: (B, at least k) item numbers, best first, -1 where there is none.
        relevant: the held-out items of the same B users.
        k: the cut-off.

    Returns:
        (B,) float64, NaN for users without held-out items.

    Raises:
        ValueError: ``top`` has fewer than ``k`` columns, or another number of users than ``relevant``.
    """
    return _per_relevant(hits(top, relevant, k).sum(axis=1), relevant.degree)


def ndcg(top: Ranking, relevant: Interactions, k: int) -> Values:
    """Normalised discounted cumulative gain (Järvelin and Kekäläinen, 2002), binary; arguments as in :func:`recall`."""
    discounts = 1.0 / np.log2(np.arange(2, k + 2))
    ideal = np.concatenate([[0.0], np.cumsum(discounts)])[np.minimum(relevant.degree, k)]
    return _per_relevant(hits(top, relevant, k) @ discounts, ideal)


def precision(top: Ranking, relevant: Interactions, k: int) -> Values:
    """Share of the first ``k`` places that hold a held-out item; arguments as in :func:`recall`."""
    return _where_any(hits(top, relevant, k).mean(axis=1), relevant)


def hit_rate(top: Ranking, relevant: Interactions, k: int) -> Values:
    """1 when any held-out item stands among the first ``k``, else 0; arguments as in :func:`recall`."""
    return _where_any(hits(top, relevant, k).any(axis=1).astype(np.float64), relevant)


def mrr(top: Ranking, relevant: Interactions, k: int) -> Values:
    """Reciprocal of the rank of the first hit, 0 without a hit; arguments as in :func:`recall`."""
    found = hits(top, relevant, k)
    return _where_any(found.any(axis=1) / (found.argmax(axis=1) + 1.0), relevant)


def average_precision(top: Ranking, relevant: Interactions, k: int) -> Values:
    """Precision at each hit, summed and divided by ``|T|``; arguments as in :func:`recall`."""
    found = hits(top, relevant, k)
    precisions = found.cumsum(axis=1) / np.arange(1, k + 1)
    return _per_relevant((precisions * found).sum(axis=1), relevant.degree)


METRICS: Mapping[str, Callable[[Ranking, Interactions, int], Values]] = {
    "recall": recall,
    "ndcg": ndcg,
    "precision": precision,
    "hit_rate": hit_rate,
    "mrr": mrr,
    "map": average_precision,
}
"""Every per-user metric by its name in the table ``metrics``."""


def coverage(top: Ranking, n_items: int, k: int) -> float:
    """Share of the catalogue that stands among the first ``k`` of at least one user.

    Args:
        top: (users, at least k) item numbers, -1 where there is none.
        n_items: size of the catalogue.
        k: the cut-off.
    """
    recommended = np.unique(top[:, :k])
    return float((recommended >= 0).sum() / n_items)


def hits(top: Ranking, relevant: Interactions, k: int) -> npt.NDArray[np.bool_]:
    """(B, k): whether the item at each rank is held out; arguments as in :func:`recall`."""
    if top.shape[1] < k or len(top) != relevant.n_users:
        raise ValueError(f"top is {top.shape}, expected {relevant.n_users} users and at least {k} items")
    items = top[:, :k].ravel()
    users = np.repeat(np.arange(len(top)), k)
    found = np.zeros(items.shape, dtype=np.bool_)
    real = items >= 0
    found[real] = relevant.contains(users[real], items[real])
    return found.reshape(-1, k)


def _per_relevant(sums: npt.NDArray[np.number], sizes: npt.NDArray[np.number]) -> Values:
    """``sums / sizes``, NaN where the size is 0."""
    values: Values = np.full(len(sums), np.nan)
    np.divide(sums, sizes, out=values, where=sizes > 0)
    return values


def _where_any(values: npt.ArrayLike, relevant: Interactions) -> Values:
    return np.where(relevant.degree > 0, values, np.nan)
