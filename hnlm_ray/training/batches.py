"""The order of training: which pairs form a batch, whoever owns them.

One permutation of all train pairs per epoch, derived from the seed, is cut into global batches. A worker takes from
each batch the pairs of its own users, so that the batches are the same for any number of workers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hnlm_ray import seeds
from hnlm_ray.samplers.protocol import NegativeSampler
from hnlm_ray.samplers.semantic import PairVectors
from hnlm_ray.training.shard import Shard

__all__ = ["Batch", "BatchStream"]


@dataclass(frozen=True)
class Batch:
    """This worker's part of one global batch; may be empty.

    Attributes:
        users: (B,) int32, inside the worker's block.
        items: (B,) int32, the positives.
        negatives: (B,) int32, drawn by the sampler.
        hard_rows: (B,) int32, the row of the pair's semantic vector or -1.
        global_size: pairs of the batch over all workers.
    """

    users: npt.NDArray[np.int32]
    items: npt.NDArray[np.int32]
    negatives: npt.NDArray[np.int32]
    hard_rows: npt.NDArray[np.int32]
    global_size: int


class BatchStream:
    """The batches of every epoch.

    Attributes:
        pairs_with_vector: train pairs of this worker that have a semantic vector.
        pairs_without_negative: train pairs of this worker whose user has met every item; they are left out.
    """

    def __init__(
        self, shard: Shard, sampler: NegativeSampler, vectors: PairVectors | None, seed: int, batch_size: int
    ) -> None:
        self._shard = shard
        self._sampler = sampler
        self._seed = seed
        self._batch_size = batch_size
        degrees = shard.train.degree
        self._users, self._items = shard.train.users, shard.train.items
        self._hard_rows = np.full(self._users.shape, -1, dtype=np.int32)
        if vectors is not None:
            self._hard_rows = vectors.lookup(shard.train.keys + shard.first_user * shard.train.n_items)
        self.pairs_with_vector = int((self._hard_rows >= 0).sum())
        self.pairs_without_negative = int(degrees[degrees == shard.train.n_items].sum())

    def epoch(self, epoch: int) -> Iterator[Batch]:
        """The batches of one epoch, equally many on every worker.

        Args:
            epoch: from 1.
        """
        shard = self._shard
        places = seeds.generator(self._seed, "shuffle", epoch).permutation(shard.n_pairs)
        own_places = places[shard.first_pair : shard.first_pair + len(self._items)]
        order = np.argsort(own_places)
        starts = range(0, shard.n_pairs, self._batch_size)
        cuts = np.searchsorted(own_places[order], [*starts, shard.n_pairs])
        for index, start in enumerate(starts):
            chosen = order[cuts[index] : cuts[index + 1]]
            yield self._batch(chosen, epoch, min(self._batch_size, shard.n_pairs - start))

    def _batch(self, chosen: npt.NDArray[np.int64], epoch: int, global_size: int) -> Batch:
        users, items, hard_rows = self._users[chosen], self._items[chosen], self._hard_rows[chosen]
        negatives = self._sampler.draw(users, items, epoch)
        if self.pairs_without_negative:
            kept = negatives >= 0
            users, items, negatives, hard_rows = users[kept], items[kept], negatives[kept], hard_rows[kept]
        return Batch(users, items, negatives, hard_rows, global_size)
