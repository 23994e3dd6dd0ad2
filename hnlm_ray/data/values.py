"""Columns of text or of any Arrow type as the numbers, times, texts and lists of the raw contract."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from hnlm_ray.data.raw import Column

__all__ = ["categories", "first_text", "joined_texts", "moments", "numbers"]

_NUMBER = r"^-?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$|^(?i:nan|-?inf)$"
_NO_VALUE = r"(?i)^(null|none|n/?a)?$"
_DATES = ("%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d")
_FRACTION_OR_UTC = r"(\.\d+)?(Z|[+]00:?00)?$"
_NOTHING = pa.scalar(None, pa.string())


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
    if not _is_text(values.type):
        found = values.cast(pa.float64(), safe=False)
        return found, pa.nulls(len(found), pa.string())
    text, fits, found = _parsed(values)
    return found, _problems(text, fits, f"{name} is not a number: ")


def moments(values: Column, name: str) -> tuple[Column, Column]:
    """A column as seconds (or milliseconds) since 1970: numbers, Arrow timestamps, or text that is either.

    Text without a time zone is UTC. Arguments, results and errors as :func:`numbers`.
    """
    if pa.types.is_temporal(values.type):
        found = values.cast(pa.timestamp("us"), safe=False).cast(pa.int64()).cast(pa.float64())
        return pc.divide(found, 1e6), pa.nulls(len(found), pa.string())
    if not _is_text(values.type):
        return numbers(values, name)
    text, _, found = _parsed(values)
    bare = pc.replace_substring_regex(text, _FRACTION_OR_UTC, "")
    for pattern in _DATES:
        date = pc.strptime(bare, format=pattern, unit="s", error_is_null=True)
        found = pc.coalesce(found, date.cast(pa.int64()).cast(pa.float64()))
    return found, _problems(text, pc.is_valid(found), f"{name} is neither a number nor a date: ")


def categories(values: Column) -> Column:
    """A column as lists of names; text is split at ``|``."""
    if pa.types.is_list(values.type) or pa.types.is_large_list(values.type):
        return values.cast(pa.list_(pa.string()))
    return pc.split_pattern(values.cast(pa.string()), "|")


def first_text(text: Column, other: Column) -> Column:
    """The first text of each row, or the other one where it is null or blank."""
    is_blank = pc.equal(pc.utf8_trim_whitespace(pc.fill_null(text, "")), "")
    return pc.if_else(is_blank, other, text)


def joined_texts(texts: Column) -> Column:
    """The list of paragraphs of each row as one text, with a space between them."""
    lists = texts.combine_chunks() if isinstance(texts, pa.ChunkedArray) else texts
    filled = pc.fill_null(pc.list_flatten(lists), "")
    sizes = pc.fill_null(pc.list_value_length(lists), 0).to_numpy(zero_copy_only=False)
    offsets = pa.array([0, *sizes.cumsum().tolist()], pa.int32())
    return pc.binary_join(pa.ListArray.from_arrays(offsets, filled), " ")


def _is_text(kind: pa.DataType) -> bool:
    value = kind.value_type if pa.types.is_dictionary(kind) else kind
    return bool(pa.types.is_string(value) or pa.types.is_large_string(value) or pa.types.is_string_view(value))


def _parsed(values: Column) -> tuple[Column, Column, Column]:
    """The text of each row, null where it stands for nothing, whether it is a number, and the numbers."""
    text = pc.utf8_trim_whitespace(values.cast(pa.string()))
    text = pc.if_else(pc.match_substring_regex(text, _NO_VALUE), _NOTHING, text)
    fits = pc.fill_null(pc.match_substring_regex(text, _NUMBER), False)
    return text, fits, pc.if_else(fits, text, _NOTHING).cast(pa.float64())


def _problems(text: Column, fits: Column, reason: str) -> Column:
    shown = pc.binary_join_element_wise(reason, pc.utf8_slice_codeunits(text, 0, 40), "")
    return pc.if_else(fits, _NOTHING, shown)
