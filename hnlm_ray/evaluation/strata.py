"""Accuracy by strata: of users by their activity, and of items by their popularity.

Users are grouped by quantiles of their number of train interactions. Items, from the least to the most popular, are
grouped so that each group holds an equal share of all train interactions: the first group is the long tail, the last a
few items. Equal numbers stay in one group, so groups are only about equal, and there can be fewer than planned.

For items, only held-out interactions with an item of the stratum count, and sums run over all users:

========= ===========================================================================================
recall    held-out interactions of the stratum that stand among the first ``k``, over all of them
ndcg      ``1 / log2(rank + 1)`` summed over those hits, over the same sum when every user's held-out
          items of the stratum, at most ``k``, stood at the head
========= ===========================================================================================

All strata compete for the same ranks, so the mean of their NDCG is not that of all items.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from hnlm_ray.data.interactions import Interactions
from hnlm_ray.kernels.gains import discounts, hits, ideal_gains

if TYPE_CHECKING:
    from hnlm_ray.evaluation.blocks import Evaluation

__all__ = ["N_STRATA", "Stratum", "item_strata", "strata", "user_strata"]

N_STRATA = 5

Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Stratum:
    """One figure of one stratum; the fields are columns of the table ``strata``.

    Attributes:
        kind: ``user_activity`` or ``item_popularity``.
        stratum: number from 0, the lowest.
        low: smallest number of train interactions in it.
        high: largest, inclusive.
        size: users, or held-out interactions, in it.
        metric: ``recall`` or ``ndcg``.
        k: the cut-off.
        value: NaN in a stratum without held-out interactions.
    """

    kind: str
    stratum: int
    low: int
    high: int
    size: int
    metric: str
    k: int
    value: float


def user_strata(activity: Numbers, n_strata: int = N_STRATA) -> Numbers:
    """Quantile groups of users.

    Args:
        activity: (n,) train interactions of each user.
        n_strata: how many groups, at most.

    Returns:
        (n,) int64 from 0 without gaps: the quantile of the first user with the same activity.
    """
    ordered = np.sort(activity)
    return _without_gaps(np.searchsorted(ordered, activity) * n_strata // max(len(activity), 1))


def item_strata(popularity: Numbers, n_strata: int = N_STRATA) -> Numbers:
    """Groups of items with about equal shares of the train interactions.

    Args:
        popularity: (n_items,) train interactions of each item.
        n_strata: how many groups, at most.

    Returns:
        (n_items,) int64 from 0 without gaps: the share in which the interactions with less popular items end.
    """
    ordered = np.sort(popularity)
    before = np.concatenate([[0], np.cumsum(ordered)])[np.searchsorted(ordered, popularity)]
    return _without_gaps(before * n_strata // max(int(popularity.sum()), 1))


def _without_gaps(groups: Numbers) -> Numbers:
    numbers: Numbers = np.unique(groups, return_inverse=True)[1].astype(np.int64)
    return numbers


def strata(evaluation: Evaluation, relevant: Interactions, train: Interactions, k: int) -> list[Stratum]:
    """Recall and NDCG at ``k`` of every stratum of users and of items.

    Args:
        evaluation: of one ranker on one split, with values and rankings at ``k``.
        relevant: the held-out items of that split.
        train: the train interactions that activity and popularity are counted in.
        k: the cut-off.
    """
    return [*_of_users(evaluation, train, k), *_of_items(evaluation, relevant, train, k)]


def _of_users(evaluation: Evaluation, train: Interactions, k: int) -> Iterator[Stratum]:
    activity = train.degree[evaluation.users]
    groups = user_strata(activity)
    for number in range(int(groups.max(initial=-1)) + 1):
        members = groups == number
        low, high, size = int(activity[members].min()), int(activity[members].max()), int(members.sum())
        for metric in ("recall", "ndcg"):
            value = float(evaluation.per_user[metric, k][members].mean())
            yield Stratum("user_activity", number, low, high, size, metric, k, value)


def _without_empty_rows(relevant: Interactions) -> Interactions:
    """The held-out items of the evaluated users alone, numbered from 0 as the rows of an evaluation are."""
    degree = relevant.degree
    return Interactions(np.concatenate([[0], np.cumsum(degree[degree > 0])]), relevant.items, relevant.n_items)


def _of_items(evaluation: Evaluation, relevant: Interactions, train: Interactions, k: int) -> Iterator[Stratum]:
    popularity = train.item_popularity
    groups = item_strata(popularity)
    n_groups = int(groups.max(initial=-1)) + 1
    own = _without_empty_rows(relevant)
    hit = hits(evaluation.top, own, k)
    weights, ideals = discounts(k), ideal_gains(k)
    held_out = np.bincount(own.users * np.int64(n_groups) + groups[own.items], minlength=own.n_users * n_groups)
    held_out = held_out.reshape(own.n_users, n_groups)
    for number in range(n_groups):
        members, size = popularity[groups == number], int(held_out[:, number].sum())
        hits_at = (hit & (groups[evaluation.top[:, :k]] == number)).sum(axis=0)
        # Sums over ranks of counts, not over users of gains: the same whatever the order of the users.
        ideal = float(ideals @ np.bincount(np.minimum(held_out[:, number], k), minlength=k + 1))
        found = {"recall": (float(hits_at.sum()), float(size)), "ndcg": (float(hits_at @ weights), ideal)}
        for metric, (gain, best) in found.items():
            value = gain / best if size else float("nan")
            low, high = int(members.min()), int(members.max())
            yield Stratum("item_popularity", number, low, high, size, metric, k, value)
