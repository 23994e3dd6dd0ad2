"""Ids of users and items as programs give them: a data frame has whole numbers where the bundle has their digits."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

__all__ = ["as_id", "as_ids"]


def as_id(value: Any) -> str:
    """An id as the bundle has it: text stays as it is, a whole number of Python or NumPy becomes its digits.

    Raises:
        TypeError: anything else, such as 42.0, which may have lost digits, or None.
    """
    if isinstance(value, str):
        return value
    if isinstance(value, int | np.integer) and not isinstance(value, bool):
        return str(int(value))
    raise TypeError(f"{value!r} is a {type(value).__name__}, expected an id: text, or a whole number")


def as_ids(values: Iterable[Any]) -> list[str]:
    """:func:`as_id` of each.

    Raises:
        TypeError: a value is no id, or a single text is given, whose letters would be taken for ids.
    """
    if isinstance(values, str | bytes):
        raise TypeError(f"{values!r} is a single id, expected a list of ids")
    return [as_id(value) for value in values]
