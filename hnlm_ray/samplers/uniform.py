"""The plain sampler: every item that the user has not met in train, with equal probability."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from hnlm_ray import seeds
from hnlm_ray.tables import pair_id

if TYPE_CHECKING:
    from hnlm_ray.data.interactions import Interactions

__all__ = ["UniformSampler"]


class UniformSampler:
    """Exactly uniform over the unmet items, in one draw and without rejection.

    A user who has met ``m`` of ``n`` items leaves ``n - m``; the draw picks the rank ``r`` of one of them. As the met
    items are sorted, ``met[k] - k`` unmet items lie below the ``k``-th met one, so the ``r``-th unmet item is
    ``r + k`` with ``k`` the number of met items for which ``met[k] - k <= r``: a binary search of ``log2(m)`` steps
    for the whole batch at once. Unlike drawing again after a collision, the time does not depend on how much a user
    has met.
    """

    def __init__(self, train: Interactions, seed: int, first_user: int = 0) -> None:
        """Prepare to draw for one block of users.

        Args:
            train: the block's train interactions.
            seed: of the fit; a draw depends on it, on the epoch and on the pair, and on nothing else.
            first_user: the number of the block's first user, 0 when the block is everyone.
        """
        self._seed = seed
        self._first_user = first_user
        self._offsets = train.offsets
        self._items = train.items
        self._n_items = train.n_items
        self._n_unmet = train.n_items - train.degree
        self._steps = int(train.degree.max(initial=0)).bit_length()

    def draw(self, users: npt.NDArray[np.int32], items: npt.NDArray[np.int32], epoch: int) -> npt.NDArray[np.int32]:
        """See :meth:`hnlm_ray.samplers.protocol.NegativeSampler.draw`."""
        pairs = pair_id(users.astype(np.int64) + self._first_user, items.astype(np.int64), self._n_items)
        words = seeds.hash_counters(seeds.derive(self._seed, "uniform", epoch), pairs) >> np.uint64(32)
        n_unmet = self._n_unmet[users]
        ranks = ((words * n_unmet.astype(np.uint64)) >> np.uint64(32)).astype(np.int64)
        negatives = (ranks + self._met_below(users, ranks)).astype(np.int32)
        negatives[n_unmet == 0] = -1
        return negatives

    def _met_below(self, users: npt.NDArray[np.int32], ranks: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """How many of the user's met items stand before the unmet item of rank ``ranks``."""
        start = self._offsets[users]
        low, high = np.zeros_like(start), self._offsets[users + 1] - start
        for _ in range(self._steps):
            middle = (low + high) // 2
            is_open = low < high
            # The index is clipped only for rows whose search is over and whose value is not used.
            met = self._items[np.minimum(start + middle, len(self._items) - 1)]
            is_below = is_open & (met - middle <= ranks)
            low = np.where(is_below, middle + 1, low)
            high = np.where(is_open & ~is_below, middle, high)
        return low
