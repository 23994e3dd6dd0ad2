"""Exact draws from the items that a user has not seen, in proportion to weights, without rejection.

Let ``C(j)`` be the sum of the weights of the items before ``j``, and let the history of a user be the items
``m_0 < m_1 < ...``, with ``M_k`` the sum of the weights of the first ``k`` of them. The weight of the unseen items
before ``m_k`` is ``C(m_k) - M_k``. For a number ``r`` below the weight of all unseen items, let ``k`` be the number of
items in the history with ``C(m_k) - M_k <= r``: the item drawn is the one whose weight covers ``r + M_k``.

With integer weights all of this is exact, so that an item of the history is never drawn and each of the others has its
share. The numbers ``C(m_k) - M_k`` ascend inside a history; with the user's number in the upper digits they ascend over
all users, so that one binary search finds ``k`` for the whole batch. Unlike drawing again after a collision, the time
does not depend on the length of a history.
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

Numbers = TypeVar("Numbers", torch.Tensor, npt.NDArray[np.int64])

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
        starts, stops = train.offsets[:-1], train.offsets[1:]
        self._before: torch.Tensor | None = None
        if weights is None:
            self._total = train.n_items
            before, running = train.items, np.arange(len(train.items) + 1)
        else:
            self._total = int(weights.sum())
            up_to, running = np.cumsum(weights), np.r_[0, np.cumsum(weights[train.items])]
            before = (up_to - weights)[train.items]
            self._before = torch.from_numpy(up_to).to(device)
            self._running = torch.from_numpy(running).to(device)
        unseen_before = before - (running[:-1] - np.repeat(running[starts], train.degree))
        self._keys = torch.from_numpy(self._key(train.users.astype(np.int64), unseen_before)).to(device)
        self._starts = torch.from_numpy(starts).to(device)
        self._seen = torch.from_numpy(running[stops] - running[starts]).to(device)

    def _key(self, users: Numbers, unseen: Numbers) -> Numbers:
        """One number for a user and a weight of unseen items, which is at most the total: the user's first."""
        return users * (self._total + 1) + unseen

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
        starts = self._starts[users][:, None]
        stops = torch.searchsorted(self._keys, self._key(users[:, None], target), right=True)
        return stops - starts if self._before is None else self._running[stops] - self._running[starts]

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
