"""The real data sets beside the checkout, as interactions; their terms forbid shipping them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from hnlm_ray.data.interactions import Interactions

__all__ = ["load_random", "load_splits"]

FOLDER = Path(__file__).parents[2] / "shared" / "data"


def load_splits(name: str, *wanted: str) -> list[Interactions]:
    """The parts of a data set by its own split column, for example ``load_splits("gowalla", "train", "test")``."""
    users, items, sizes, table = _read(name)
    labels = table["split"].to_numpy(zero_copy_only=False)
    return [Interactions.from_pairs(users[labels == part], items[labels == part], *sizes) for part in wanted]


def load_random(name: str) -> list[Interactions]:
    """Train, valid and test of a data set by RecBole's recipe for ``RS 8:1:1`` by user, every interaction a positive.

    A user with ``n`` interactions gives ``floor(n / 10)`` of them, at least one, to each of valid and test.
    """
    users, items, sizes, _ = _read(name)
    shuffled = np.lexsort((np.random.default_rng(0).random(len(users)), users))
    users, items = users[shuffled], items[shuffled]
    counts = np.bincount(users, minlength=sizes[0])
    rank = np.arange(len(users)) - np.repeat(np.cumsum(counts) - counts, counts)
    held = np.repeat(np.maximum(counts // 10, 1), counts)
    parts = rank >= 2 * held, (rank >= held) & (rank < 2 * held), rank < held
    return [Interactions.from_pairs(users[part], items[part], *sizes) for part in parts]


def _read(name: str) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32], tuple[int, int], pa.Table]:
    table = pq.read_table(FOLDER / name / "interactions.parquet", columns=["user_id", "item_id", "split"])
    users, items = (pc.dictionary_encode(table[column].combine_chunks()) for column in ("user_id", "item_id"))
    return users.indices.to_numpy(), items.indices.to_numpy(), (len(users.dictionary), len(items.dictionary)), table
