"""The penalty on the size of first-layer embeddings."""

from __future__ import annotations

from typing import Literal

import torch

from hnlm_ray.kernels.rows import rows_of
from hnlm_ray.models.losses import half_squares
from hnlm_ray.training.collectives import of_total, rank, replicate

__all__ = ["embedding_penalty"]


def embedding_penalty(
    l2_on: Literal["batch", "norm", "all"],
    tables: tuple[torch.Tensor, torch.Tensor],
    pairs: tuple[torch.Tensor, torch.Tensor],
    negatives: torch.Tensor | None,
    size: int,
) -> torch.Tensor:
    """This worker's share of the term that the option ``l2`` weighs, a scalar.

    Args:
        l2_on: see :class:`hnlm_ray.config.variants.VariantConfig`.
        tables: users (U_r, d) of this worker, and items (I, d), equal on all workers.
        pairs: (B,) int64 rows of users and of items, this worker's part of the batch.
        negatives: int64 item numbers of any shape, or None; several of a pair count as one.
        size: pairs of the batch over all workers.
    """
    users, (items,) = tables[0], replicate(tables[1])
    if l2_on == "all":
        # All workers hold the items, one of them counts them.
        return half_squares(users) + half_squares(items if rank() == 0 else items[:0])
    groups = [(rows_of(users, pairs[0]), 1.0), (rows_of(items, pairs[1]), 1.0)]
    if negatives is not None:
        rows = rows_of(items, negatives.reshape(-1))
        groups.append((rows, len(pairs[0]) / max(1, len(rows))))
    if l2_on == "batch":
        return torch.stack([half_squares(rows) * share for rows, share in groups]).sum() / size
    squares = [rows.square().sum() * share for rows, share in groups]
    return torch.stack([of_total(part, lambda total: total.clamp(min=1e-24).sqrt()) for part in squares]).sum() / size
