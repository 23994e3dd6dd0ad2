"""The splits of a prepared data set, read back from its artifact."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from hnlm_ray.data.interactions import Interactions
from hnlm_ray.data.prepared import read_splits
from hnlm_ray.run.store import RunStore
from hnlm_ray.tables import INTERACTIONS, ITEMS, USERS

ROWS = [(0, 2, "train"), (0, 1, "valid"), (1, 0, "train"), (1, 2, "test"), (1, 1, "train")]


def pairs(part: Interactions) -> list[tuple[int, int]]:
    return list(zip(part.users.tolist(), part.items.tolist(), strict=True))


def test_every_split_has_its_own_pairs_and_all_users_and_items(tmp_path: Path) -> None:
    prepare = RunStore(str(tmp_path)).artifact("prepare", "0")
    prepare.create()
    prepare.write("users", pa.Table.from_pylist([{"user": user} for user in range(3)], schema=USERS))
    prepare.write("items", pa.Table.from_pylist([{"item": item} for item in range(4)], schema=ITEMS))
    rows = [{"user": user, "item": item, "split": split, "review": ""} for user, item, split in ROWS]
    prepare.write("interactions", pa.Table.from_pylist(rows, schema=INTERACTIONS))

    splits = read_splits(prepare)
    assert pairs(splits.train) == [(0, 2), (1, 0), (1, 1)]
    assert pairs(splits.valid) == [(0, 1)]
    assert pairs(splits.test) == [(1, 2)]
    assert pairs(splits.seen) == [(0, 1), (0, 2), (1, 0), (1, 1)]
    for part in (splits.train, splits.valid, splits.test, splits.seen):
        assert (part.n_users, part.n_items) == (3, 4)
