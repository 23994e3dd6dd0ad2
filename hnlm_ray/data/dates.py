"""Dates and times in text, by whole columns: ISO 8601, RFC 2822, and the forms that name the month."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from hnlm_ray.data.raw import Column

__all__ = ["is_ambiguous", "seconds_of_dates"]

_CLOCK = r"(?P<hour>\d{1,2}):(?P<minute>\d{2})(?::(?P<second>\d{2})(?P<fraction>[.,]\d+)?)?(?:\s?(?P<half>[AaPp])[Mm])?"
# A zone may be followed by its name in brackets, as Java writes it.
_ZONE = r"(?:\s?(?P<zone>Z|z|UTC|GMT|(?:UTC|GMT)?[+-]\d{2}(?::?\d{2})?)(?:\s?[\[(][A-Za-z/_ ]+[\])])?)?"
_WEEKDAY = r"(?:[A-Z][a-z]{2,8}\.?,?\s+)?"
_MONTH = r"(?P<name>[A-Za-z]{3})[a-z]{0,6}\.?"
_FORMS = (
    rf"^(?P<year>\d{{4}})[-/.](?P<month>\d{{1,2}})[-/.](?P<day>\d{{1,2}})(?:(?:[Tt_]|,?\s+){_CLOCK})?{_ZONE}$",
    rf"^(?P<year>\d{{4}})(?P<month>\d{{2}})(?P<day>\d{{2}})[Tt ](?P<hour>\d{{2}}):?(?P<minute>\d{{2}})"
    rf"(?::?(?P<second>\d{{2}})(?P<fraction>[.,]\d+)?)?{_ZONE}$",
    r"^(?P<year>\d{4})-(?P<month>\d{2})(?P<zone>)$",
    rf"^{_WEEKDAY}(?P<day>\d{{1,2}})[-\s]{_MONTH}[-,\s]\s?(?P<year>\d{{4}})(?:,?\s+{_CLOCK})?{_ZONE}$",
    rf"^{_WEEKDAY}{_MONTH}\s(?P<day>\d{{1,2}}),?\s+(?P<year>\d{{4}})(?:,?\s+{_CLOCK})?{_ZONE}$",
    rf"^{_WEEKDAY}{_MONTH}\s+(?P<day>\d{{1,2}})\s+{_CLOCK}{_ZONE}\s+(?P<year>\d{{4}})$",
)
"""ISO 8601, extended, basic, and of months; RFC 2822; ``January 31, 2018``; and what C and Twitter write."""

_AMBIGUOUS = r"^\d{1,2}[-/.]\d{1,2}[-/.](\d{2}|\d{4})\b"
_MONTHS = pa.array(["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"])

Floats = npt.NDArray[np.float64]


def seconds_of_dates(text: Column) -> Column:
    """Seconds since 1970 of each text that is a date or a time; without a zone it is UTC.

    A date without a time is its midnight. Which of two numbers is the month is never guessed: a form that begins with
    two short numbers is no date.

    Args:
        text: without white space at the ends.

    Returns:
        float64, null where the text is no date or the date does not exist.
    """
    found = pa.nulls(len(text), pa.float64())
    plain = text.combine_chunks() if isinstance(text, pa.ChunkedArray) else text
    for form in _FORMS:
        if found.null_count == plain.null_count:
            break
        rest = np.flatnonzero(pc.and_(pc.is_null(found), pc.is_valid(plain)).to_numpy(zero_copy_only=False))
        parts = pc.extract_regex(plain.take(pa.array(rest)), form)
        fits = np.flatnonzero(pc.is_valid(parts).to_numpy(zero_copy_only=False))
        if len(fits):
            values = found.to_numpy(zero_copy_only=False).copy()
            values[rest[fits]] = _seconds(parts.take(pa.array(fits)))
            found = pa.array(values, from_pandas=True)
    return found


def is_ambiguous(text: Column) -> Column:
    """Whether each text begins with a day and a month in an order that it does not tell, such as ``01/02/2018``."""
    return pc.match_substring_regex(text, _AMBIGUOUS)


def _seconds(parts: pa.StructArray) -> Floats:
    """Seconds since 1970 of the parts of dates, NaN where a date does not exist."""
    have = {field.name: parts.field(field.name) for field in parts.type}
    year = _number(have["year"])
    day = _number(have["day"]) if "day" in have else np.ones(len(year), np.int64)
    if "name" in have:
        named = pc.index_in(pc.utf8_lower(have["name"]), value_set=_MONTHS)
        month = pc.fill_null(named, -1).to_numpy().astype(np.int64) + 1
    else:
        month = _number(have["month"])
    hour, minute, second = (_number(have.get(name), len(year)) for name in ("hour", "minute", "second"))
    if "half" in have:
        half = pc.utf8_lower(have["half"]).to_numpy(zero_copy_only=False)
        hour = np.where((half != "") & (hour == 12), 0, hour) + np.where(half == "p", 12, 0)
    exists = (month >= 1) & (month <= 12) & (hour <= 24) & (minute < 60) & (second <= 60)
    first = (year - 1970).astype("M8[Y]").astype("M8[M]") + np.where(exists, month - 1, 0)
    last_day = ((first + 1).astype("M8[D]") - first.astype("M8[D]")).astype(np.int64)
    exists &= (day >= 1) & (day <= last_day)
    days = first.astype("M8[D]").astype(np.int64) + day - 1
    total = days * 86_400.0 + hour * 3600 + minute * 60 + second + _fraction(have.get("fraction"), len(year))
    return np.where(exists, total - _offset(have["zone"]), np.nan)


def _number(digits: pa.Array | None, length: int = 0) -> npt.NDArray[np.int64]:
    """Digits as int64; no digits are 0."""
    if digits is None:
        return np.zeros(length, np.int64)
    found: npt.NDArray[np.int64] = pc.if_else(pc.equal(digits, ""), "0", digits).cast(pa.int64()).to_numpy()
    return found


def _fraction(digits: pa.Array | None, length: int) -> Floats:
    """``.25`` or ``,25`` as 0.25."""
    if digits is None:
        return np.zeros(length)
    bare = pc.replace_substring(digits, ",", ".")
    return np.asarray(pc.if_else(pc.equal(bare, ""), "0", bare).cast(pa.float64()).to_numpy())


def _offset(zone: pa.Array) -> Floats:
    """Seconds that a zone such as ``+02:00`` is ahead of UTC; 0 for none, ``Z`` and ``UTC``."""
    parts = pc.extract_regex(zone, r"(?P<sign>[+-])(?P<hours>\d{2}):?(?P<minutes>\d{2})?$")
    seconds = _number(parts.field("hours")) * 3600.0 + _number(parts.field("minutes")) * 60.0
    return np.where(pc.equal(parts.field("sign"), "-").to_numpy(zero_copy_only=False), -seconds, seconds)
