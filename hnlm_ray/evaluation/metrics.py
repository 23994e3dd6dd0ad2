"""Accuracy of each user's ranking, vectorised over a block of users.

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

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from hnlm_ray.kernels.gains import hits, ndcg, ratio, recall
from hnlm_ray.kernels.incidence import Pairs

__all__ = ["METRICS", "accuracy"]

Hits = npt.NDArray[np.bool_]
Counts = npt.NDArray[np.int64]
Values = npt.NDArray[np.float64]


def accuracy(top: npt.NDArray[np.int32], relevant: Pairs, cutoffs: Sequence[int]) -> dict[tuple[str, int], Values]:
    """Every metric of every user at every cut-off.

    Args:
        top: (B, at least the deepest cut-off) item numbers, best first, -1 where there is none.
        relevant: the held-out items of the same B users.
        cutoffs: where to measure, each at least 1.

    Returns:
        By metric and cut-off, in the order of :data:`METRICS`: (B,) float64, NaN for users without held-out items.

    Raises:
        ValueError: ``top`` is not so deep or has another number of users, or among the ranks that are measured a user
            has an item twice or one that does not exist.
    """
    found, sizes = hits(top, relevant, max(cutoffs)), np.diff(relevant.offsets)
    return {
        (name, k): np.where(sizes > 0, metric(found[:, :k], sizes), np.nan)
        for name, metric in METRICS.items()
        for k in cutoffs
    }


def _average_precision(found: Hits, sizes: Counts) -> Values:
    precisions = found.cumsum(axis=1) / np.arange(1, found.shape[1] + 1)
    return ratio((precisions * found).sum(axis=1), sizes)


METRICS: Mapping[str, Callable[[Hits, Counts], npt.ArrayLike]] = {
    "recall": recall,
    "ndcg": ndcg,
    "precision": lambda found, sizes: found.mean(axis=1),
    "hit_rate": lambda found, sizes: found.any(axis=1),
    "mrr": lambda found, sizes: found.any(axis=1) / (found.argmax(axis=1) + 1.0),
    "map": _average_precision,
}
"""By the name in the table ``metrics``: functions of the hits (B, k) and the numbers of held-out items (B,)."""
