"""Starting values that depend on the row they belong to, never on the block of rows that a worker holds."""

from __future__ import annotations

import numpy as np
import torch

from hnlm_ray import seeds

__all__ = ["initial_rows"]


def initial_rows(seed: int, name: str, first: int, last: int, dim: int, std: float) -> torch.Tensor:
    """Normal values for rows ``first`` to ``last - 1`` of the table ``name``, by the Box-Muller transform.

    Returns:
        (last - first, dim) float32 on the CPU.
    """
    counters = np.arange(first * dim, last * dim, dtype=np.int64)
    words = seeds.hash_counters(seeds.derive(seed, "init", name), counters)
    # Half a step is added so that the logarithm never sees 0.
    radius = ((words >> np.uint64(32)).astype(np.float64) + 0.5) / 2**32
    angle = (words & np.uint64(0xFFFFFFFF)).astype(np.float64) / 2**32
    normal = np.sqrt(-2.0 * np.log(radius)) * np.cos(2.0 * np.pi * angle)
    return torch.from_numpy((normal * std).astype(np.float32).reshape(last - first, dim))
