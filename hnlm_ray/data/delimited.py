"""Parse delimited lines into columns of text that know their line numbers."""

from __future__ import annotations

import csv
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv

from hnlm_ray.data.lines import Chunk, as_utf8, filled_lines
from hnlm_ray.data.rows import Rows
from hnlm_ray.errors import DataError

__all__ = ["header_names", "read_rows"]


def header_names(header: str, delimiter: str) -> list[str]:
    """The fields of a header line."""
    return [name.strip() for name in next(csv.reader([header], delimiter=delimiter), [])]


def read_rows(chunk: Chunk, names: Sequence[str], delimiter: str, *, quoted: bool) -> Rows:
    """Split the lines of a chunk into columns.

    Args:
        chunk: lines without a header.
        names: of the columns; a line with another number of fields is malformed.
        delimiter: one character, or several where nothing is quoted.
        quoted: whether fields may be enclosed in ``"`` and then contain line breaks.

    Raises:
        DataError: a quoted field is not closed.
    """
    content, recoded = as_utf8(chunk.content)
    if len(delimiter) > 1:
        content, delimiter = content.replace(delimiter.encode(), b"\x1f"), "\x1f"
    bad: list[pacsv.InvalidRow] = []

    def remember(row: pacsv.InvalidRow) -> str:
        bad.append(row)
        return "skip"

    filled = filled_lines(content)
    if not len(filled):
        columns = pa.table({name: pa.array([], pa.string()) for name in names})
    else:
        try:
            columns = pacsv.read_csv(
                pa.py_buffer(content),
                read_options=pacsv.ReadOptions(
                    use_threads=False, block_size=len(content) + 1, column_names=list(names)
                ),
                parse_options=pacsv.ParseOptions(
                    delimiter=delimiter,
                    quote_char='"' if quoted else False,
                    newlines_in_values=quoted,
                    invalid_row_handler=remember,
                ),
                convert_options=pacsv.ConvertOptions(column_types={name: pa.string() for name in names}),
            )
        except pa.ArrowInvalid as error:
            raise DataError(f"{chunk.file} is not delimited text ({error})", "check data.format") from error
    total = columns.num_rows + len(bad)
    # With line breaks inside quoted fields, the numbers are those of rows.
    lines = filled if len(filled) == total else np.arange(total)
    reasons = {row.number - 1: f"{row.actual_columns} fields, expected {row.expected_columns}" for row in bad}
    return Rows.located(chunk, columns, lines, recoded, reasons)
