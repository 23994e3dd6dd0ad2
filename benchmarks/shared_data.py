"""The real data sets beside the checkout, as interactions; their terms forbid shipping them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from hnlm_ray.data.histories import Histories
from hnlm_ray.data.interactions import Interactions
from hnlm_ray.tables import SPLITS
from hnlm_ray.training.side_information import SideInformation

__all__ = ["load_last_two", "load_random", "load_splits"]

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


def load_last_two(name: str) -> tuple[list[Interactions], SideInformation]:
    """Train, valid and test by time, the last interaction of a user being test and the one before it valid.

    Returns:
        The three parts, and the histories that models of sequences read.
    """
    users, items, sizes, table = _read(name)
    # Some sets have no clock times, but the position of each interaction in the history of its user.
    times = table["seq_pos" if table["timestamp"].null_count else "timestamp"].to_numpy()
    order = np.lexsort((times, users))
    users, items, times = users[order], items[order], times[order]
    after = np.repeat(np.cumsum(np.bincount(users)), np.bincount(users)) - np.arange(len(users))
    labels = np.array(SPLITS)[np.clip(3 - after, 0, 2)]
    ordered = pa.table({"user": users, "item": items, "timestamp": times, "split": labels})
    parts = [Interactions.from_table(ordered, *sizes, (part,)) for part in SPLITS]
    known = [Histories.from_table(ordered, sizes[0], splits) for splits in (SPLITS[:1], SPLITS[:2])]
    return parts, SideInformation(histories=known[0], seen_histories=known[1])


def _read(name: str) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32], tuple[int, int], pa.Table]:
    table = pq.read_table(FOLDER / name / "interactions.parquet")
    users, items = (pc.dictionary_encode(table[column].combine_chunks()) for column in ("user_id", "item_id"))
    return users.indices.to_numpy(), items.indices.to_numpy(), (len(users.dictionary), len(items.dictionary)), table
