"""Small sets of interactions, written as lists."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from hnlm_ray.data.interactions import Interactions

Build = Callable[[Sequence[Sequence[int]], int], Interactions]


def build(items_per_user: Sequence[Sequence[int]], n_items: int) -> Interactions:
    offsets = np.concatenate([[0], np.cumsum([len(items) for items in items_per_user])]).astype(np.int64)
    items = np.array([item for items in items_per_user for item in sorted(items)], dtype=np.int32)
    return Interactions(offsets=offsets, items=items, n_items=n_items)
