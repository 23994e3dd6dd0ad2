"""Exact full ranking of a block of users, with an order that never depends on the machine.

The order is score descending, then item number ascending. Ties matter: a model that has not been trained scores every
item alike, and an order left to the sorting routine would then give it a different result on each machine.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import torch

    from hnlm_ray.data.interactions import Interactions

    Array = torch.Tensor | npt.NDArray[Any]

__all__ = ["rank_block", "rank_scores"]


def rank_block(user_vectors: Array, item_vectors: Array, seen: Interactions | None, k: int) -> npt.NDArray[np.int32]:
    """The ``k`` best unseen items of each user by inner product.

    Args:
        user_vectors: (B, d), a tensor on any device or an array.
        item_vectors: (I, d), of the same kind.
        seen: rows of the same B users over the same I items, never recommended; None masks nothing.
        k: how many, at least 1.

    Returns:
        (B, k) int32 on the CPU, best first, -1 where fewer than ``k`` unseen items remain.

    Raises:
        ValueError: a score is not finite, or the shapes do not belong together.
    """
    import torch

    users, items = torch.as_tensor(user_vectors), torch.as_tensor(item_vectors)
    return _rank(users @ items.T, seen, k)


def rank_scores(scores: Array, seen: Interactions | None, k: int) -> npt.NDArray[np.int32]:
    """As :func:`rank_block`, for scores (B, I) that are no inner products; ``scores`` is left as it is."""
    import torch

    return _rank(torch.as_tensor(scores).clone(), seen, k)


def _rank(scores: torch.Tensor, seen: Interactions | None, k: int) -> npt.NDArray[np.int32]:
    """Rank; overwrites ``scores``."""
    import torch

    if k < 1:
        raise ValueError(f"k is {k}, expected at least 1")
    if not torch.isfinite(scores).all():
        raise ValueError("scores hold values that are not finite")
    if seen is not None:
        _mask(scores, seen)
    n_users, n_items = scores.shape
    width = min(k, n_items)
    items = _best_items(scores, width)
    values = scores.gather(1, items)
    # Items stand in ascending order, so a stable sort leaves ties in that order.
    values, order = values.sort(dim=1, descending=True, stable=True)
    items = items.gather(1, order).masked_fill(values == -torch.inf, -1)
    top = np.full((n_users, k), -1, dtype=np.int32)
    top[:, :width] = items.cpu().numpy()
    return top


def _mask(scores: torch.Tensor, seen: Interactions) -> None:
    import torch

    if (seen.n_users, seen.n_items) != tuple(scores.shape):
        raise ValueError(f"scores are {tuple(scores.shape)}, seen is {(seen.n_users, seen.n_items)}")
    users, items = (torch.from_numpy(part.astype(np.int64)).to(scores.device) for part in (seen.users, seen.items))
    scores[users, items] = -torch.inf


def _best_items(scores: torch.Tensor, width: int) -> torch.Tensor:
    """(B, width) int64: the items of the best scores in ascending order; of equal ones, the smallest numbers."""
    import torch

    threshold = scores.topk(width, dim=1, sorted=True).values[:, -1:]
    chosen = scores >= threshold
    tied = (chosen.sum(dim=1) > width).nonzero().squeeze(1)
    if len(tied):
        above = scores[tied] > threshold[tied]
        equal = scores[tied] == threshold[tied]
        room = width - above.sum(dim=1, keepdim=True)
        chosen[tied] = above | (equal & (equal.cumsum(dim=1, dtype=torch.int32) <= room))
    return chosen.nonzero()[:, 1].view(len(scores), width)
