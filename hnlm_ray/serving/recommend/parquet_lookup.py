"""Rows of a sorted Parquet file by their key, without reading the rest of the file."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq

__all__ = ["ParquetLookup"]


class ParquetLookup:
    """Looks up rows of one file; safe to use from several threads."""

    def __init__(self, path: str, key: str) -> None:
        """Open a file.

        Args:
            path: path of the file.
            key: name of the integer column that the file is sorted by, ascending.
        """
        self._file = pq.ParquetFile(path, memory_map=True)
        self._key, self._lock = key, threading.Lock()
        column = self._file.schema_arrow.get_field_index(key)
        # A table without rows has one row group all the same, without statistics.
        groups = range(self._file.num_row_groups if self._file.metadata.num_rows else 0)
        statistics = [self._file.metadata.row_group(group).column(column).statistics for group in groups]
        self._first = np.array([one.min for one in statistics], dtype=np.int64)
        self._last = np.array([one.max for one in statistics], dtype=np.int64)

    def rows(self, key: int) -> list[dict[str, Any]]:
        """The rows with this key, in the order of the file."""
        start = int(np.searchsorted(self._last, key))
        stop = int(np.searchsorted(self._first, key, side="right"))
        if start >= stop:
            return []
        with self._lock:
            table = self._file.read_row_groups(list(range(start, stop)))
        found: list[dict[str, Any]] = table.filter(pc.equal(table[self._key], key)).to_pylist()
        return found
