r"""Read the delimited lines that are not plain, each by a rule, so that none is lost and none takes others with it.

The lines of a chunk that need it are found by whole columns; these few are then read one by one:

- A field that begins with ``"`` ends at the next ``"`` that is not doubled; only spaces may stand between a quote and
  the delimiter, or the line is malformed.
- Where that gives no row, ``\"`` is a quote of the text.
- A quote within a field that does not begin with one is a character.
- A quoted field may span lines if it closes within bounds, if its row has the right number of fields, and unless most
  of the lines that it would swallow look like rows. Otherwise the line where it opens is malformed, that line alone,
  and reading resumes on the next one.
- A carriage return within a line is a character if the line is a row with it; else it ends a row, if every part of the
  line is a row.
- One empty field too many at the end of a line is dropped.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from typing import NamedTuple

import numpy as np

from hnlm_ray.data.raw import Oddity
from hnlm_ray.data.suspects import (
    MOST_BYTES,
    MOST_LINES,
    Dialect,
    Integers,
    Suspects,
    Text,
    find_suspects,
    look_like_rows,
)

__all__ = ["OddLine", "Reading", "complete_bytes", "read_odd"]

_BACKSLASH = re.compile(rb"\\(.)", re.DOTALL)


class OddLine(NamedTuple):
    """What a line that is not plain was found to be.

    Attributes:
        first: the line, from 0.
        lines: how many lines it takes, with those that a quoted field spans.
        rows: the fields of each row, one row as a rule; none where the line is malformed.
        oddity: the rules that it needed.
        problem: why it is malformed.
    """

    first: int
    lines: int
    rows: list[list[bytes]]
    oddity: Oddity = Oddity.NONE
    problem: str | None = None


class Reading(NamedTuple):
    """What suspect lines were found to be.

    Attributes:
        odd: lines that needed a rule, or are malformed.
        clean: int64 (n,), where clean rows begin that span lines.
        spans: int64 (n,), how many lines each of them takes.
        end: the line at which the reading ended, with a quoted field that may close after the text; or the number of
            lines.
    """

    odd: list[OddLine]
    clean: Integers
    spans: Integers
    end: int


class _Record(NamedTuple):
    """The fields from one place on, and where they end; with the fault that ends them where they are no row."""

    fields: list[bytes]
    end: int
    has_bare_quote: bool = False
    fault: str = ""
    is_open: bool = False


def complete_bytes(content: bytes, dialect: Dialect) -> int:
    """How many bytes of whole lines can be read without knowing the lines that follow."""
    if b'"' not in content:
        return len(content)
    text = Text.of(content)
    end = read_odd(text, find_suspects(text, dialect), dialect, is_last=False).end
    return int(text.starts[end]) if end < len(text.starts) else len(content)


def read_odd(text: Text, suspects: Suspects, dialect: Dialect, *, is_last: bool = True) -> Reading:
    """Read the suspect lines in turn, but not those within a quoted field that began before.

    Args:
        text: all lines.
        suspects: those to read.
        dialect: how they are divided.
        is_last: whether nothing follows the text; else, the reading ends at a quoted field that may close after it.
    """
    lines, spans = suspects.lines.tolist(), suspects.clean.tolist()
    after_clean = np.searchsorted(suspects.lines, suspects.lines + suspects.clean).tolist()
    odd: list[OddLine] = []
    clean: list[int] = []
    place, end = 0, len(text.ends)
    while place < len(lines):
        if spans[place]:
            clean.append(place)
            place = after_clean[place]
            continue
        found = _read_line(text, lines[place], dialect, is_last)
        if found.lines == 0:
            end = found.first
            break
        odd.append(found)
        place = bisect_left(lines, found.first + found.lines, place)
    return Reading(odd, suspects.lines[clean], suspects.clean[clean], end)


def _read_line(text: Text, line: int, dialect: Dialect, is_last: bool) -> OddLine:
    content = text.line(line)
    oddity = Oddity.RETURN if b"\r" in content else Oddity.NONE
    plain = _record(content, 0, len(content), dialect)
    readings = [(plain, oddity | (Oddity.BARE_QUOTE if plain.has_bare_quote else Oddity.NONE))]
    if dialect.quoted and b'\\"' in content:
        escaped = _record(content, 0, len(content), dialect, escaped=True)
        readings.insert(1 - plain.has_bare_quote, (escaped, oddity | Oddity.BACKSLASH))
    for record, needed in readings:
        row, extra = _row(record, dialect.width)
        if row is not None:
            return OddLine(line, 1, [row], needed | extra)
    parts = [_row(_record(part, 0, len(part), dialect), dialect.width)[0] for part in content.split(b"\r") if part]
    rows = [part for part in parts if part is not None]
    if oddity and rows and len(rows) == len(parts):
        return OddLine(line, 1, rows, oddity)
    if any(record.is_open for record, _ in readings):
        return _read_lines(text, line, dialect, is_last)
    return OddLine(line, 1, [], problem=_problem(plain, dialect.width))


def _read_lines(text: Text, line: int, dialect: Dialect, is_last: bool) -> OddLine:
    """Read the row of a line on which a quoted field stays open."""
    start, end, is_bound = _reach(text, line)
    problems = []
    for escaped in (False, True):
        record = _record(text.content, start, end, dialect, escaped=escaped)
        if record.is_open and not is_last and not is_bound:
            return OddLine(line, 0, [])
        below = int(np.searchsorted(text.ends, record.end)) - line
        row, extra = _row(record, dialect.width)
        if row is not None and not look_like_rows(text, line, line + below, dialect):
            return OddLine(line, below + 1, [row], extra | (Oddity.BACKSLASH if escaped else Oddity.NONE))
        what = (
            "after lines that look like rows" if row is not None else f"in a row of {_problem(record, dialect.width)}"
        )
        problems.append(
            "is not closed"
            if record.fault
            else f"would end {below} line{'s' if below > 1 else ''} further down, {what}"
        )
    first = _record(text.content, start, int(text.ends[line]), dialect).fields
    return OddLine(line, 1, [], problem=f"quoted field {len(first) + 1} {problems[0]}")


def _reach(text: Text, line: int) -> tuple[int, int, bool]:
    """Where a line begins, how far a quoted field that opens there may go, and whether its bounds say so."""
    start, last, lines = int(text.starts[line]), line + MOST_LINES, len(text.ends)
    end = int(text.ends[min(last, lines - 1)])
    return start, min(end, start + MOST_BYTES), last < lines or end > start + MOST_BYTES


def _record(content: bytes, place: int, end: int, dialect: Dialect, *, escaped: bool = False) -> _Record:
    r"""The fields of the row that begins at ``place``; ``escaped`` reads ``\"`` as a quote of the text."""
    if not dialect.quoted:
        return _Record(content[place:end].split(dialect.mark), end)
    fields: list[bytes] = []
    has_bare_quote = False
    while True:
        if found := dialect.quoted_fields[escaped].match(content, place, end):
            field = found[1].replace(b'""', b'"')
            fields.append(_BACKSLASH.sub(rb"\1", field) if escaped else field)
        elif found := dialect.bare_field.match(content, place, end):
            has_bare_quote |= b'"' in found[0]
            fields.append(found[0])
        else:
            is_open = dialect.open_fields[escaped].match(content, place, end) is not None
            fault = "is not closed" if is_open else "is followed by text after its closing quote"
            return _Record(fields, end, fault=f"quoted field {len(fields) + 1} {fault}", is_open=is_open)
        place = found.end()
        if content[place : min(place + 1, end)] != dialect.mark:
            break
        place += 1
    if fields[-1].endswith(b"\r"):
        fields[-1] = fields[-1][:-1]
    return _Record(fields, place, has_bare_quote)


def _row(record: _Record, width: int) -> tuple[list[bytes] | None, Oddity]:
    """The fields of a row of the right width; None for any other."""
    if not record.fault and len(record.fields) == width:
        return record.fields, Oddity.NONE
    if not record.fault and len(record.fields) == width + 1 and not record.fields[-1].strip():
        return record.fields[:-1], Oddity.EMPTY_FIELD
    return None, Oddity.NONE


def _problem(record: _Record, width: int) -> str:
    number = len(record.fields)
    return record.fault or f"{number} field{'s' if number > 1 else ''}, expected {width}"
