"""Exact draws from the items that a user has not seen, in proportion to weights, without rejection.

Let ``C(j)`` be the sum of the weights of the items before ``j``, and let the history of a user be the items
``m_0 < m_1 < ...``, with ``M_k`` the sum of the weights of the first ``k`` of them. The weight of the unseen items
before ``m_k`` is ``C(m_k) - M_k``. For a number ``r`` below the weight of all unseen items, let ``k`` be the number of
items in the history with ``C(m_k) - M_k <= r``: the item drawn is the one whose weight covers ``r + M_k``.

With integer weights all of this is exact, so that an item of the history is never drawn and each of the others has its
share. ``k`` takes a binary search of ``log2(longest history)`` steps for the whole batch at once. Unlike drawing again
after a collision, the time does not depend on the length of a history.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

import numpy as np
import numpy.typing as npt
import torch

from hnlm_ray import seeds
from hnlm_ray.kernels.hashing import random_below
from hnlm_ray.samplers.protocol import NegativeSampler, Scene, Setting

if TYPE_CHECKING:
    from hnlm_ray.data.interactions import Interactions

__all__ = ["CandidateSampler", "UnseenItems", "integer_weights"]

_MOST_WEIGHT = 2**31 - 1
"""Largest sum of weights: its product with a 32-bit random number must fit an int64."""


class UnseenItems:
    """Draws unseen items for the users of a block; a draw depends on seed, epoch and place, not on the block."""

    def __init__(
        self,
        train: Interactions,
        seed: int,
        device: torch.device,
        *,
        weights: npt.NDArray[np.int64] | None = None,
        reject: bool = True,
    ) -> None:
        """Lay out the histories of a block of users.

        Args:
            train: the block's train interactions.
            seed: of the fit.
            device: where items are drawn.
            weights: (n_items,) integers of at least 1 whose sum is below 2**31; None for equal weights.
            reject: whether seen items are excluded; if not, every item can be drawn.
        """
        self._seed = seed
        self._reject = reject
        offsets = torch.from_numpy(train.offsets).to(device)
        self._start, self._stop = offsets[:-1], offsets[1:]
        self._steps = int(train.degree.max(initial=0)).bit_length()
        self._items = torch.from_numpy(train.items).to(device)
        self._before: torch.Tensor | None = None
        if weights is None:
            self._total, self._seen = train.n_items, self._stop - self._start
        else:
            self._total = int(weights.sum())
            self._weigh(train, weights, device)

    def _weigh(self, train: Interactions, weights: npt.NDArray[np.int64], device: torch.device) -> None:
        """For each item of a history, the weight of the unseen and of the seen items before it; int32 holds both."""
        before = np.concatenate([[0], np.cumsum(weights)])
        running = np.concatenate([[0], np.cumsum(weights[train.items])])
        seen_before = running[:-1] - np.repeat(running[train.offsets[:-1]], train.degree)
        unseen_before = before[train.items] - seen_before
        self._before = torch.from_numpy(before[1:]).to(device)
        self._seen = torch.from_numpy(running[train.offsets[1:]] - running[train.offsets[:-1]]).to(device)
        self._seen_before = torch.from_numpy(seen_before.astype(np.int32)).to(device)
        self._unseen_before = torch.from_numpy(unseen_before.astype(np.int32)).to(device)

    def draw(self, users: torch.Tensor, places: torch.Tensor, epoch: int, n: int) -> torch.Tensor:
        """``n`` items for each place of the epoch, with replacement.

        Args:
            users: (B,) int64, rows of the block, none of whom has seen every item.
            places: (B,) int64, position of each pair in the epoch, over all workers.
            epoch: from 1.
            n: draws per place.

        Returns:
            (B, n) int64.
        """
        counters = places[:, None] * n + torch.arange(n, device=places.device)
        key = seeds.derive(self._seed, "uniform", epoch)
        if not self._reject:
            return self._covering(random_below(key, counters, self._total))
        target = random_below(key, counters, (self._total - self._seen[users])[:, None])
        return self._covering(target + self._seen_weight_before(users, target))

    def shared(self, epoch: int, step: int, n: int) -> torch.Tensor:
        """(n,) int64 draws for a whole batch, from all items; the caller masks those that a user has seen."""
        counters = torch.arange(n, device=self._seen.device)
        return self._covering(random_below(seeds.derive(self._seed, "shared", epoch, step), counters, self._total))

    def _seen_weight_before(self, users: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """The weight of the seen items before the unseen one that is drawn."""
        if not self._steps:
            return torch.zeros_like(target)
        start, stop = self._start[users][:, None], self._stop[users][:, None]
        low, high = start.expand_as(target).clone(), stop.expand_as(target).clone()
        last = len(self._items) - 1
        for _ in range(self._steps):
            middle = (low + high) >> 1
            # The index is clamped only where the search has ended and the value is not used.
            place = middle.clamp(max=last)
            unseen = self._items[place] - (place - start) if self._before is None else self._unseen_before[place]
            below = (unseen <= target) & (low < high)
            low = torch.where(below, middle + 1, low)
            high = torch.where(below, high, middle)
        if self._before is None:
            return low - start
        return torch.where(low == stop, self._seen[users][:, None], self._seen_before[low.clamp(max=last)])

    def _covering(self, weight: torch.Tensor) -> torch.Tensor:
        """The item whose weight covers a number below the total."""
        return weight if self._before is None else torch.searchsorted(self._before, weight, right=True)


class CandidateOptions(Protocol):
    """Options of a sampler that draws candidates."""

    @property
    def candidates(self) -> int:
        """How many are drawn for each pair."""


Options = TypeVar("Options", bound=CandidateOptions)


class CandidateSampler(NegativeSampler, Generic[Options]):
    """What the samplers have in common that choose among unseen items, drawn uniformly for each pair."""

    def __init__(self, options: Options, setting: Setting) -> None:
        """Prepare to draw for the users of a block."""
        self._options = options
        self._seed = setting.seed
        self._items = UnseenItems(setting.train, setting.seed, setting.device)

    def _draw(self, scene: Scene) -> torch.Tensor:
        """(B, N) int64 candidates."""
        return self._items.draw(scene.users, scene.places, scene.epoch, self._options.candidates)


def integer_weights(weights: npt.NDArray[np.floating]) -> npt.NDArray[np.int64]:
    """Weights as integers that :class:`UnseenItems` takes, in nearly the same proportions.

    Args:
        weights: (n_items,) at least 0, not all 0.

    Returns:
        (n_items,) int64 of at least 1, which sum to just below 2**31.
    """
    room = _MOST_WEIGHT - len(weights)
    scaled: npt.NDArray[np.int64] = 1 + np.floor(weights / weights.sum() * room).astype(np.int64)
    return scaled
