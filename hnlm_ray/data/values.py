"""Columns of text or of any Arrow type as the numbers, times, texts and ids of the raw contract."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from hnlm_ray.data.dates import is_ambiguous, seconds_of_dates
from hnlm_ray.data.raw import Column

__all__ = ["Moments", "first_text", "ids", "moments", "numbers"]

_NUMBER = r"^-?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$|^(?i:nan|-?inf)$"
_NO_VALUE = r"(?i)^(null|none|n/?a|nat|<na>)?$"
_NOTHING = pa.scalar(None, pa.string())
_SHORT_BITS = {pa.float32(): 24, pa.float16(): 11}
_EXACT_BITS = {pa.float64(): 53, **_SHORT_BITS}
_PER_SECOND = {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9}


class Moments(NamedTuple):
    """A column of times.

    Attributes:
        timestamp: float64, numbers as they were written; their unit is decided over the whole column
            (:func:`hnlm_ray.data.times.times_of`). Null for no time and for a date.
        moment: float64, seconds since 1970 of what was written as a date; text without a time zone is UTC.
        problem: what is wrong with a row, null where nothing is.
    """

    timestamp: Column
    moment: Column
    problem: Column


def numbers(values: Column, name: str) -> tuple[Column, Column]:
    """A column as numbers.

    Args:
        values: numbers, or text in which null, ``""``, ``null``, ``none`` and ``na`` stand for no number.
        name: of the column; the problem names it.

    Returns:
        float64 with null for no number, and the problem of each row, null where there is none.

    Raises:
        pyarrow.ArrowInvalid, pyarrow.ArrowNotImplementedError: the type holds no numbers.
    """
    values = _decoded(values)
    if not _is_text(values.type):
        found = values.cast(pa.float64(), safe=False)
        return found, pa.nulls(len(found), pa.string())
    text, fits, found = _parsed(values)
    return found, _problems(text, fits, f"{name} is not a number: ")


def moments(values: Column, name: str) -> Moments:
    """A column of times: numbers, dates, Arrow timestamps, or text that is either.

    Raises:
        ValueError, pyarrow.ArrowNotImplementedError: the type holds no times.
    """
    values = _decoded(values)
    kind, nothing = values.type, pa.nulls(len(values), pa.float64())
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        return Moments(nothing, _seconds(values), pa.nulls(len(values), pa.string()))
    if pa.types.is_temporal(kind) or pa.types.is_boolean(kind):
        raise ValueError("it is no moment; give a date, a timestamp, or a number of seconds since 1970")
    if not _is_text(kind):
        found = values.cast(pa.float64(), safe=False)
        _require_digits(found, kind, _SHORT_BITS)
        return Moments(found, nothing, pa.nulls(len(values), pa.string()))
    text, fits, found = _parsed(values)
    is_rest = pc.and_not(pc.is_valid(text), fits)
    dates = seconds_of_dates(pc.if_else(is_rest, text, _NOTHING))
    reason = pc.if_else(
        pc.fill_null(is_ambiguous(text), False),
        f"{name} does not tell the day from the month, write 2018-01-31: ",
        f"{name} is neither a number nor a date: ",
    )
    return Moments(found, dates, _problems(text, pc.or_(fits, pc.is_valid(dates)), reason))


def ids(values: Column) -> Column:
    """A column of ids as text; a float that is a whole number is written without a fraction, and NaN is null.

    Raises:
        ValueError, pyarrow.ArrowNotImplementedError: the type holds no ids, or floats too large to be exact.
    """
    values = _decoded(values)
    if pa.types.is_boolean(values.type):
        raise ValueError("true and false name nobody")
    if pa.types.is_decimal(values.type):
        return pc.replace_substring_regex(values.cast(pa.string()), r"\.0+$", "")
    if not pa.types.is_floating(values.type):
        return values.cast(pa.string())
    exact = pc.if_else(pc.is_nan(values), None, values).cast(pa.float64())
    _require_digits(exact, values.type, _EXACT_BITS)
    is_whole = pc.equal(exact, pc.floor(exact))
    return pc.if_else(
        is_whole, pc.if_else(is_whole, exact, 0.0).cast(pa.int64()).cast(pa.string()), exact.cast(pa.string())
    )


def first_text(text: Column, other: Column) -> Column:
    """The first text of each row, or the other one where it is null or blank."""
    is_blank = pc.equal(pc.utf8_trim_whitespace(pc.fill_null(text, "")), "")
    return pc.if_else(is_blank, other, text)


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _require_digits(values: Column, kind: pa.DataType, bits: Mapping[pa.DataType, int]) -> None:
    """Refuse floats of a type that cannot hold all digits of whole numbers of their size."""
    digits = bits.get(kind)
    largest = 0.0 if digits is None else pc.max(pc.abs(values)).as_py() or 0.0
    if digits is not None and largest >= 2.0**digits:
        what = f"{largest:.17g} has lost digits, as such floats from 2**{digits} on do"
        raise ValueError(f"{what}; write integers or text")


def _decoded(values: Column) -> Column:
    """The values of a dictionary, or the column itself."""
    return values.cast(values.type.value_type) if pa.types.is_dictionary(values.type) else values


def _seconds(values: Column) -> Column:
    """Arrow dates and timestamps as seconds since 1970, of any size; a zone does not change the moment."""
    if pa.types.is_date32(values.type):
        return pc.multiply(values.cast(pa.int32()).cast(pa.float64()), 86_400.0)
    per_second = 1e3 if pa.types.is_date64(values.type) else _PER_SECOND[values.type.unit]
    return pc.divide(values.cast(pa.int64()).cast(pa.float64(), safe=False), per_second)


def _parsed(values: Column) -> tuple[Column, Column, Column]:
    """The text of each row, null where it stands for nothing, whether it is a number, and the numbers."""
    text = pc.utf8_trim_whitespace(values.cast(pa.string()))
    text = pc.if_else(pc.match_substring_regex(text, _NO_VALUE), _NOTHING, pc.replace_substring_regex(text, r"^\+", ""))
    fits = pc.fill_null(pc.match_substring_regex(text, _NUMBER), False)
    return text, fits, pc.if_else(fits, text, _NOTHING).cast(pa.float64())


def _problems(text: Column, fits: Column, reason: str | Column) -> Column:
    shown = pc.binary_join_element_wise(reason, pc.utf8_slice_codeunits(text, 0, 40), "")
    return pc.if_else(fits, _NOTHING, shown)
