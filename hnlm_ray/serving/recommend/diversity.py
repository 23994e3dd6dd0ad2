"""Choosing items that differ from each other: maximal marginal relevance (Carbonell & Goldstein, SIGIR 1998)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from hnlm_ray.kernels.vectors import unit_rows

__all__ = ["diversify", "pool_size"]

_POOL_FACTOR, _SMALLEST_POOL = 5, 100


def pool_size(k: int) -> int:
    """From how many of the best items ``k`` are chosen."""
    return max(_POOL_FACTOR * k, _SMALLEST_POOL)


def diversify(
    scores: npt.NDArray[np.float32], vectors: npt.NDArray[np.float32], k: int, weight: float
) -> npt.NDArray[np.int64]:
    """Places of the ``k`` items to show, in the order of choice.

    Args:
        scores: (n,) float32, descending.
        vectors: (n, d) float32; items are similar by the cosine of theirs, brought from [-1, 1] to [0, 1].
        k: how many; at most n are chosen.
        weight: of the similarity, 0 to 1; that of the score, brought to [0, 1], is the rest.
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
