"""The positives of the whole batch as negatives of every pair, corrected for how often an item is in a batch.

An item is in a batch in proportion to its popularity. Subtracting the log of that share from its logit makes the
softmax over the batch an estimate of the one over the catalogue (Yi et al., "Sampling-Bias-Corrected Neural Modeling
for Large Corpus Item Recommendations", RecSys 2019). Items of the batch that the user has seen are masked.
"""

from __future__ import annotations

import numpy as np
import torch

from hnlm_ray.config.samplers import InBatchOptions
from hnlm_ray.samplers.protocol import Negatives, NegativeSampler, Scene, Setting
from hnlm_ray.samplers.seen import SeenItems

__all__ = ["InBatchSampler"]


class InBatchSampler(NegativeSampler):
    """Gives every pair the positives of the batch, over all workers."""

    needs_batch = InBatchOptions.needs_batch

    def __init__(self, options: InBatchOptions, setting: Setting) -> None:
        """Prepare for the users of a block."""
        degrees = np.maximum(setting.item_degrees, 1)
        self._seen = SeenItems(setting.train, setting.device)
        log_share = torch.from_numpy(np.log(degrees / degrees.sum())).float().to(setting.device)
        self._log_share = log_share if options.correct else torch.zeros_like(log_share)

    def __call__(self, scene: Scene) -> Negatives:
        """See :class:`hnlm_ray.samplers.protocol.NegativeSampler`."""
        assert scene.batch_items is not None
        seen = self._seen.contains(scene.users[:, None], scene.batch_items[None, :])
        weights = -self._log_share[scene.batch_items].expand(seen.shape)
        # Every item of the batch is the positive of some pair and is regularised as such.
        vectors = scene.table.index_select(0, scene.batch_items)
        return Negatives(vectors, weights.masked_fill(seen, -torch.inf), stands_for=scene.batch_items)
