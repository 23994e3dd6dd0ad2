"""The guard: how far an unseen item may serve as a negative of a user.

A guarded item is one that the user would probably like. Its trust, in [0, 1], multiplies the loss of the negative; an
item that is not guarded has trust 1, an excluded one 0, and samplers that choose among candidates leave it out. The
table is looked up by binary search, so that nothing of the size of users times items exists.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch

from hnlm_ray.config.guards import GuardOptions
from hnlm_ray.errors import DataError

__all__ = ["Guard", "GuardLookup"]


@dataclass(frozen=True)
class Guard:
    """The guarded items of some users.

    Attributes:
        keys: (G,) int64, ``user * n_items + item``, ascending and distinct.
        trust: (G,) float32 in [0, 1].
        n_items: size of the catalogue.
    """

    keys: npt.NDArray[np.int64]
    trust: npt.NDArray[np.float32]
    n_items: int

    @classmethod
    def from_table(cls, table: pa.Table, n_items: int, options: GuardOptions) -> Guard:
        """The guard of a variant.

        Args:
            table: ``guard``, in any order.
            n_items: size of the catalogue.
            options: of the variant.

        Raises:
            DataError: a pair occurs twice, an item is not in the catalogue, or a weight is not in [0, 1].
        """
        users, items = table["user"].to_numpy().astype(np.int64), table["item"].to_numpy()
        weights, ranks = table["weight"].to_numpy(), table["rank"].to_numpy()
        if len(items) and not 0 <= items.min() <= items.max() < n_items:
            raise DataError(f"the table guard names item {items.max()} of {n_items}", "run the stage guard again")
        if len(weights) and not 0.0 <= weights.min() <= weights.max() <= 1.0:
            raise DataError("the table guard has a weight outside [0, 1]", "run the stage guard again")
        keys = users * n_items + items
        order = np.argsort(keys, kind="stable")
        keys = keys[order]
        if (keys[1:] == keys[:-1]).any():
            raise DataError("the table guard has a pair of user and item twice", "write each pair once")
        trust = weights if options.weights else np.ones_like(weights)
        trust = np.where(ranks <= options.exclude, np.float32(0.0), trust).astype(np.float32)
        return cls(keys, trust[order], n_items)

    def slice_users(self, first: int, last: int) -> Guard:
        """Those of users ``first`` to ``last - 1``, who are renumbered from 0."""
        start, stop = np.searchsorted(self.keys, np.array([first, last], dtype=np.int64) * self.n_items)
        return Guard(self.keys[start:stop] - first * self.n_items, self.trust[start:stop], self.n_items)

    def matrix(self, n_users: int) -> npt.NDArray[np.float32]:
        """Trust of all pairs, (n_users, n_items); for data so small that the truth about every pair is known."""
        trust = np.ones((n_users, self.n_items), dtype=np.float32)
        trust.ravel()[self.keys] = self.trust
        return trust


class GuardLookup:
    """Looks up trust for the users of a block, on any device.

    Attributes:
        excludes: whether some trust is 0, so that samplers have candidates to leave out.
    """

    def __init__(self, guard: Guard, device: torch.device) -> None:
        """Copy the guard of the block to the device."""
        self.excludes = bool((guard.trust == 0.0).any())
        self._n_items = guard.n_items
        # A last key that belongs to no pair, so that every search ends inside.
        last = np.iinfo(np.int64).max
        self._keys = torch.from_numpy(np.append(guard.keys, last)).to(device)
        self._trust = torch.from_numpy(np.append(guard.trust, np.float32(1.0))).to(device)

    def trust(self, users: torch.Tensor, items: torch.Tensor) -> torch.Tensor:
        """How far each item may serve as a negative of each user.

        Args:
            users: int64 rows of the block.
            items: int64, of a shape that broadcasts with that of ``users``.

        Returns:
            float32 of the common shape, in [0, 1].
        """
        wanted = users * self._n_items + items
        places = torch.searchsorted(self._keys, wanted)
        return torch.where(self._keys[places] == wanted, self._trust[places], 1.0)
