"""How often a sampler's negatives are things the user would like, where the truth is known.

A generated world knows the probability that each user likes each item. The false-negative rate of a sampler is the mean
of that probability over the negatives it gives to the train pairs. For samplers with a known law it is computed exactly
in expectation and nothing is drawn. A sampler sees train interactions only, so a held-out item is a candidate like any
other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from hnlm_ray.data.interactions import Interactions

__all__ = ["hardest_of_rate", "nearest_items", "pairs_rate", "weighted_rate"]

Truth = npt.NDArray[np.float32]
Floats = npt.NDArray[Any]


def weighted_rate(truth: Truth, train: Interactions, weights: Floats) -> float:
    """Negatives drawn from the user's unseen items with probability proportional to ``weights``.

    Args:
        truth: (n_users, n_items), the probability that the user likes the item.
        train: what the sampler may not draw; its number of rows per user weighs the user.
        weights: (n_items,), ones for the uniform sampler, train counts for sampling by popularity.

    Returns:
        The rate; NaN when no user has an unseen item with a weight.
    """
    total = truth @ weights - _sum_per_user(train, weights[train.items] * truth[train.users, train.items])
    mass = weights.sum() - _sum_per_user(train, weights[train.items])
    # The mass is a difference of sums: what rounding leaves of an exhausted catalogue is not a candidate.
    drawable = mass > 1e-9 * weights.sum()
    rates = np.divide(total, mass, out=np.zeros(train.n_users), where=drawable)
    return _mean(rates, train.degree * drawable)


def hardest_of_rate(
    truth: Truth, train: Interactions, user_vectors: Floats, item_vectors: Floats, candidates: int
) -> float:
    """The best-scored of ``candidates`` uniform draws: dynamic negative sampling (Zhang et al., SIGIR 2013).

    With N unseen items in ascending order of score and draws with replacement, the r-th is the best with probability
    ``(r / N)**candidates - ((r - 1) / N)**candidates``.

    Args:
        truth: as in :func:`weighted_rate`.
        train: as in :func:`weighted_rate`.
        user_vectors: (n_users, d) of the model that scores.
        item_vectors: (n_items, d).
        candidates: draws per negative.

    Returns:
        The rate; NaN when no user has an unseen item.
    """
    scores = user_vectors @ item_vectors.T
    scores[train.users, train.items] = -np.inf
    seen = train.degree
    unseen = train.n_items - seen
    order = np.argsort(scores, axis=1, kind="stable")  # the seen items come first
    rank = np.arange(1, train.n_items + 1) - seen[:, None]
    upper = np.clip(rank, 0, None) / np.maximum(unseen, 1)[:, None]
    lower = np.clip(rank - 1, 0, None) / np.maximum(unseen, 1)[:, None]
    chance = upper**candidates - lower**candidates
    rates = (chance * np.take_along_axis(truth, order, axis=1)).sum(axis=1)
    return _mean(rates, seen * (unseen > 0))


def nearest_items(train: Interactions, item_vectors: Floats) -> npt.NDArray[np.int32]:
    """For each train pair, the item nearest in text that its user has not seen.

    Args:
        train: the pairs, and what may not be chosen.
        item_vectors: (n_items, d), unit length.

    Returns:
        (pairs,) int32 in the order of ``train.items``; -1 where the user has seen every item. Of equally near items the
        smallest number.
    """
    vectors = item_vectors.astype(np.float32)
    nearest = np.full(len(train.items), -1, dtype=np.int32)
    for start, stop in zip(train.offsets[:-1], train.offsets[1:], strict=True):
        items = train.items[start:stop]
        similarity = vectors[items] @ vectors.T
        similarity[:, items] = -np.inf
        if len(items) < train.n_items:
            nearest[start:stop] = similarity.argmax(axis=1) if len(items) else []
    return nearest


def pairs_rate(truth: Truth, users: npt.NDArray[np.integer], negatives: npt.NDArray[np.integer]) -> float:
    """The rate of negatives that are known one by one; NaN without any."""
    return float(truth[users, negatives].mean(dtype=np.float64)) if len(users) else float("nan")


def _sum_per_user(train: Interactions, values: Floats) -> npt.NDArray[np.float64]:
    return np.bincount(train.users, weights=values, minlength=train.n_users).astype(np.float64)


def _mean(values: Floats, weights: Floats) -> float:
    total = weights.sum()
    return float((values * weights).sum() / total) if total else float("nan")
