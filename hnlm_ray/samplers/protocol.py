"""What every sampler of negatives offers to the training loop."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt

__all__ = ["NegativeSampler"]


class NegativeSampler(Protocol):
    """Draws one negative item for each train pair of a batch."""

    def draw(self, users: npt.NDArray[np.int32], items: npt.NDArray[np.int32], epoch: int) -> npt.NDArray[np.int32]:
        """A negative per pair; the same pair in the same epoch gets the same one on any shard.

        Args:
            users: (B,) int32, rows of the sampler's own block of users.
            items: (B,) int32, the positive items.
            epoch: from 1.

        Returns:
            (B,) int32, -1 where the user has met every item.
        """
        ...
