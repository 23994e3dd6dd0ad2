"""Looks up whether users have seen items, on any device and without a copy to the host."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from hnlm_ray.data.interactions import Interactions

__all__ = ["SeenItems"]

_MOST_BITMAP_BYTES = 1 << 28


class SeenItems:
    """The history of each user: one bit per user and item where that fits 256 MiB, else sorted pairs to search."""

    def __init__(self, train: Interactions, device: torch.device, most_bytes: int = _MOST_BITMAP_BYTES) -> None:
        """Lay out the interactions of one block of users.

        Args:
            train: the block's train interactions.
            device: where lookups are made.
            most_bytes: size of the bit map above which pairs are searched.
        """
        self._n_items = train.n_items
        self._bits: torch.Tensor | None = None
        n_bytes = -(-train.n_users * train.n_items // 8)
        if n_bytes <= most_bytes:
            bits = np.zeros(n_bytes, dtype=np.uint8)
            np.bitwise_or.at(bits, train.keys >> 3, np.uint8(1) << (train.keys & 7).astype(np.uint8))
            self._bits = torch.from_numpy(bits).to(device)
        else:
            # A last key that belongs to no pair, so that every search ends inside.
            self._keys = torch.from_numpy(np.append(train.keys, train.n_users * train.n_items)).to(device)

    def contains(self, users: torch.Tensor, items: torch.Tensor) -> torch.Tensor:
        """Whether each user has seen each item.

        Args:
            users: int64 rows of the block.
            items: int64, of a shape that broadcasts with that of ``users``.

        Returns:
            bool of the common shape.
        """
        wanted = users * self._n_items + items
        if self._bits is not None:
            return ((self._bits[wanted >> 3] >> (wanted & 7).to(torch.uint8)) & 1).bool()
        return self._keys[torch.searchsorted(self._keys, wanted)] == wanted
