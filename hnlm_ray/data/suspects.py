"""Find, by whole columns, the delimited lines that no parser of CSV should read by itself."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from hnlm_ray.data.lines import filled_lines, line_bounds

__all__ = ["MOST_BYTES", "MOST_LINES", "Dialect", "Integers", "Suspects", "Text", "find_suspects", "look_like_rows"]

MOST_LINES = 1000
MOST_BYTES = 1 << 20
"""Bounds of a quoted field."""

_QUOTE, _FEED, _RETURN, _BACKSLASH, _SPACE = b'"\n\r\\ '
_ESCAPED = rb'[^"\\]*+(?:(?:\\.|"")[^"\\]*+)*+'

Integers: TypeAlias = npt.NDArray[np.int64]
"""Numbers or places of lines, quotes or delimiters."""


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
        doubled = re.compile(rb' *"([^"]*+(?:""[^"]*+)*+)' + after)
        return doubled, re.compile(rb' *"(' + _ESCAPED + rb")" + after, re.DOTALL)

    @cached_property
    def open_fields(self) -> tuple[re.Pattern[bytes], re.Pattern[bytes]]:
        """A quoted field that does not end, by how it writes a quote."""
        return re.compile(rb' *"[^"]*+(?:""[^"]*+)*+\Z'), re.compile(rb' *"' + _ESCAPED + rb"\\?\Z", re.DOTALL)

    @cached_property
    def bare_field(self) -> re.Pattern[bytes]:
        """A field without a quote in front."""
        return re.compile(rb'(?! *")[^' + re.escape(self.mark) + rb"\n]*+")


class Text(NamedTuple):
    """Some lines: the bytes, and where each line begins and ends."""

    content: bytes
    starts: Integers
    ends: Integers

    @classmethod
    def of(cls, content: bytes) -> Text:
        """Find the lines."""
        return cls(content, *line_bounds(content))

    def line(self, number: int) -> bytes:
        """One line without its end."""
        return self.content[self.starts[number] : self.ends[number]].removesuffix(b"\r")


class Suspects(NamedTuple):
    """Lines to be looked at one by one.

    Attributes:
        lines: int64 (n,), ascending, from 0.
        clean: int64 (n,), how many lines a row takes that begins on this line and is as RFC 4180 has it, with a quoted
            field that spans lines; 0 where there is no such row.
    """

    lines: Integers
    clean: Integers


def find_suspects(text: Text, dialect: Dialect) -> Suspects:
    """Lines with quotes other than those of whole fields, or with a carriage return before their end."""
    octets = np.append(np.frombuffer(text.content, dtype=np.uint8), np.array([_FEED, _FEED], dtype=np.uint8))
    returns = np.empty(0, dtype=np.int64)
    if text.content.count(b"\r") != text.content.count(b"\r\n"):
        places = np.flatnonzero(octets == _RETURN)
        returns = np.unique(np.searchsorted(text.ends, places[octets[places + 1] != _FEED]))
    if not dialect.quoted or b'"' not in text.content:
        return Suspects(returns, np.zeros(len(returns), np.int64))
    quotes = _quotes(text, octets, ord(dialect.delimiter))
    opens = (np.arange(len(quotes.places)) - quotes.before[quotes.lines]) % 2 == 0
    is_odd = np.diff(quotes.before) % 2 == 1
    is_odd[quotes.lines[~np.where(opens, quotes.begins, quotes.closes)]] = True
    is_odd[returns] = True
    lines, clean = np.flatnonzero(is_odd), _clean_rows(text, octets, dialect, quotes)
    clean[returns] = 0
    return Suspects(lines, clean[lines])


class _Quotes(NamedTuple):
    """Quotes: their places, their lines, whether one could begin or end a quoted field, and how many precede a line."""

    places: Integers
    lines: Integers
    begins: npt.NDArray[np.bool_]
    closes: npt.NDArray[np.bool_]
    before: Integers


def _quotes(text: Text, octets: npt.NDArray[np.uint8], delimiter: int) -> _Quotes:
    """A quote begins a field at its beginning, ends one at its end, and does either beside another quote."""
    places = np.flatnonzero(octets == _QUOTE)
    before = np.searchsorted(places, np.append(text.starts, len(text.content)))
    lines = np.repeat(np.arange(len(text.ends)), np.diff(before))
    preceding, following = octets[places - 1], octets[places + 1]
    begins = (preceding == delimiter) | (preceding == _FEED) | (preceding == _QUOTE)
    closes = (following == delimiter) | (following == _FEED) | (following == _QUOTE)
    closes |= (following == _RETURN) & (octets[places + 2] == _FEED)
    return _Quotes(places, lines, begins, closes, before)


def _clean_rows(text: Text, octets: npt.NDArray[np.uint8], dialect: Dialect, quotes: _Quotes) -> Integers:
    """For each line, how many lines the clean row takes that begins on it and ends on another; 0 for none: int64 (n,).

    Such a row goes from one line with an odd number of quotes to the next. Its quotes open and close fields by turns,
    and so does the number of quotes before a delimiter tell whether this divides fields.
    """
    clean = np.zeros(len(text.ends), dtype=np.int64)
    odd = np.flatnonzero(np.diff(quotes.before) % 2)
    first, last = odd[:-1], odd[1:]
    if not len(first):
        return clean
    begin, end, parity = quotes.before[first], quotes.before[last + 1], quotes.before[first] % 2
    marks = np.flatnonzero(octets == ord(dialect.delimiter))
    marks_before = np.searchsorted(marks, np.append(text.starts, len(text.content)))
    of_quote, of_mark = np.arange(len(quotes.places)) % 2, np.searchsorted(quotes.places, marks) % 2
    fits = np.zeros(len(first), dtype=np.bool_)
    for opening in (0, 1):
        wrong = _before(~np.where(of_quote == opening, quotes.begins, quotes.closes))
        dividing = _before(of_mark == opening)
        fields = 1 + dividing[marks_before[last + 1]] - dividing[marks_before[first]]
        fits |= (parity == opening) & (wrong[end] == wrong[begin]) & (fields == dialect.width)
    # A backslash before a quote has a rule of its own, which goes before.
    escaped = _before(octets[quotes.places - 1] == _BACKSLASH)
    fits &= escaped[quotes.before[first + 1]] == escaped[begin]
    fits &= (last - first <= MOST_LINES) & (text.ends[last] - text.starts[first] <= MOST_BYTES)
    spaced = _before(octets[marks + 1] == _SPACE)
    is_spaced = spaced[np.searchsorted(marks, quotes.places[begin])] > spaced[marks_before[first]]
    fits &= ~_look_like_rows(
        text, dialect.width, np.diff(marks_before), np.diff(spaced[marks_before]), first, last, is_spaced
    )
    clean[first] = np.where(fits, last - first + 1, 0)
    return clean


def _look_like_rows(
    text: Text,
    width: int,
    marks: Integers,
    spaced: Integers,
    first: Integers,
    last: Integers,
    is_spaced: npt.NDArray[np.bool_],
) -> npt.NDArray[np.bool_]:
    """Whether most lines after ``first`` up to ``last`` look like rows: :func:`look_like_rows` for many.

    Args:
        text: all lines.
        width: fields of a row.
        marks: delimiters of each line.
        spaced: those with a space after them.
        first: int64 (n,).
        last: int64 (n,).
        is_spaced: bool (n,), whether delimiters before the quote have a space after them, too.
    """
    is_filled = np.zeros(len(text.ends), dtype=np.bool_)
    is_filled[filled_lines(text.content)] = True
    alike = is_filled & (marks + 1 == width)
    loose, tight, filled = (_before(mask) for mask in (alike, alike & (spaced == 0), is_filled))
    number = np.where(is_spaced, loose[last + 1] - loose[first + 1], tight[last + 1] - tight[first + 1])
    return _are_most(number, filled[last + 1] - filled[first + 1]) & (width > 1)


def look_like_rows(text: Text, first: int, last: int, dialect: Dialect) -> bool:
    """Whether most lines after ``first`` have as many fields as a row, and are no prose: no space follows a comma."""
    if last == first or dialect.width == 1:
        return False
    spaced = dialect.mark + b" "
    is_spaced = spaced in text.line(first).partition(b'"')[0]
    lines = [text.line(line) for line in range(first + 1, last + 1)]
    alike = [line for line in lines if line and line.count(dialect.mark) + 1 == dialect.width]
    number = len(alike) if is_spaced else sum(spaced not in line for line in alike)
    return bool(_are_most(np.array(number), np.array(sum(map(bool, lines)))))


def _are_most(alike: Integers, filled: Integers) -> npt.NDArray[np.bool_]:
    """One of one, both of two, and half of more."""
    return (alike >= np.clip(filled, 1, 2)) & (2 * alike >= filled)


def _before(mask: npt.NDArray[np.bool_]) -> Integers:
    """How many entries before each one, and before the end, are true."""
    return np.append(0, np.cumsum(mask))
