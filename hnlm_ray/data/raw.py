"""The raw tables: what every reader gives, whatever the format, before anything is cleaned.

A row is an interaction (or an item), or it is malformed: then ``problem`` says what is wrong with it, and its other
columns mean nothing. ``position`` holds file and line of a row, so that rows can be put into the order of the files.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from hnlm_ray.errors import DataError

__all__ = [
    "RAW_INTERACTIONS",
    "RAW_ITEMS",
    "Column",
    "RawData",
    "from_columns",
    "gather",
    "positions",
    "raw_data",
    "raw_table",
    "without_bad_rows",
]

_LINE_BITS = 40

_ORIGIN = [
    pa.field("position", pa.int64()),  # file number * 2**40 + line or row number, from 1
    pa.field("recoded", pa.bool_()),  # the line was not UTF-8 and was read as Latin-1
    pa.field("problem", pa.string()),  # null unless the row is malformed
]

RAW_INTERACTIONS = pa.schema(
    [
        pa.field("user_id", pa.string()),
        pa.field("item_id", pa.string()),
        pa.field("rating", pa.float64()),
        pa.field("timestamp", pa.float64()),  # a number as it was written, of a unit that the whole column tells
        pa.field("moment", pa.float64()),  # seconds since 1970, of a time that was written as a date
        pa.field("review", pa.large_string()),  # reviews of one data set may exceed the 2 GiB of a string array
        pa.field("split", pa.string()),
        *_ORIGIN,
    ]
)

RAW_ITEMS = pa.schema(
    [
        pa.field("item_id", pa.string()),
        pa.field("title", pa.string()),
        pa.field("brand", pa.string()),
        pa.field("categories", pa.list_(pa.string())),
        pa.field("description", pa.large_string()),
        *_ORIGIN,
    ]
)

Column: TypeAlias = pa.Array | pa.ChunkedArray
"""A column of a table, in one piece or several."""


@dataclass(frozen=True)
class RawData:
    """A data set as it was read.

    Attributes:
        interactions: rows of :data:`RAW_INTERACTIONS`, ordered by position, without malformed rows.
        items: rows of :data:`RAW_ITEMS`, likewise.
        counts: malformed lines, and lines that were not UTF-8.
    """

    interactions: pa.Table
    items: pa.Table
    counts: Mapping[str, int] = field(default_factory=dict)


def positions(file_number: int, lines: npt.NDArray[np.integer]) -> npt.NDArray[np.int64]:
    """The ``position`` of some lines of one file: int64 (n,)."""
    return (np.int64(file_number) << _LINE_BITS) + lines.astype(np.int64)


def raw_table(schema: pa.Schema, position: npt.NDArray[np.int64], /, **columns: Column | None) -> pa.Table:
    """A raw table from the columns that a format has.

    Args:
        schema: :data:`RAW_INTERACTIONS` or :data:`RAW_ITEMS`.
        position: int64 (n,), see :func:`positions`.
        columns: by name of ``schema``. One that is None or not given is null in every row; ``recoded`` is false.
    """
    columns = {"recoded": pa.array(np.zeros(len(position), np.bool_)), **columns, "position": pa.array(position)}
    given = {name: values for name, values in columns.items() if values is not None}
    arrays = (given.get(column.name, pa.nulls(len(position))).cast(column.type) for column in schema)
    return pa.Table.from_arrays(list(arrays), schema=schema)


def from_columns(interactions: pa.Table, items: pa.Table) -> RawData:
    """A data set from tables in memory, which may lack columns."""

    def raw(table: pa.Table, schema: pa.Schema) -> pa.Table:
        columns = dict(zip(table.column_names, table.columns, strict=True))
        return raw_table(schema, positions(0, np.arange(1, len(table) + 1)), **columns)

    return RawData(raw(interactions, RAW_INTERACTIONS), raw(items, RAW_ITEMS))


def raw_data(
    interactions: pa.Table, items: pa.Table, files: tuple[Sequence[str], Sequence[str]], allowed: float
) -> RawData:
    """Put the raw tables of all files together, without malformed rows.

    Args:
        interactions: raw, rows in any order.
        items: likewise.
        files: the paths of the files of each, by file number.
        allowed: the share of malformed lines up to which they are dropped: ``data.max_bad_rows``.

    Raises:
        DataError: too many lines are malformed.
    """
    interactions, bad_interactions = without_bad_rows(interactions, files[0], allowed)
    items, bad_items = without_bad_rows(items, files[1], allowed)
    recoded = sum(pc.sum(table["recoded"]).as_py() or 0 for table in (interactions, items))
    counts = {
        "interaction_lines_malformed": bad_interactions,
        "item_lines_malformed": bad_items,
        "lines_not_utf8": recoded,
    }
    return RawData(interactions, items, counts)


def without_bad_rows(table: pa.Table, files: Sequence[str], allowed: float) -> tuple[pa.Table, int]:
    """Put the rows in the order of the files, and drop the malformed ones if they are few enough.

    Args:
        table: raw, rows in any order.
        files: the path of each file by its number.
        allowed: ``data.max_bad_rows``.

    Returns:
        the other rows, and how many were malformed.

    Raises:
        DataError: more than the share ``allowed`` is malformed; it names the first line.
    """
    position = table["position"].to_numpy()
    if np.any(position[1:] < position[:-1]):
        table = gather(table, np.argsort(position, kind="stable"))
    bad = table.num_rows - table["problem"].null_count
    if bad == 0:
        return table, 0
    if bad > allowed * table.num_rows:
        first = table.select(["position", "problem"]).filter(pc.is_valid(table["problem"])).slice(0, 1).to_pylist()[0]
        file, line = files[first["position"] >> _LINE_BITS], first["position"] & ((1 << _LINE_BITS) - 1)
        raise DataError(
            f"{file}:{line}: {first['problem']}; this is the first of {bad:,} malformed lines among {table.num_rows:,},"
            f" more than data.max_bad_rows={allowed:g}",
            "fix the file, check data.format, or raise data.max_bad_rows",
        )
    return table.filter(pc.is_null(table["problem"])), bad


def gather(table: pa.Table, rows: npt.NDArray[np.integer], most: int = 1 << 18) -> pa.Table:
    """Rows by number, in chunks of at most ``most``: the text of a chunk must not outgrow its 32-bit offsets."""
    if not len(rows):
        return table.slice(0, 0)
    parts = [table.take(pa.array(rows[start : start + most])) for start in range(0, len(rows), most)]
    return pa.concat_tables(parts)
