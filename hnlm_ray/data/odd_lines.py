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
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from hnlm_ray.data.lines import line_bounds
from hnlm_ray.data.raw import Oddity

__all__ = ["MOST_LINES", "Dialect", "OddLine", "Text", "complete_bytes", "find_odd", "read_odd"]

MOST_LINES = 1000
"""That a quoted field spans."""
_MOST_BYTES = 1 << 20

_QUOTE, _FEED, _RETURN = b'"\n\r'
_BACKSLASH = re.compile(rb"\\(.)", re.DOTALL)


@dataclass(frozen=True)
class Dialect:
    """How the lines of a file are divided into fields.

    Attributes:
        delimiter: one character of ASCII.
        width: the number of fields of a row.
        quoted: whether fields may be enclosed in ``"``.
    """

    delimiter: str
    width: int
    quoted: bool

    @cached_property
    def mark(self) -> bytes:
        """The delimiter."""
        return self.delimiter.encode()

    @cached_property
    def quoted_fields(self) -> tuple[re.Pattern[bytes], re.Pattern[bytes]]:
        r"""A whole quoted field, by how it writes a quote: doubled, or doubled and as ``\"``."""
        after = rb'" *(?=' + re.escape(self.mark) + rb"|\r?(?:\n|\Z))"
        return re.compile(rb' *"([^"]*+(?:""[^"]*+)*+)' + after), re.compile(
            rb' *"(' + _ESCAPED + rb")" + after, re.DOTALL
        )

    @cached_property
    def clean_row(self) -> re.Pattern[bytes]:
        """A row with its end, as RFC 4180 has it."""
        mark = re.escape(self.mark)
        field = rb'(?:"[^"]*+(?:""[^"]*+)*+"|[^"\r\n' + mark + rb"]*+)"
        return re.compile(field + rb"(?:" + mark + field + rb"){%d}" % (self.width - 1) + rb"\r?(?:\n|\Z)")

    @cached_property
    def bare_field(self) -> re.Pattern[bytes]:
        """A field without a quote in front."""
        return re.compile(rb'(?! *")[^' + re.escape(self.mark) + rb"\n]*+")


_ESCAPED = rb'[^"\\]*+(?:(?:\\.|"")[^"\\]*+)*+'
_OPEN = re.compile(rb' *"[^"]*+(?:""[^"]*+)*+\Z'), re.compile(rb' *"' + _ESCAPED + rb"\\?\Z", re.DOTALL)
"""A quoted field that does not end."""


class Text(NamedTuple):
    """Some lines: the bytes, and where each line begins and ends."""

    content: bytes
    starts: npt.NDArray[np.int64]
    ends: npt.NDArray[np.int64]

    @classmethod
    def of(cls, content: bytes) -> Text:
        """Find the lines."""
        return cls(content, *line_bounds(content))

    def line(self, number: int) -> bytes:
        """One line without its end."""
        return self.content[self.starts[number] : self.ends[number]].removesuffix(b"\r")


class OddLine(NamedTuple):
    """What a line that is not plain was found to be.

    Attributes:
        first: the line, from 0.
        lines: how many lines it takes, with those that a quoted field spans.
        rows: the fields of each row, one row as a rule; none where the line is malformed or clean.
        oddity: the rules that it needed.
        problem: why it is malformed.
        is_clean: whether the lines are one row that any parser of CSV reads.
    """

    first: int
    lines: int
    rows: list[list[bytes]]
    oddity: Oddity = Oddity.NONE
    problem: str | None = None
    is_clean: bool = False


class _Record(NamedTuple):
    """The fields from one place on, and where they end; with the fault that ends them where they are no row."""

    fields: list[bytes]
    end: int
    has_bare_quote: bool = False
    fault: str = ""
    is_open: bool = False


def find_odd(text: Text, dialect: Dialect) -> npt.NDArray[np.int64]:
    """Lines, from 0, with quotes other than those of whole fields, or with a carriage return before their end."""
    octets = np.frombuffer(text.content, dtype=np.uint8)
    found = [np.empty(0, dtype=np.int64)]
    if text.content.count(b"\r") != text.content.count(b"\r\n"):
        places = np.flatnonzero(octets == _RETURN)
        follows = np.append(octets, np.uint8(_FEED))[places + 1]
        found.append(np.searchsorted(text.ends, places[follows != _FEED]))
    if dialect.quoted and b'"' in text.content:
        found.append(_odd_quotes(octets, text.ends, ord(dialect.delimiter)))
    return np.unique(np.concatenate(found))


