"""Initial embeddings that depend on the row alone, not on the block of rows that a worker holds."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from hnlm_ray import seeds

__all__ = ["initial_rows"]

_ROWS_AT_ONCE = 1024
"""The intermediate arrays take ten times the memory of the rows."""


def initial_rows(seed: int, name: str, first: int, last: int, dim: int, std: float) -> torch.Tensor:
    """Normally distributed values for the rows ``first`` to ``last - 1`` of a table, by the Box-Muller transform.

    Args:
        seed: of the fit.
        name: of the table; another name gives other values.
        first: number of the first row.
        last: number after the last row.
        dim: columns.
        std: standard deviation.

    Returns:
        (last - first, dim) float32 on the CPU.
    """
    key = seeds.derive(seed, "init", name)
    table = np.empty((last - first, dim), dtype=np.float32)
    for start in range(first, last, _ROWS_AT_ONCE):
        stop = min(start + _ROWS_AT_ONCE, last)
        normal = _normal(key, np.arange(start * dim, stop * dim, dtype=np.int64))
        table[start - first : stop - first] = (normal * std).reshape(stop - start, dim)
    return torch.from_numpy(table)


def _normal(key: int, counters: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """One value of the standard normal distribution per counter."""
    words = seeds.hash_counters(key, counters)
    # Half a step is added so that the logarithm is never of 0.
    radius = ((words >> np.uint64(32)).astype(np.float64) + 0.5) / 2**32
    angle = (words & np.uint64(0xFFFFFFFF)).astype(np.float64) / 2**32
    normal: npt.NDArray[np.float64] = np.sqrt(-2.0 * np.log(radius)) * np.cos(2.0 * np.pi * angle)
    return normal
