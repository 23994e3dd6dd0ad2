"""Parse delimited lines into columns of text that know their line numbers."""

from __future__ import annotations

import csv
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from hnlm_ray.data.lines import Chunk, as_utf8, filled_lines
from hnlm_ray.data.odd_lines import OddLine, Reading, complete_bytes, read_odd
from hnlm_ray.data.raw import Oddity
from hnlm_ray.data.rows import Rows
from hnlm_ray.data.suspects import Dialect, Suspects, Text, find_suspects
from hnlm_ray.errors import DataError

__all__ = ["column_of", "csv_cut", "csv_delimiter", "header_names", "read_rows"]

_UNIT_SEPARATOR = "\x1f"
_CSV_DELIMITERS = ",;\t|"


def header_names(header: str, delimiter: str) -> list[str]:
    """The fields of a header line."""
    row = next(csv.reader([header], delimiter=delimiter, skipinitialspace=True), [])
    return [name.strip() for name in row]


def csv_delimiter(header: str) -> str:
    """What separates the fields of a CSV file: the one of ``,`` ``;`` tab ``|`` that divides its header most."""
    return max(_CSV_DELIMITERS, key=lambda mark: len(header_names(header, mark)))


def csv_cut(header: str, content: bytes) -> int:
    """Where a chunk of a CSV file may end: after a row, even one that spans lines."""
    mark = csv_delimiter(header)
    return complete_bytes(content, Dialect(mark, len(header_names(header, mark)), quoted=True))


def column_of(names: Sequence[str], name: str, file: str) -> bool:
    """Whether a file has a column of this name.

    Raises:
        DataError: it has several.
    """
    if names.count(name) > 1:
        raise DataError(f"{file} has {names.count(name)} columns {name!r}", "rename all but one, or drop them")
    return name in names


def read_rows(chunk: Chunk, names: Sequence[str], delimiter: str, *, quoted: bool) -> Rows:
    """Split the lines of a chunk into columns.

    Args:
        chunk: lines without a header.
        names: of the columns; a line with another number of fields is malformed.
        delimiter: one character, or several where nothing is quoted.
        quoted: whether fields may be enclosed in ``"`` and then contain line breaks, see
            :mod:`hnlm_ray.data.odd_lines`.

    Raises:
        DataError: the chunk is not delimited text.
    """
    content, recoded = as_utf8(chunk.content)
    if len(delimiter) > 1:
        content, delimiter = content.replace(delimiter.encode(), _UNIT_SEPARATOR.encode()), _UNIT_SEPARATOR
    text, dialect = Text.of(content), Dialect(delimiter, len(names), quoted)
    read = read_odd(text, find_suspects(text, dialect), dialect)
    own, odd = _spans(len(text.ends), read), read.odd
    filled = filled_lines(content)
    kept = filled[own[filled] > 0]
    columns, wrong = _columns(_outside(text, odd), dialect, chunk.file, has_breaks=len(read.clean) > 0)
    # One rule may still make a row of what Arrow refuses.
    odd += read_odd(text, Suspects(kept[wrong], np.zeros(len(wrong), np.int64)), dialect).odd
    kept = np.delete(kept, wrong)
    columns, lines, spans, oddity = _with_odd(columns, kept, own[kept], odd)
    if b"\0" in content:
        columns, has_nul = _without_nul(columns)
        oddity[has_nul] |= np.uint8(Oddity.NUL)
    return Rows.located(
        chunk,
        columns.rename_columns(list(names)),
        lines,
        spans=spans,
        oddity=oddity,
        recoded=recoded,
        bad={line.first: line.problem for line in odd if line.problem is not None},
        blank=np.setdiff1d(np.flatnonzero(own > 0), filled, assume_unique=True),
    )


def _spans(lines: int, read: Reading) -> npt.NDArray[np.int64]:
    """How many lines each line takes as a row that Arrow reads: 0 within such a row, and where another rule reads."""
    steps = np.zeros(lines + 1, dtype=np.int64)
    steps[read.clean] += 1
    steps[read.clean + read.spans] -= 1
    spans = np.where(np.cumsum(steps[:-1]) > 0, 0, 1)
    spans[read.clean] = read.spans
    for line in read.odd:
        spans[line.first : line.first + line.lines] = 0
    return spans


def _with_odd(
    columns: pa.Table, lines: npt.NDArray[np.int64], spans: npt.NDArray[np.int64], odd: Sequence[OddLine]
) -> tuple[pa.Table, npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.uint8]]:
    """The rows of plain lines and those of odd ones: the columns, the line of each row, its span, and its oddity."""
    rows = [(fields, line, 0 if place else line.lines) for line in odd for place, fields in enumerate(line.rows)]
    texts = [[fields[place].decode() for fields, _, _ in rows] for place in range(columns.num_columns)]
    more = pa.table([pa.array(text, pa.string()) for text in texts], columns.column_names)
    return (
        pa.concat_tables([columns, more]),
        np.append(lines, np.array([line.first for _, line, _ in rows], dtype=np.int64)),
        np.append(spans, np.array([span for _, _, span in rows], dtype=np.int64)),
        np.append(np.zeros(len(lines), np.uint8), np.array([line.oddity for _, line, _ in rows], dtype=np.uint8)),
    )


def _outside(text: Text, odd: Sequence[OddLine]) -> bytes:
    """The lines that were not read one by one."""
    if not odd:
        return text.content
    parts, start = [], 0
    for line in odd:
        parts.append(text.content[start : text.starts[line.first]])
        start = int(text.ends[line.first + line.lines - 1]) + 1
    return b"".join([*parts, text.content[start:]])


def _columns(content: bytes, dialect: Dialect, file: str, *, has_breaks: bool) -> tuple[pa.Table, list[int]]:
    """The fields of plain lines by their place, and the numbers, among the filled lines, of those that are no rows."""
    names = [str(place) for place in range(dialect.width)]
    if not content.strip(b"\r\n"):
        return pa.table({name: pa.array([], pa.string()) for name in names}), []
    wrong: list[int] = []

    def remember(row: pacsv.InvalidRow) -> str:
        wrong.append(row.number - 1)
        return "skip"

    try:
        columns = pacsv.read_csv(
            pa.py_buffer(content),
            read_options=pacsv.ReadOptions(use_threads=False, block_size=len(content) + 1, column_names=names),
            parse_options=pacsv.ParseOptions(
                delimiter=dialect.delimiter,
                quote_char='"' if dialect.quoted else False,
                newlines_in_values=has_breaks,
                invalid_row_handler=remember,
            ),
            convert_options=pacsv.ConvertOptions(column_types={name: pa.string() for name in names}),
        )
    except pa.ArrowInvalid as error:
        raise DataError(f"{file} is not delimited text ({error})", "check data.format") from error
    return columns, wrong


def _without_nul(columns: pa.Table) -> tuple[pa.Table, npt.NDArray[np.bool_]]:
    """The columns without NUL characters, and a boolean mask of the rows that had any."""
    has_nul = np.zeros(len(columns), dtype=np.bool_)
    for place, column in enumerate(columns.columns):
        has_nul |= pc.match_substring(column, "\0").to_numpy()
        columns = columns.set_column(place, str(place), pc.replace_substring(column, "\0", ""))
    return columns, has_nul
