"""Whether users have met items, on any device and without a copy to the host."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from hnlm_ray.data.interactions import Interactions

__all__ = ["Met"]

_MOST_BITMAP_BYTES = 1 << 28


class Met:
    """One bit per user and item where that fits 256 MiB, else a binary search in the sorted pairs."""

    def __init__(self, train: Interactions, device: torch.device, most_bytes: int = _MOST_BITMAP_BYTES) -> None:
        """Lay out the interactions of one block of users."""
        self._n_items = train.n_items
        self._bits: torch.Tensor | None = None
        n_bytes = -(-train.n_users * train.n_items // 8)
        if n_bytes <= most_bytes:
            bits = np.zeros(n_bytes, dtype=np.uint8)
            np.bitwise_or.at(bits, train.keys >> 3, np.uint8(1) << (train.keys & 7).astype(np.uint8))
            self._bits = torch.from_numpy(bits).to(device)
        else:
            # The last key is nobody's, so that every search ends inside.
            self._keys = torch.from_numpy(np.append(train.keys, train.n_users * train.n_items)).to(device)

    def contains(self, users: torch.Tensor, items: torch.Tensor) -> torch.Tensor:
        """Bool of the common shape of two int64 tensors: rows of the block, and items."""
        wanted = users * self._n_items + items
        if self._bits is not None:
            return ((self._bits[wanted >> 3] >> (wanted & 7).to(torch.uint8)) & 1).bool()
        return self._keys[torch.searchsorted(self._keys, wanted)] == wanted
