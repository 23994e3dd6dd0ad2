"""What a parser of lines gives: columns, the line of each row, and the malformed lines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

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

    def to_raw(
        self, columns: Mapping[str, Column | None], schema: pa.Schema, problem: Column | None = None
    ) -> pa.Table:
        """A raw table of the given columns, one entry per row, and of the malformed lines."""
        origin = {"recoded": pa.array(self.recoded)} | ({} if problem is None else {"problem": problem})
        good = raw_table(columns, schema, positions(self.number, self.lines), **origin)
        reasons = pa.array(self.bad_reasons, pa.string())
        bad = raw_table({}, schema, positions(self.number, self.bad_lines), problem=reasons)
        return pa.concat_tables([good, bad])
