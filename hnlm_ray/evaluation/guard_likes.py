"""The table ``guard_likes`` of a run on generated data: how many of the items that a guard lists users would like."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from hnlm_ray.data.interactions import Interactions
from hnlm_ray.evaluation.outcome import defined
from hnlm_ray.tables import GUARD_LIKES

__all__ = ["FIRST", "guard_likes"]

FIRST = (10, 30, 200)
"""How many of each user's first items are looked at."""


def guard_likes(guards: Mapping[str, pa.Table], truth: npt.NDArray[np.float32], train: Interactions) -> pa.Table:
    """The table ``guard_likes``.

    Args:
        guards: tables ``guard`` by name.
        truth: (n_users, n_items), the probability that the user likes the item.
        train: train interactions; the others are unseen.
    """
    liked = truth.sum(dtype=np.float64) - truth[train.users, train.items].sum(dtype=np.float64)
    unseen = truth.size - len(train)
    base = float(liked / unseen) if unseen else float("nan")
    rows = []
    for name, table in guards.items():
        users, items, ranks = (table[column].to_numpy() for column in ("user", "item", "rank"))
        chances = truth[users, items]
        for first in FIRST:
            found = chances[ranks <= first]
            share = float(found.mean(dtype=np.float64)) if len(found) else float("nan")
            rows.append(
                {"guard": name, "first": first, "pairs": len(found), "liked": defined(share), "unseen": defined(base)}
            )
    return pa.Table.from_pylist(rows, schema=GUARD_LIKES)
