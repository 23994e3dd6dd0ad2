"""Rows that are made, or read from files, a part at a time, so that no process holds them all."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from hnlm_ray.errors import StoreError
from hnlm_ray.run.places import shown

__all__ = [
    "PART_ROWS",
    "Located",
    "PartsOf",
    "RowGroup",
    "Rows",
    "as_parts",
    "is_among",
    "read_group",
    "read_parts",
    "write_parts",
]

PART_ROWS = 1 << 12
"""Rows that are in memory together where a table is made or read in parts."""

PartsOf = Callable[[list[str] | None], Iterable[pa.Table]]
"""Reads a table, or only some of its columns, from the beginning, a part at a time."""
RowGroup = tuple[str, int]
"""A Parquet file, and the number of a row group in it."""


def as_parts(table: pa.Table) -> PartsOf:
    """A table that is in memory already, as one part."""
    return lambda columns: [table if columns is None else table.select(columns)]


def is_among(ids: npt.NDArray[np.int64], known: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Which of some ids are among others, by one search for each.

    Args:
        ids: (n,) int64.
        known: (m,) int64, ascending.

    Returns:
        (n,) bool.
    """
    if known.size == 0:
        return np.zeros(ids.size, bool)
    places = np.minimum(np.searchsorted(known, ids), known.size - 1)
    return np.asarray(known[places] == ids)


def write_parts(
    parts: Iterable[pa.Table], path: str, filesystem: pafs.FileSystem, schema: pa.Schema | None = None
) -> None:
    """Write tables as one Parquet file, each as row groups of its own.

    Args:
        parts: tables of one schema.
        path: of the file.
        filesystem: where it is.
        schema: of the tables; None for that of the first, of which there must be one.
    """
    remaining = iter(parts)
    first = next(remaining) if schema is None else schema.empty_table()
    with pq.ParquetWriter(path, first.schema, filesystem=filesystem) as writer:
        for part in itertools.chain([first] if first.num_rows else [], remaining):
            writer.write_table(part)


@dataclass(frozen=True)
class Rows:
    """Rows by number, made anew each time that they are read.

    Attributes:
        ids: (N,) int64, ascending and each once.
        parts: tables with the column ``id``, ascending over all of them; rows that ``ids`` lacks are passed over.
    """

    ids: npt.NDArray[np.int64]
    parts: Callable[[], Iterable[pa.Table]]

    @classmethod
    def of(cls, table: pa.Table) -> Rows:
        """The rows of a table in memory, with the column ``id``."""
        table = table.sort_by("id")
        return cls(table["id"].to_numpy().astype(np.int64), lambda: [table])

    def only(self, ids: npt.NDArray[np.int64]) -> Rows:
        """Some of the rows; the ids are ascending."""
        return Rows(ids, self.parts)

    def read(self) -> Iterator[pa.Table]:
        """The rows in tables of at most ``PART_ROWS``, none of them empty, in the order of their ids."""
        for part in self.parts():
            chosen = part.filter(pa.array(is_among(part["id"].to_numpy(), self.ids)))
            for first in range(0, chosen.num_rows, PART_ROWS):
                yield chosen.slice(first, PART_ROWS)

    def table(self) -> pa.Table:
        """All rows in memory."""
        return pa.concat_tables([pa.table({"id": self.ids}).slice(0, 0), *self.read()], promote_options="default")


