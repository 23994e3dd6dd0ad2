"""LightGCN (He et al., SIGIR 2020): the mean of an embedding and its smoothings over the interaction graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch

if TYPE_CHECKING:
    from hnlm_ray.data.interactions import Interactions

__all__ = ["Hop", "edge_weights", "mean_of_layers"]

Hop = Callable[[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]
"""One product with the normalised adjacency: (users, items) to (users, items)."""


def edge_weights(train: Interactions, item_degrees: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    """``1 / sqrt(degree of user * degree of item)`` of each interaction.

    Args:
        train: a block of users.
        item_degrees: (n_items,) train interactions of each item over *all* users.

    Returns:
        (nnz,) float32, in the order of ``train.items``.
    """
    product = train.degree[train.users].astype(np.float64) * item_degrees[train.items]
    weights: npt.NDArray[np.float32] = (1.0 / np.sqrt(product)).astype(np.float32)
    return weights


def mean_of_layers(
    hop: Hop, users: torch.Tensor, items: torch.Tensor, layers: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """``1 / (L + 1) * sum of A^l E`` for ``l`` from 0 to ``L``.

    Args:
        hop: product with ``A``, the symmetric normalised adjacency.
        users: (U, d) embeddings.
        items: (I, d) embeddings.
        layers: ``L``; 0 leaves the embeddings as they are, which is matrix factorisation.

    Returns:
        Two tensors of the shapes of ``users`` and ``items``.
    """
    sums = users.clone(), items.clone()
    for _ in range(layers):
        users, items = hop(users, items)
        sums[0].add_(users)
        sums[1].add_(items)
    return sums[0].div_(layers + 1), sums[1].div_(layers + 1)
