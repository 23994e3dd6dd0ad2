"""Reranking for diversity by maximal marginal relevance (Carbonell & Goldstein, SIGIR 1998)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from hnlm_ray.kernels.vectors import unit_rows

__all__ = ["diversify", "pool_size"]

_POOL_FACTOR, _SMALLEST_POOL = 5, 100


def pool_size(k: int) -> int:
    """Number of the best items from which ``k`` are chosen."""
    return max(_POOL_FACTOR * k, _SMALLEST_POOL)


def diversify(
    scores: npt.NDArray[np.float32], vectors: npt.NDArray[np.float32], k: int, weight: float
) -> npt.NDArray[np.int64]:
    """Positions of the ``k`` items to show, (at most k,) int64, in the order in which they are chosen.

    Each step takes the item with the largest ``(1 - weight) * relevance - weight * similarity``: the relevance is its
    score, scaled linearly to [0, 1]; the similarity is the largest cosine with an item chosen before, scaled to [0, 1].

    Args:
        scores: (n,) float32, descending.
        vectors: (n, d) float32 of the items.
        k: at most n are chosen.
        weight: 0 to 1.
    """
    units = unit_rows(vectors)
    spread = float(scores[0] - scores[-1]) if len(scores) else 0.0
    relevance = (scores - scores[-1]) / spread if spread > 0 else np.ones(len(scores), np.float32)
    value = (1.0 - weight) * relevance
    closest = np.zeros(len(scores), np.float32)
    chosen = np.empty(min(k, len(scores)), dtype=np.int64)
    for place in range(len(chosen)):
        best = int(np.argmax(value - weight * closest))
        chosen[place] = best
        value[best] = -np.inf
        np.maximum(closest, (units @ units[best] + 1.0) / 2.0, out=closest)
    return chosen
