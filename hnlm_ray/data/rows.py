"""What a parser of lines gives: columns, the lines of each row, and the lines that are no rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from hnlm_ray.data.lines import Chunk
from hnlm_ray.data.raw import BLANK, Column, Oddity, positions, raw_table

__all__ = ["Rows"]


@dataclass(frozen=True)
class Rows:
    """Rows of one chunk, and its lines that are none.

    Attributes:
        columns: by name, in the order of the lines.
        lines: int64 (n,), the line in the file on which each row begins.
        spans: int64 (n,), how many lines each row takes; 0 for one that shares its line with the row before.
        oddity: uint8 (n,), see :class:`hnlm_ray.data.raw.Oddity`.
        other_lines: int64 (m,), the malformed lines, and the first of the blank ones.
        other_spans: int64 (m,), how many lines each entry stands for.
        other_reasons: what is wrong with each of them.
        number: of the file.
    """

    columns: pa.Table
    lines: npt.NDArray[np.int64]
    spans: npt.NDArray[np.int64]
    oddity: npt.NDArray[np.uint8]
    other_lines: npt.NDArray[np.int64]
    other_spans: npt.NDArray[np.int64]
    other_reasons: list[str]
    number: int

    @classmethod
    def located(
        cls,
        chunk: Chunk,
        columns: pa.Table,
        lines: npt.NDArray[np.int64],
        *,
        recoded: npt.NDArray[np.int64],
        bad: Mapping[int, str],
        blank: npt.NDArray[np.int64],
        spans: npt.NDArray[np.int64] | None = None,
        oddity: npt.NDArray[np.uint8] | None = None,
    ) -> Rows:
        """The rows of a chunk. Lines are counted from its first, which is 0.

        Args:
            chunk: what was parsed.
            columns: one entry per row, in any order.
            lines: int64 (n,), where each row begins.
            recoded: int64, the lines that were not UTF-8.
            bad: why a line is malformed.
            blank: int64, the blank lines.
            spans: int64 (n,), how many lines each row takes; one by default.
            oddity: uint8 (n,), the rules that each row needed; none by default.
        """
        spans = np.ones(len(lines), dtype=np.int64) if spans is None else spans
        oddity = np.zeros(len(lines), dtype=np.uint8) if oddity is None else oddity
        if len(recoded):
            before = np.searchsorted(recoded, np.stack([lines, lines + np.maximum(spans, 1)]))
            oddity = np.where(before[1] > before[0], oddity | Oddity.NOT_UTF8, oddity).astype(np.uint8)
        if np.any(lines[1:] < lines[:-1]):
            order = np.argsort(lines, kind="stable")
            columns, lines, spans, oddity = columns.take(pa.array(order)), lines[order], spans[order], oddity[order]
        other = dict(bad)
        if len(blank):
            other[int(blank[0])] = BLANK
        is_blank = np.array([reason == BLANK for reason in other.values()], dtype=np.bool_)
        return cls(
            columns,
            lines + chunk.first_line,
            spans,
            oddity,
            np.array(list(other), dtype=np.int64) + chunk.first_line,
            np.where(is_blank, len(blank), 1),
            list(other.values()),
            chunk.number,
        )

    def to_raw(self, schema: pa.Schema, /, **columns: Column | None) -> pa.Table:
        """A raw table of the given columns (:func:`raw_table`), one entry per row, and of the lines that are none."""
        own = {"lines": pa.array(self.spans), "oddity": pa.array(self.oddity)}
        good = raw_table(schema, positions(self.number, self.lines), **own, **columns)
        reasons = {"lines": pa.array(self.other_spans), "problem": pa.array(self.other_reasons, pa.string())}
        return pa.concat_tables([good, raw_table(schema, positions(self.number, self.other_lines), **reasons)])
