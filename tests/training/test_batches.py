"""Batches: every pair once per epoch, and the same global batches for any number of workers."""

from __future__ import annotations

import numpy as np

from hnlm_ray.samplers.semantic import PairVectors
from hnlm_ray.testing.worlds import random_world
from hnlm_ray.training.batches import BatchStream
from hnlm_ray.training.shard import Shard

TRAIN, VALID = random_world(23, 19, 0.3, 5)
PAIRS = TRAIN.keys
VECTORS = PairVectors(PAIRS[::3], np.arange(len(PAIRS[::3]), dtype=np.int32), np.ones((len(PAIRS[::3]), 2)), 19)


def stream_of(rank: int, world_size: int) -> tuple[Shard, BatchStream]:
    shard = Shard.cut(TRAIN, VALID, rank, world_size)
    return shard, BatchStream(shard, VECTORS, seed=7, batch_size=16)


def test_an_epoch_meets_every_pair_once_in_an_order_of_its_own() -> None:
    _, stream = stream_of(0, 1)
    orders = []
    for epoch in (1, 2):
        batches = list(stream.epoch(epoch))
        assert [batch.global_size for batch in batches] == [len(batch.users) for batch in batches]
        assert [batch.global_size for batch in batches[:-1]] == [16] * (len(batches) - 1)
        orders.append(np.concatenate([batch.users * 19 + batch.items for batch in batches]))
        np.testing.assert_array_equal(np.sort(orders[-1]), PAIRS)
    assert (orders[0] != orders[1]).any()


def test_three_workers_share_the_batches_of_one() -> None:
    _, whole = stream_of(0, 1)
    shards, parts = zip(*(stream_of(rank, 3) for rank in range(3)), strict=True)
    for together in zip(whole.epoch(4), *(part.epoch(4) for part in parts), strict=True):
        one, shared = together[0], together[1:]
        assert {part.global_size for part in shared} == {one.global_size}
        rows = [
            row
            for shard, part in zip(shards, shared, strict=True)
            for row in zip(part.users + shard.first_user, part.items, part.places, part.hard_rows >= 0, strict=True)
        ]
        assert sorted(rows) == sorted(zip(one.users, one.items, one.places, one.hard_rows >= 0, strict=True))
    assert sum(part.pairs_with_vector for part in parts) == whole.pairs_with_vector == len(VECTORS.pairs)
