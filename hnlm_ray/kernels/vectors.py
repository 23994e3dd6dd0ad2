"""Rows of vectors."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["unit_rows"]

_SHORTEST = 1e-12
"""Rows that are shorter keep their direction and stay short, so that a row of zeros stays one."""


def unit_rows(vectors: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.float32]:
    """Every row divided by its Euclidean length; a row of zeros stays zero.

    Args:
        vectors: (n, d) float16 or float32; half precision is widened before anything is computed.

    Returns:
        (n, d) float32.
    """
    wide = vectors.astype(np.float32, copy=False)
    units: npt.NDArray[np.float32] = wide / np.maximum(np.linalg.norm(wide, axis=1, keepdims=True), _SHORTEST)
    return units
