"""Ids of users and items as they are compared: cleaned over whole columns, and whether those of both files meet."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from hnlm_ray.data.raw import Column
from hnlm_ray.data.text import without_controls
from hnlm_ray.errors import DataError

__all__ = ["Meeting", "clean_ids", "meeting", "with_ids"]

# What exports write for a missing value; names such as "Nan" and "Null" are none of these.
_MISSING = r"^(nan|NaN|NAN|<NA>|NaT|null|NULL|None)?$"
_WHOLE = r"^-?\d+(\.0+)?$"
_FRACTION = r"\.0+$"
# A float of more digits than it can hold; the sign or the point tells it from an id in hexadecimal digits.
_ROUNDED = r"^-?\d(\.\d+)?[eE]\+\d+$|^-?\d\.\d+E\d+$"
_MOST_ROUNDED = 0.01
_LEAST_ALIKE = 0.5
_NO_ID = pa.scalar("")


@dataclass(frozen=True)
class Meeting:
    """How the items of the interactions are found among the items.

    Attributes:
        rows: number of interactions.
        unknown: how many of them have an item that the items lack.
        example: id of such an item; "" if there is none.
        known: id of an item in the items; "" if there is none.
        cause: what probably went wrong, as a clause; "" where nothing suggests itself.
    """

    rows: int
    unknown: int
    example: str
    known: str
    cause: str

    @property
    def share(self) -> float:
        """The share of interactions with an unknown item."""
        return self.unknown / max(self.rows, 1)

    def sentence(self, limit: str = "") -> str:
        """What was found, as a sentence without its end; ``limit`` is said behind the share."""
        has = f"the items have ids such as {self.known!r}" if self.known else "there are no items"
        cause = f": {self.cause}" if self.cause else ""
        return (
            f"{self.unknown:,} of {self.rows:,} interactions ({self.share:.1%}{limit}) have an item that the items"
            f" lack, such as {self.example!r}, while {has}{cause}"
        )


def clean_ids(*columns: Column) -> list[pa.ChunkedArray]:
    """Clean the ids of one kind, which may stand in several tables.

    White space at the ends and characters without width are removed, composed and decomposed letters become the same,
    and what exports write for a missing value becomes "". Where all ids of all columns are whole numbers, ``12.0``
    becomes ``12``: pandas writes such a column where an id was missing.

    Args:
        columns: text, one per table.

    Returns:
        text without null for each column.

    Raises:
        DataError: ids are in scientific notation, in which different ids have become the same.
    """
    cleaned = [_tidy(column) for column in columns]
    for column in cleaned:
        is_rounded = pc.match_substring_regex(column, _ROUNDED)
        if (pc.sum(is_rounded).as_py() or 0) > _MOST_ROUNDED * len(column):
            raise DataError(
                f"ids such as {column.filter(is_rounded)[0].as_py()!r} are floats that have lost their last digits",
                "write the ids as integers or text",
            )
    empty_or_whole = (pc.or_(pc.equal(ids, _NO_ID), pc.match_substring_regex(ids, _WHOLE)) for ids in cleaned)
    if all(pc.all(is_whole, min_count=0).as_py() for is_whole in empty_or_whole):
        cleaned = [pc.replace_substring_regex(ids, _FRACTION, "") for ids in cleaned]
    return cleaned


def with_ids(table: pa.Table, **columns: Column) -> tuple[pa.Table, int]:
    """Put cleaned ids into a table, and drop the rows where one is empty.

    Args:
        table: raw.
        columns: from :func:`clean_ids`, by name.

    Returns:
        the rows left, and how many were dropped.
    """
    has_ids = pa.scalar(True)
    for name, ids in columns.items():
        table = table.set_column(table.column_names.index(name), name, ids)
        has_ids = pc.and_(has_ids, pc.not_equal(ids, _NO_ID))
    left = table.filter(has_ids)
    return left, table.num_rows - left.num_rows


def meeting(items: npt.NDArray[np.integer], item_ids: pa.Array, known: Column) -> Meeting:
    """Compare the ids of both files.

    Args:
        items: (n,), for each interaction the place of its item in ``item_ids``.
        item_ids: distinct.
        known: the ids of the files of items.
    """
    is_unknown = pc.is_null(pc.index_in(item_ids, value_set=_whole(known)))
    rows = np.flatnonzero(is_unknown.to_numpy(zero_copy_only=False)[items])
    if not len(rows):
        return Meeting(len(items), 0, "", "", "")
    example = item_ids[int(items[rows[0]])].as_py()
    first = known[0].as_py() if len(known) else ""
    cause, other = _cause(item_ids.filter(is_unknown), pc.unique(_whole(known)))
    example, first = other if cause else (example, first)
    return Meeting(len(items), len(rows), example, first, cause)


def _tidy(column: Column) -> pa.ChunkedArray:
    ids = pc.fill_null(column, _NO_ID)
    if not pc.all(pc.string_is_ascii(ids), min_count=0).as_py():
        ids = pc.utf8_normalize(without_controls(ids), form="NFC")
    ids = pc.utf8_trim_whitespace(ids)
    return pc.if_else(pc.match_substring_regex(ids, _MISSING), _NO_ID, ids)


def _cause(unknown: pa.Array, known: pa.Array) -> tuple[str, tuple[str, str]]:
    """The first change that makes at least half of the unknown ids known, with an id of each side; "" if none does."""
    for cause, change in _CHANGES.items():
        place = pc.index_in(_filled(change(unknown)), value_set=_filled(change(known)), skip_nulls=True)
        if len(unknown) - place.null_count >= _LEAST_ALIKE * len(unknown):
            row = int(np.flatnonzero(place.is_valid().to_numpy(zero_copy_only=False))[0])
            return cause, (unknown[row].as_py(), known[place[row].as_py()].as_py())
    return "", ("", "")


def _filled(ids: pa.Array) -> pa.Array:
    """The ids, null where a change has left nothing of one."""
    return pc.if_else(pc.equal(ids, _NO_ID), pa.scalar(None, pa.string()), ids)


def _without(pattern: str) -> Callable[[pa.Array], pa.Array]:
    return lambda ids: pc.replace_substring_regex(ids, pattern, "")


_CHANGES: dict[str, Callable[[pa.Array], pa.Array]] = {
    "one side has lost its leading zeros": _without("^0+"),
    "they differ in upper and lower case": pc.utf8_lower,
    "one side is written as floats": _without(_FRACTION),
    "one side is in quotes, or has other punctuation": lambda ids: pc.utf8_lower(_without(r"[\s\p{P}\p{S}]+")(ids)),
    "one side has letters in front": _without(r"^[^0-9]+0*|^0+"),
    "one side has lost its last digits, as floats do": lambda ids: pc.utf8_slice_codeunits(
        pc.if_else(pc.match_substring_regex(ids, r"^\d{16,}$"), ids, pa.scalar(None, pa.string())), 0, 15
    ),
}
"""By the cause that a change undoes, in the order of trying."""


def _whole(column: Column) -> pa.Array:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
