"""The raw tables: what every reader gives, whatever the format, before anything is cleaned.

A row is an interaction (or an item), or it stands for lines that are none: then ``problem`` says what is wrong, and its
other columns mean nothing. ``position`` holds file and line of a row, so that rows can be put into the order of the
files, and ``lines`` how many lines it takes, so that every line is accounted for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntFlag
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

__all__ = [
    "BLANK",
    "RAW_INTERACTIONS",
    "RAW_ITEMS",
    "Column",
    "Oddity",
    "RawData",
    "from_columns",
    "gather",
    "place_of",
    "positions",
    "raw_table",
]

_LINE_BITS = 40
BLANK = ""
"""The problem of blank lines."""


class Oddity(IntFlag):
    """What a line that became a row had that a plain one has not."""

    NONE = 0
    NOT_UTF8 = 1
    NUL = 2
    RETURN = 4
    BARE_QUOTE = 8
    BACKSLASH = 16
    EMPTY_FIELD = 32


_ORIGIN = [
    pa.field("position", pa.int64()),  # file number * 2**40 + line or row number, from 1
    pa.field("lines", pa.int32()),  # of the file that the row takes; null where the file has no lines
    pa.field("oddity", pa.uint8()),  # the rules that it needed: flags of Oddity
    pa.field("problem", pa.string()),  # null for a row; BLANK for blank lines; else why a line is malformed
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
        counts: of lines: all, blank ones, malformed ones, and those that needed a rule to become rows.
        warnings: what stands out among them, and on which lines.
    """

    interactions: pa.Table
    items: pa.Table
    counts: Mapping[str, int] = field(default_factory=dict)
    warnings: Sequence[str] = ()


def positions(file_number: int, lines: npt.NDArray[np.integer]) -> npt.NDArray[np.int64]:
    """The ``position`` of some lines of one file: int64 (n,)."""
    return (np.int64(file_number) << _LINE_BITS) + lines.astype(np.int64)


def raw_table(schema: pa.Schema, position: npt.NDArray[np.int64], /, **columns: Column | None) -> pa.Table:
    """A raw table from the columns that a format has.

    Args:
        schema: :data:`RAW_INTERACTIONS` or :data:`RAW_ITEMS`.
        position: int64 (n,), see :func:`positions`.
        columns: by name of ``schema``. One that is None or not given is null in every row; ``oddity`` is 0.
    """
    columns = {"oddity": pa.array(np.zeros(len(position), np.uint8)), **columns, "position": pa.array(position)}
    given = {name: values for name, values in columns.items() if values is not None}
    arrays = (given.get(column.name, pa.nulls(len(position))).cast(column.type) for column in schema)
    return pa.Table.from_arrays(list(arrays), schema=schema)


def from_columns(interactions: pa.Table, items: pa.Table) -> RawData:
    """A data set from tables in memory, which may lack columns."""

    def raw(table: pa.Table, schema: pa.Schema) -> pa.Table:
        columns = dict(zip(table.column_names, table.columns, strict=True))
        return raw_table(schema, positions(0, np.arange(1, len(table) + 1)), **columns)

    return RawData(raw(interactions, RAW_INTERACTIONS), raw(items, RAW_ITEMS))


def place_of(position: int, files: Sequence[str]) -> str:
    """The file and the line, or the row, of a ``position``, as messages name them."""
    return f"{files[position >> _LINE_BITS]}:{position & ((1 << _LINE_BITS) - 1)}"


def gather(table: pa.Table, rows: npt.NDArray[np.integer], most: int = 1 << 18) -> pa.Table:
    """Rows by number, in chunks of at most ``most``: the text of a chunk must not outgrow its 32-bit offsets."""
    if not len(rows):
        return table.slice(0, 0)
    parts = [table.take(pa.array(rows[start : start + most])) for start in range(0, len(rows), most)]
    return pa.concat_tables(parts)
