"""Full ranking of the validation items by a model in training."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from hnlm_ray.config.tree import SELECTION_CUTOFF
from hnlm_ray.data.interactions import Interactions
from hnlm_ray.errors import DataError
from hnlm_ray.kernels.gains import hits, ndcg, recall
from hnlm_ray.kernels.ranking import ranked_block
from hnlm_ray.models.rankers import Ranker
from hnlm_ray.training.collectives import sum_over_workers
from hnlm_ray.training.shard import Shard

__all__ = ["validate", "validate_ranker"]

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
        seen = shard.train.slice_users(first, last)
        values = _of_block(ranked_block(users[first:last], items, seen, SELECTION_CUTOFF).items, relevant)
        sums += [*np.nansum(values, axis=1), (~np.isnan(values[0])).sum()]
    total = sum_over_workers(torch.from_numpy(sums).to(users.device)).tolist()
    if total[2] == 0:
        raise DataError("no user has a validation interaction", "raise data.split.valid or bring more interactions")
    return total[0] / total[2], total[1] / total[2]


def validate_ranker(ranker: Ranker, train: Interactions, valid: Interactions) -> tuple[float, float]:
    """NDCG@20 and Recall@20 of a finished model over all users who have a validation item; NaN without any.

    Args:
        ranker: the model.
        train: the train interactions, which are masked.
        valid: the validation interactions of the same users and items.
    """
    blocks = []
    for first in range(0, train.n_users, USER_BLOCK):
        last = min(first + USER_BLOCK, train.n_users)
        seen, relevant = train.slice_users(first, last), valid.slice_users(first, last)
        blocks.append(_of_block(ranker.rank(first, last, seen, SELECTION_CUTOFF).items, relevant))
    values = np.concatenate([np.empty((2, 0)), *blocks], axis=1)
    values = values[:, ~np.isnan(values[0])]
    return (float(values[0].mean()), float(values[1].mean())) if values.size else (float("nan"), float("nan"))


def _of_block(top: npt.NDArray[np.int32], relevant: Interactions) -> npt.NDArray[np.float64]:
    """(2, B): NDCG@20 and Recall@20 of each user, NaN for users without a validation item."""
    found = hits(top, relevant, SELECTION_CUTOFF)
    return np.stack([ndcg(found, relevant.degree), recall(found, relevant.degree)])
