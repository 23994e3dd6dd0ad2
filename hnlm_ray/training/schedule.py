"""How a learning rate falls."""

from __future__ import annotations

import math

__all__ = ["half_cosine"]


def half_cosine(share: float) -> float:
    """1 at the share 0 of the way, 0 at its end, along half a cosine (Loshchilov and Hutter, ICLR 2017)."""
    return 0.5 * (1.0 + math.cos(math.pi * share))