@dataclass(frozen=True)
class Located:
    """Where the row of each id stands in Parquet files: what is known of a table that is larger than memory.

    Attributes:
        filesystem: of the files.
        schema: of the rows.
        groups: the row groups.
        ids: (N,) int64, ascending and each once.
        group: (N,) int32, the place in ``groups`` of each id's row group.
        row: (N,) int32, the place of each id's row in it.
        durable: (N,) bool, as the reader of the files judged.
    """

    filesystem: pafs.FileSystem
    schema: pa.Schema
    groups: Sequence[RowGroup]
    ids: npt.NDArray[np.int64]
    group: npt.NDArray[np.int32]
    row: npt.NDArray[np.int32]
    durable: npt.NDArray[np.bool_]

    @classmethod
    def of(
        cls,
        filesystem: pafs.FileSystem,
        schema: pa.Schema,
        found: Sequence[tuple[RowGroup, npt.NDArray[np.int64], npt.NDArray[np.bool_]]],
    ) -> Located:
        """Rows of whole row groups; of an id that stands in several, the last.

        Args:
            filesystem: of the files.
            schema: of the rows.
            found: each row group, the ids of its rows, and which of them are durable.
        """
        ids = np.concatenate([np.zeros(0, np.int64), *(one for _, one, _ in found)])
        durable = np.concatenate([np.zeros(0, bool), *(one for _, _, one in found)])
        sizes = [one.size for _, one, _ in found]
        group = np.repeat(np.arange(len(found), dtype=np.int32), sizes)
        row = np.concatenate([np.zeros(0, np.int32), *(np.arange(size, dtype=np.int32) for size in sizes)])
        return cls(filesystem, schema, [one for one, _, _ in found], ids, group, row, durable)._latest()

    @classmethod
    def together(cls, several: Sequence[Located]) -> Located:
        """The rows of at least one; of an id that several have, that of the last."""
        first, offset, groups = several[0], 0, list[RowGroup]()
        moved: list[npt.NDArray[np.int32]] = []
        for one in several:
            moved.append(one.group + np.int32(offset))
            groups += one.groups
            offset += len(one.groups)
        columns = [np.concatenate([getattr(one, name) for one in several]) for name in ("ids", "row", "durable")]
        ids, row, durable = columns
        return cls(first.filesystem, first.schema, groups, ids, np.concatenate(moved), row, durable)._latest()

    def _latest(self) -> Located:
        order = np.argsort(self.ids, kind="stable")
        sorted_ids = self.ids[order]
        return self._at(order[np.append(sorted_ids[1:] != sorted_ids[:-1], True)[: order.size]])

    def where(self, mask: npt.NDArray[np.bool_]) -> Located:
        """The rows that a mask (N,) is true of."""
        return self._at(np.flatnonzero(mask))

    def _at(self, places: npt.NDArray[Any]) -> Located:
        chosen = (getattr(self, name)[places] for name in ("ids", "group", "row", "durable"))
        return Located(self.filesystem, self.schema, self.groups, *chosen)

    def parts(self, columns: list[str] | None = None) -> Iterator[pa.Table]:
        """The rows in tables of ``PART_ROWS``, in the order of their ids; no table for no rows.

        Raises:
            StoreError: a file cannot be read any more.
        """
        loaded: dict[int, pa.Table] = {}
        for first in range(0, self.ids.size, PART_ROWS):
            group, row = (one[first : first + PART_ROWS] for one in (self.group, self.row))
            needed = np.unique(group)
            # Files of a later round hold rows of many parts: what the last part read is kept for this one.
            loaded = {int(one): loaded[one] if one in loaded else self._read(one, columns) for one in needed}
            starts = np.cumsum([0, *(loaded[int(one)].num_rows for one in needed)])
            places = starts[np.searchsorted(needed, group)] + row
            yield pa.concat_tables(loaded.values()).take(pa.array(places))

    def _read(self, number: int, columns: list[str] | None) -> pa.Table:
        path, row_group = self.groups[number]
        try:
            return read_group(pq.ParquetFile(path, filesystem=self.filesystem), row_group, self.schema, columns)
        except (pa.ArrowException, OSError, ValueError, KeyError) as error:
            raise StoreError(
                f"{shown(path)} cannot be read any more ({error})", "run the same command again"
            ) from error

    def table(self) -> pa.Table:
        """All rows in memory, sorted by id."""
        return pa.concat_tables([self.schema.empty_table(), *self.parts()])


def read_parts(file: pq.ParquetFile, columns: list[str] | None = None) -> Iterator[pa.Table]:
    """A Parquet file, or some columns of it, in tables of at most ``PART_ROWS``."""
    for number in range(file.num_row_groups):  # asked for together, the bytes of all of them would be fetched at once
        for batch in file.iter_batches(PART_ROWS, row_groups=[number], columns=columns):
            yield pa.Table.from_batches([batch])


def read_group(file: pq.ParquetFile, number: int, schema: pa.Schema, columns: list[str] | None = None) -> pa.Table:
    """A row group in the types of a schema, or some columns of it; raises KeyError where it lacks one."""
    wanted = schema if columns is None else pa.schema([schema.field(name) for name in columns])
    return file.read_row_group(number, columns=wanted.names).select(wanted.names).cast(wanted)
