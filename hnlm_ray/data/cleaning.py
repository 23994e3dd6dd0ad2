"""Clean ids, ratings, timestamps and repeated rows, by whole columns; every rule counts the rows that it changes."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from hnlm_ray.data.raw import gather
from hnlm_ray.data.text import clean_text

__all__ = ["Events", "clean_items", "clean_timestamps", "events_of", "latest_of_pair", "with_ids"]

# As milliseconds this is the year 1973, as seconds the year 5138: data of interest lies between.
_LEAST_MILLISECONDS = 1e11
_LATEST = 4_102_444_800  # 2100-01-01
_BEFORE_ALL = np.iinfo(np.int64).min


@dataclass(frozen=True, eq=False)
class Events:
    """Interactions as numbers, one entry per row of the raw table.

    Attributes:
        users, items: int64 (n,), numbers of the ids in sorted order.
        rating: float32 (n,), NaN for none.
        timestamp: int64 (n,), seconds since 1970; 0 where there is none.
        present: bool (n,), whether there is a timestamp.
        row: int64 (n,), row of the raw table.
    """

    users: npt.NDArray[np.int64]
    items: npt.NDArray[np.int64]
    rating: npt.NDArray[np.float32]
    timestamp: npt.NDArray[np.int64]
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
        rank[np.lexsort((self.row, np.where(self.present, self.timestamp, _BEFORE_ALL)))] = np.arange(len(self))
        return rank


def with_ids(table: pa.Table, columns: list[str]) -> tuple[pa.Table, int]:
    """Trim white space around ids, and drop the rows where an id is empty.

    Args:
        table: raw.
        columns: names of its id columns.

    Returns:
        the rows left, and how many were dropped.
    """
    has_ids = pa.scalar(True)
    for name in columns:
        ids = pc.fill_null(pc.utf8_trim_whitespace(table[name]), "")
        table = table.set_column(table.column_names.index(name), name, ids)
        has_ids = pc.and_(has_ids, pc.not_equal(ids, ""))
    left = table.filter(has_ids)
    return left, table.num_rows - left.num_rows


def events_of(table: pa.Table) -> tuple[Events, pa.Array, pa.Array, dict[str, int]]:
    """Turn raw interactions into numbers.

    Args:
        table: raw interactions, ids not empty.

    Returns:
        the events, the user ids and the item ids in sorted order, and the counts.
    """
    users, user_ids = _numbered(table["user_id"])
    items, item_ids = _numbered(table["item_id"])
    rating = table["rating"].to_numpy()
    given = pc.is_valid(table["rating"]).to_numpy()
    timestamp, present, counts = clean_timestamps(table["timestamp"])
    counts["ratings_not_finite"] = int((given & ~np.isfinite(rating)).sum())
    finite = np.where(np.isfinite(rating), rating, np.nan).astype(np.float32)
    events = Events(users, items, finite, timestamp, present, np.arange(table.num_rows))
    return events, user_ids, item_ids, counts


def clean_timestamps(
    column: pa.ChunkedArray,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_], dict[str, int]]:
    """Seconds since 1970.

    Values too large for seconds are milliseconds. Values that are not finite, before 1970, or in 2100 and later are
    dropped.

    Returns:
        int64 (n,) seconds (0 for none), bool (n,) whether there is one, and the counts.
    """
    given = pc.is_valid(column).to_numpy()
    values = column.to_numpy().astype(np.float64)
    is_milliseconds = given & (np.abs(values) >= _LEAST_MILLISECONDS)
    seconds = np.where(is_milliseconds, values / 1000.0, values)
    present = given & (seconds >= 0) & (seconds < _LATEST)
    counts = {
        "timestamps_in_milliseconds": int((is_milliseconds & present).sum()),
        "timestamps_out_of_range": int((given & ~present).sum()),
    }
    return np.where(present, seconds, 0.0).astype(np.int64), present, counts


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
        columns[name], text_counts = clean_text(items[name].cast(pa.string()))
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
