"""Full ranking of the validation items by a model in training."""

from __future__ import annotations

import numpy as np
import torch

from hnlm_ray.errors import DataError
from hnlm_ray.evaluation.metrics import SELECTION_CUTOFF, ndcg, recall
from hnlm_ray.kernels.ranking import rank_block
from hnlm_ray.training.collectives import sum_over_workers
from hnlm_ray.training.shard import Shard

__all__ = ["validate"]

USER_BLOCK = 1024


def validate(users: torch.Tensor, items: torch.Tensor, shard: Shard) -> tuple[float, float]:
    """NDCG@20 and Recall@20 over the users of all workers who have a validation item; train items are masked.

    Args:
        users: (U_r, d), final vectors of this worker's users.
        items: (I, d).
        shard: the worker's block.

    Raises:
        DataError: no user has a validation item.
    """
    sums = np.zeros(3)
    for first in range(0, shard.train.n_users, USER_BLOCK):
        last = min(first + USER_BLOCK, shard.train.n_users)
        relevant = shard.valid.slice_users(first, last)
        if not len(relevant.items):
            continue
        top = rank_block(users[first:last], items, shard.train.slice_users(first, last), SELECTION_CUTOFF)
        values = ndcg(top, relevant, SELECTION_CUTOFF), recall(top, relevant, SELECTION_CUTOFF)
        sums += [np.nansum(values[0]), np.nansum(values[1]), (~np.isnan(values[0])).sum()]
    total = sum_over_workers(torch.from_numpy(sums).to(users.device)).tolist()
    if total[2] == 0:
        raise DataError("no user has a validation interaction", "raise data.split.valid or bring more interactions")
    return total[0] / total[2], total[1] / total[2]
