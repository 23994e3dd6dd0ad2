"""Clean ids, ratings, timestamps and repeated rows, by whole columns; every rule counts the rows that it changes."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from hnlm_ray.data.raw import gather
from hnlm_ray.data.text import clean_text, without_scripts
from hnlm_ray.data.times import Times, times_of

__all__ = ["Events", "clean_items", "events_of", "latest_of_pair"]


@dataclass(frozen=True, eq=False)
class Events:
    """Interactions as numbers, one entry per row of the raw table.

    Attributes:
        users, items: int64 (n,), numbers of the ids in sorted order.
        rating: float32 (n,), NaN for none.
        timestamp: float64 (n,), seconds since 1970; 0 where there is none.
        present: bool (n,), whether there is a timestamp.
        row: int64 (n,), row of the raw table.
    """

    users: npt.NDArray[np.int64]
    items: npt.NDArray[np.int64]
    rating: npt.NDArray[np.float32]
    timestamp: npt.NDArray[np.float64]
    present: npt.NDArray[np.bool_]
    row: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.users)

    def select(self, rows: npt.NDArray[np.bool_] | npt.NDArray[np.int64]) -> Events:
        """Some of the events, by mask or by number."""
        return Events(*(getattr(self, column.name)[rows] for column in fields(self)))

    @property
    def order(self) -> npt.NDArray[np.int64]:
        """Rank of each event in time, int64 (n,): events without a timestamp first, equal ones in the raw order."""
        rank = np.empty(len(self), dtype=np.int64)
        rank[np.lexsort((self.row, np.where(self.present, self.timestamp, -np.inf)))] = np.arange(len(self))
        return rank


def events_of(table: pa.Table) -> tuple[Events, pa.Array, pa.Array, Times, dict[str, int]]:
    """Turn raw interactions into numbers.

    Args:
        table: raw interactions, ids not empty.

    Returns:
        the events, the user ids and the item ids in sorted order, how times were read, and the counts.

    Raises:
        DataError: most of the timestamps are unusable.
    """
    users, user_ids = _numbered(table["user_id"])
    items, item_ids = _numbered(table["item_id"])
    rating = table["rating"].to_numpy()
    given = pc.is_valid(table["rating"]).to_numpy()
    times = times_of(table["timestamp"], table["moment"])
    counts = {**times.counts, "ratings_not_finite": int((given & ~np.isfinite(rating)).sum())}
    finite = np.where(np.isfinite(rating), rating, np.nan).astype(np.float32)
    events = Events(users, items, finite, times.seconds, times.present, np.arange(table.num_rows))
    return events, user_ids, item_ids, times, counts


def latest_of_pair(events: Events) -> npt.NDArray[np.bool_]:
    """Boolean mask (n,) of the latest event of each (user, item) pair."""
    sequence = np.lexsort((events.order, events.items, events.users))
    users, items = events.users[sequence], events.items[sequence]
    kept = np.ones(len(events), dtype=np.bool_)
    kept[sequence[:-1]] = (users[:-1] != users[1:]) | (items[:-1] != items[1:])
    return kept


def clean_items(raw: pa.Table, item_ids: pa.Array) -> tuple[pa.Table, dict[str, int]]:
    """One row per item id, with clean text; an id that the raw items lack gets a row whose title is the id.

    Args:
        raw: raw items, ids not empty.
        item_ids: of the interactions, distinct and sorted.

    Returns:
        ``item_id, title, brand, categories, description``, in the order of ``item_ids``, without nulls; and the counts.
    """
    first = _first_rows(raw["item_id"])
    items = gather(raw, first)
    place = pc.index_in(item_ids, value_set=items["item_id"].combine_chunks())
    found = gather(items, place.drop_null().to_numpy())
    counts = Counter(
        items_repeated=raw.num_rows - len(first),
        items_without_interactions=items.num_rows - found.num_rows,
        items_unknown=place.null_count,
    )
    missing = item_ids.filter(pc.is_null(place))
    blanks = {name: pa.nulls(len(missing), found.schema.field(name).type) for name in found.column_names}
    made = pa.table({**blanks, "item_id": missing}, schema=found.schema)
    items = pa.concat_tables([found, made]).combine_chunks()
    items = items.take(pc.sort_indices(items["item_id"]))
    columns: dict[str, pa.Array | pa.ChunkedArray] = {"item_id": items["item_id"]}
    for name in ("title", "brand", "description"):
        text = items[name].cast(pa.string())
        if name != "description":
            shown = without_scripts(text)
            counts[f"{name}s_with_scripts"] = pc.sum(pc.not_equal(shown, text)).as_py() or 0
            text = shown
        columns[name], text_counts = clean_text(text)
        counts.update(text_counts)
    columns["categories"], text_counts = _clean_categories(items["categories"])
    counts.update(text_counts)
    has_title = pc.not_equal(columns["title"], "")
    counts["titles_empty"] = items.num_rows - pc.sum(has_title).as_py() - counts["items_unknown"]
    columns["title"] = pc.if_else(has_title, columns["title"], columns["item_id"])
    return pa.table(columns), counts


def _clean_categories(column: pa.ChunkedArray) -> tuple[pa.Array, dict[str, int]]:
    """Clean every name and drop the empty ones; a null list becomes ``[]``."""
    lists = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    names, counts = clean_text(pc.list_flatten(lists))
    parents = pc.list_parent_indices(lists).to_numpy()
    is_named = pc.not_equal(names, "")
    sizes = np.bincount(parents[is_named.to_numpy(zero_copy_only=False)], minlength=len(lists))
    offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), names.filter(is_named)), counts


def _numbered(column: pa.ChunkedArray) -> tuple[npt.NDArray[np.int64], pa.Array]:
    """The number of each value in sorted order, and the distinct values."""
    names = pc.unique(column)
    names = names.take(pc.sort_indices(names))
    return pc.index_in(column, value_set=names).to_numpy().astype(np.int64), names


def _first_rows(ids: pa.ChunkedArray) -> npt.NDArray[np.int64]:
    """The first row of each distinct value, ascending."""
    codes = pc.index_in(ids, value_set=pc.unique(ids)).to_numpy()
    return np.sort(np.unique(codes, return_index=True)[1]).astype(np.int64)