def _odd_quotes(octets: npt.NDArray[np.uint8], ends: npt.NDArray[np.int64], delimiter: int) -> npt.NDArray[np.int64]:
    """A line is plain if its quotes by turns open a field and close it, or are doubled within one."""
    places = np.flatnonzero(octets == _QUOTE)
    lines = np.searchsorted(ends, places)
    first = np.flatnonzero(np.append(True, lines[1:] != lines[:-1]))
    counts = np.diff(np.append(first, len(places)))
    opens = (np.arange(len(places)) - np.repeat(first, counts)) % 2 == 0
    before = np.append(np.uint8(_FEED), octets)[places]
    padded = np.append(octets, np.array([_FEED, _FEED], dtype=np.uint8))
    after, second = padded[places + 1], padded[places + 2]
    begins = np.isin(before, [delimiter, _FEED, _QUOTE])
    closes = np.isin(after, [delimiter, _FEED, _QUOTE]) | ((after == _RETURN) & (second == _FEED))
    return np.concatenate([lines[first[counts % 2 == 1]], lines[~np.where(opens, begins, closes)]])


def complete_bytes(content: bytes, dialect: Dialect) -> int:
    """How many bytes of whole lines can be read without knowing the lines that follow."""
    if b'"' not in content:
        return len(content)
    text = Text.of(content)
    for odd in read_odd(text, find_odd(text, dialect), dialect, is_last=False):
        if odd.lines == 0:
            return int(text.starts[odd.first])
    return len(content)


def read_odd(text: Text, lines: npt.NDArray[np.int64], dialect: Dialect, *, is_last: bool = True) -> Iterator[OddLine]:
    """Read the given lines in turn, but not those within a quoted field that began before.

    Args:
        text: all lines.
        lines: int64, those to read, ascending.
        dialect: how they are divided.
        is_last: whether nothing follows the text. Otherwise, a quoted field that may close after its end is given with
            0 lines, and the reading ends.
    """
    free = 0
    for line in lines.tolist():
        if line >= free:
            odd = _read_line(text, line, dialect, is_last)
            yield odd
            if odd.lines == 0:
                return
            free = line + odd.lines


def _read_line(text: Text, line: int, dialect: Dialect, is_last: bool) -> OddLine:
    content = text.line(line)
    if lines := _clean_lines(text, line, dialect):
        return OddLine(line, lines, [], is_clean=True)
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


def _clean_lines(text: Text, line: int, dialect: Dialect) -> int:
    """How many lines the row that begins on a line takes, if it is as RFC 4180 has it; 0 if it is not."""
    start, end, _ = _reach(text, line)
    feed = int(text.ends[line])
    # These have rules that go before.
    if (
        not dialect.quoted
        or text.content.find(b"\r", start, feed - 1) >= 0
        or text.content.find(b'\\"', start, feed) >= 0
    ):
        return 0
    if found := dialect.clean_row.match(text.content, start, end):
        final = line + text.content.count(b"\n", start, found.end() - 1)
        if not _looks_like_rows(text, line, final, dialect):
            return final - line + 1
    return 0


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
        if row is not None and not _looks_like_rows(text, line, line + below, dialect):
            return OddLine(line, below + 1, [row], extra | (Oddity.BACKSLASH if escaped else Oddity.NONE))
        what = (
            "after lines that look like rows" if row is not None else f"in a row of {_problem(record, dialect.width)}"
        )
        problems.append("is not closed" if record.fault else f"would end {below} further down, {what}")
    first = _record(text.content, start, int(text.ends[line]), dialect).fields
    return OddLine(line, 1, [], problem=f"quoted field {len(first) + 1} {problems[0]}")


def _reach(text: Text, line: int) -> tuple[int, int, bool]:
    """Where a line begins, how far a quoted field that opens there may go, and whether its bounds say so."""
    start, last, lines = int(text.starts[line]), line + MOST_LINES, len(text.ends)
    end = int(text.ends[min(last, lines - 1)])
    return start, min(end, start + _MOST_BYTES), last < lines or end > start + _MOST_BYTES


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
            is_open = _OPEN[escaped].match(content, place, end) is not None
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


def _looks_like_rows(text: Text, line: int, final: int, dialect: Dialect) -> bool:
    """Whether most lines after ``line`` have as many fields as a row, and are no prose: no space follows a comma."""
    if final == line or dialect.width == 1:
        return False
    mark, spaced = dialect.mark, dialect.mark + b" "
    is_spaced = spaced in text.line(line).partition(b'"')[0]
    alike = filled = 0
    for content in text.content[text.starts[line + 1] : text.ends[final]].split(b"\n"):
        if content.strip():
            filled += 1
            alike += content.count(mark) + 1 == dialect.width and (is_spaced or spaced not in content)
    return alike >= max(1, min(2, filled)) and 2 * alike >= filled
