"""Exact draws from the items that a user has not met, in proportion to weights, without rejection.

Let ``C(j)`` be the sum of the weights of the items before ``j``, and let a user have met the items ``m_0 < m_1 < ...``
with ``M_k`` the sum of the weights of the first ``k`` of them. The unmet weight before ``m_k`` is ``C(m_k) - M_k``. For
a number ``r`` below the user's unmet weight, let ``k`` be the number of met items with ``C(m_k) - M_k <= r``: the item
drawn is the one whose weight covers ``r + M_k``. With whole-number weights all of this is exact, so a met item is never
drawn and every unmet one has its share. ``k`` takes a binary search of ``log2(most met items)`` steps for the whole
batch at once; unlike drawing again after a collision, the time does not depend on how much a user has met.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch

from hnlm_ray import seeds
from hnlm_ray.kernels.hashing import random_below

if TYPE_CHECKING:
    from hnlm_ray.data.interactions import Interactions

__all__ = ["UnmetItems", "whole_weights"]

_MOST_WEIGHT = 2**31 - 1
"""Largest sum of weights: its product with a 32-bit random number must fit an int64."""


class UnmetItems:
    """Draws for the users of one block; draws depend on the seed, the epoch and the place, never on the block."""

    def __init__(
        self,
        train: Interactions,
        seed: int,
        device: torch.device,
        *,
        weights: npt.NDArray[np.int64] | None = None,
        reject: bool = True,
    ) -> None:
        """Prepare.

        Args:
            train: the block's train interactions.
            seed: of the fit.
            device: where draws are made.
            weights: (n_items,) whole numbers of at least 1 whose sum is below 2**31; None weighs all alike.
            reject: whether met items are kept out; if not, every item can be drawn.
        """
        self._seed = seed
        self._reject = reject
        offsets = torch.from_numpy(train.offsets).to(device)
        self._start, self._stop = offsets[:-1], offsets[1:]
        self._steps = int(train.degree.max(initial=0)).bit_length()
        self._items = torch.from_numpy(train.items).to(device)
        self._before: torch.Tensor | None = None
        if weights is None:
            self._total, self._met = train.n_items, self._stop - self._start
        else:
            self._total = int(weights.sum())
            self._weigh(train, weights, device)

    def _weigh(self, train: Interactions, weights: npt.NDArray[np.int64], device: torch.device) -> None:
        """Of each met item, the weight of the unmet ones and of the user's met ones before it; int32 holds both."""
        before = np.concatenate([[0], np.cumsum(weights)])
        running = np.concatenate([[0], np.cumsum(weights[train.items])])
        met_before = running[:-1] - np.repeat(running[train.offsets[:-1]], train.degree)
        unmet_before = before[train.items] - met_before
        self._before = torch.from_numpy(before[1:]).to(device)
        self._met = torch.from_numpy(running[train.offsets[1:]] - running[train.offsets[:-1]]).to(device)
        self._met_before = torch.from_numpy(met_before.astype(np.int32)).to(device)
        self._unmet_before = torch.from_numpy(unmet_before.astype(np.int32)).to(device)

    def draw(self, users: torch.Tensor, places: torch.Tensor, epoch: int, n: int) -> torch.Tensor:
        """``n`` items for each place of the epoch, with replacement.

        Args:
            users: (B,) int64, rows of the block; none may have met every item.
            places: (B,) int64, the place of each pair in the epoch, over all workers.
            epoch: from 1.
            n: draws per place.

        Returns:
            (B, n) int64.
        """
        counters = places[:, None] * n + torch.arange(n, device=places.device)
        key = seeds.derive(self._seed, "uniform", epoch)
        if not self._reject:
            return self._covering(random_below(key, counters, self._total))
        target = random_below(key, counters, (self._total - self._met[users])[:, None])
        return self._covering(target + self._met_weight_before(users, target))

    def shared(self, epoch: int, step: int, n: int) -> torch.Tensor:
        """(n,) int64 draws for a whole batch, whoever is in it; met items are for the caller to mask."""
        counters = torch.arange(n, device=self._met.device)
        return self._covering(random_below(seeds.derive(self._seed, "shared", epoch, step), counters, self._total))

    def _met_weight_before(self, users: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """The weight of the met items that stand before the drawn unmet one."""
        if not self._steps:
            return torch.zeros_like(target)
        start, stop = self._start[users][:, None], self._stop[users][:, None]
        low, high = start.expand_as(target).clone(), stop.expand_as(target).clone()
        last = len(self._items) - 1
        for _ in range(self._steps):
            middle = (low + high) >> 1
            # The index is clamped only where the search is over and the value is not used.
            place = middle.clamp(max=last)
            unmet = self._items[place] - (place - start) if self._before is None else self._unmet_before[place]
            below = (unmet <= target) & (low < high)
            low = torch.where(below, middle + 1, low)
            high = torch.where(below, high, middle)
        if self._before is None:
            return low - start
        return torch.where(low == stop, self._met[users][:, None], self._met_before[low.clamp(max=last)])

    def _covering(self, weight: torch.Tensor) -> torch.Tensor:
        """The item whose weight covers a number below the total."""
        return weight if self._before is None else torch.searchsorted(self._before, weight, right=True)


def whole_weights(weights: npt.NDArray[np.floating]) -> npt.NDArray[np.int64]:
    """Weights as whole numbers of at least 1 that sum to just below 2**31, in nearly the same proportions."""
    room = _MOST_WEIGHT - len(weights)
    whole: npt.NDArray[np.int64] = 1 + np.floor(weights / weights.sum() * room).astype(np.int64)
    return whole
