"""Split interactions and measure recommendations, both as data frames."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from hnlm_ray.config.data import SplitConfig
from hnlm_ray.data.conversion import Frame, kind_of, like, table_of
from hnlm_ray.data.interactions import Interactions
from hnlm_ray.data.splits import TEST, TRAIN, VALID
from hnlm_ray.data.splits import split as labelled
from hnlm_ray.errors import DataError
from hnlm_ray.evaluation.metrics import accuracy
from hnlm_ray.frames.names import Names

__all__ = ["Split", "evaluate", "split"]


class Split(NamedTuple):
    """The rows of a frame, divided; of its kind, with all its columns and in its order."""

    train: Frame
    valid: Frame
    test: Frame


def split(
    interactions: Frame,
    *,
    test: float = 0.2,
    valid: float = 0.0,
    strategy: Literal["random", "leave_last_two", "global_time"] = "random",
    seed: int = 0,
    user: str = "user_id",
    item: str = "item_id",
    timestamp: str = "timestamp",
) -> Split:
    """Divide interactions, as ``data.split`` does in a run.

    Args:
        interactions: a row per interaction.
        test: share of the interactions held out for a report; not used by ``leave_last_two``.
        valid: share held out to choose options on; likewise.
        strategy: ``random`` per user, ``leave_last_two`` of each user, or ``global_time``, two moments for all.
        seed: of the random choice, which depends on a user's id alone.
        user: the column of users.
        item: the column of items.
        timestamp: the column of times, which are numbers; the order of the rows stands in where there is none.

    Raises:
        DataError: a column is missing, or the strategy cannot be applied.
    """
    table = table_of(interactions, "interactions")
    users, _ = Names(user, item).texts(table, "interactions")
    coded = users.dictionary_encode()
    numbers = coded.indices.to_numpy()
    times, present = _times(table, timestamp)
    order = np.lexsort((np.arange(len(table)), times, numbers))
    options = SplitConfig(strategy=strategy, valid=valid, test=test)
    names = coded.dictionary.to_numpy(zero_copy_only=False)
    labels = np.empty(len(table), np.int8)
    labels[order] = labelled(options, seed, numbers[order], names, times[order], present[order])
    kind = kind_of(interactions)
    return Split(*(like(table.filter(pa.array(labels == part)), kind) for part in (TRAIN, VALID, TEST)))


def evaluate(
    recommendations: Frame,
    test: Frame,
    cutoffs: Sequence[int] = (10, 20),
    *,
    user: str = "user_id",
    item: str = "item_id",
) -> Frame:
    """Recall, NDCG, precision, hit rate, MRR and MAP of recommendations, by whatever made them.

    Args:
        recommendations: a row per user and item; ordered by the column ``rank`` where there is one, else as they stand.
        test: held-out interactions, a row each.
        cutoffs: where to measure.
        user: the column of users in both.
        item: the column of items in both.

    Returns:
        A frame of ``metric``, ``k`` and ``value``: the mean over the users of ``test``, of whom those without
        recommendations have 0.

    Raises:
        DataError: a column is missing, ``test`` has no row, or a user has an item twice.
    """
    names = Names(user, item)
    given, held = table_of(recommendations, "recommendations"), table_of(test, "test interactions")
    shown, wanted = names.texts(given, "recommendations"), names.texts(held, "test interactions")
    if not len(wanted[0]):
        raise DataError("test interactions have no row", "hold more interactions out")
    users, items = wanted[0].unique(), pa.concat_arrays([wanted[1], shown[1]]).unique()
    relevant = _interactions(*wanted, users, items)
    rank = given["rank"].to_numpy() if "rank" in given.column_names else np.arange(len(given))
    top = _top(*shown, rank, users, items, max(cutoffs))
    values = accuracy(top, relevant, cutoffs)
    rows = [{"metric": name, "k": k, "value": float(found.mean())} for (name, k), found in values.items()]
    return like(pa.Table.from_pylist(rows), kind_of(test))


def _interactions(of_user: pa.Array, of_item: pa.Array, users: pa.Array, items: pa.Array) -> Interactions:
    rows = pc.index_in(of_user, value_set=users).to_numpy()
    columns = pc.index_in(of_item, value_set=items).to_numpy()
    return Interactions.from_pairs(rows, columns, len(users), len(items))


def _top(
    of_user: pa.Array, of_item: pa.Array, rank: npt.NDArray[np.number], users: pa.Array, items: pa.Array, depth: int
) -> npt.NDArray[np.int32]:
    """The first items (users, depth) of each user, -1 past the end; those of other users are left out."""
    is_asked = pc.is_in(of_user, value_set=users)
    of_user, of_item, rank = of_user.filter(is_asked), of_item.filter(is_asked), rank[is_asked.to_numpy(False)]
    rows = pc.index_in(of_user, value_set=users).to_numpy()
    columns = pc.index_in(of_item, value_set=items).to_numpy()
    if len(np.unique(rows.astype(np.int64) * len(items) + columns)) < len(rows):
        raise DataError("recommendations give a user an item twice", "give each user an item once")
    order = np.lexsort((rank, rows))
    rows, columns = rows[order], columns[order]
    starts = np.searchsorted(rows, rows, side="left")
    places = np.arange(len(rows)) - starts
    kept = places < depth
    top = np.full((len(users), depth), -1, np.int32)
    top[rows[kept], places[kept]] = columns[kept]
    return top


def _times(table: pa.Table, name: str) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """Times of the rows, and where there is one; moments count in seconds."""
    if name not in table.column_names:
        return np.zeros(len(table)), np.zeros(len(table), np.bool_)
    column = table[name]
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.timestamp("us")).cast(pa.int64())
    try:
        values = column.cast(pa.float64()).to_numpy(zero_copy_only=False)
    except pa.ArrowInvalid as error:
        raise DataError(f"the column {name!r} is {table[name].type} and holds no times", "give numbers") from error
    return np.nan_to_num(values), ~np.isnan(values)
