"""What a parser of lines gives: columns, the line of each row, and the malformed lines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from hnlm_ray.data.lines import Chunk
from hnlm_ray.data.raw import Column, positions, raw_table

__all__ = ["Rows"]


@dataclass(frozen=True)
class Rows:
    """Rows of one chunk.

    Attributes:
        columns: by name.
        lines: int64 (n,), the line of each row.
        recoded: bool (n,), whether the line was not UTF-8.
        bad_lines: int64 (m,), the malformed lines.
        bad_reasons: what is wrong with each of them.
        number: of the file.
    """

    columns: pa.Table
    lines: npt.NDArray[np.int64]
    recoded: npt.NDArray[np.bool_]
    bad_lines: npt.NDArray[np.int64]
    bad_reasons: list[str]
    number: int

    @classmethod
    def located(
        cls,
        chunk: Chunk,
        columns: pa.Table,
        lines: npt.NDArray[np.int64],
        recoded: npt.NDArray[np.int64],
        bad: Mapping[int, str],
    ) -> Rows:
        """The rows of a chunk whose good lines became columns.

        Args:
            chunk: what was parsed.
            columns: one row per good line.
            lines: int64, the good and the malformed lines of the chunk, from 0 and ascending.
            recoded: those of the lines that were not UTF-8.
            bad: why a line is malformed, by its index in ``lines``, in ascending order.
        """
        is_bad = np.zeros(len(lines), np.bool_)
        is_bad[list(bad)] = True
        good, first = lines[~is_bad], chunk.first_line
        reasons = list(bad.values())
        return cls(columns, good + first, np.isin(good, recoded), lines[is_bad] + first, reasons, chunk.number)

    def to_raw(self, schema: pa.Schema, /, **columns: Column | None) -> pa.Table:
        """A raw table of the given columns (:func:`raw_table`), one entry per row, and of the malformed lines."""
        good = raw_table(schema, positions(self.number, self.lines), recoded=pa.array(self.recoded), **columns)
        reasons = pa.array(self.bad_reasons, pa.string())
        return pa.concat_tables([good, raw_table(schema, positions(self.number, self.bad_lines), problem=reasons)])
