"""What sets two names apart whose letters are similar: numbers, units, single letters, sizes, and signs.

"Season 1" is not "Season 2", nor "250 ml" "500 ml", "Vitamin C" "Vitamin D", "C#" "C++". Similarity never bridges
these.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Agreement", "Marks", "marks_of"]

_APOSTROPHE = re.compile(r"(?<=[^\W\d_])['\u2019](?=[^\W\d_])")
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_SIGN = re.compile(r"[\d+#]")
_WORD = re.compile(r"\d+(?:[.,]\d+)?|[^\W\d_]+(?:[+#]++(?![^\W_]))?")
_YEAR = re.compile(r"(?:19|20)\d\d")
_UNITS = {
    unit: names.split()[0]
    for names in (
        "ml milliliter milliliters millilitre millilitres", "cl", "l liter liters litre litres", "mg", "g gram grams",
        "kg kilogram kilograms", "oz ounce ounces", "lb lbs pound pounds", "gal gallon gallons", "mm", "cm",
        "m meter meters metre metres", "km", "in inch inches", "ft foot feet", "mb", "gb", "tb", "mah", "w watt watts",
        "kw", "v volt volts", "hz", "mhz", "ghz",
    )
    for unit in names.split()
}  # fmt: skip
_SIZES = frozenset(("xxs", "xs", "xl", "xxl", "xxxl"))
_NUMBERS = {
    word: str(value)
    for words in (
        "one two three four five six seven eight nine ten eleven twelve",
        "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth",
        "i ii iii iv v vi vii viii ix x xi xii xiii xiv xv xvi xvii xviii xix xx",
    )
    for value, word in enumerate(words.split(), 1)
}
_MARKED = frozenset((*_NUMBERS, *_SIZES, *"bcdefghjklmnopqrstuwyz"))
"""Words that are marks by themselves."""


@dataclass(frozen=True)
class Marks:
    """What sets two names apart whose letters are similar.

    Attributes:
        marks: numbers with their unit, single letters, sizes, and words that end in ``+`` or ``#``, sorted.
        years: years of four digits, sorted. A title often has one that nobody says: names differ only where both have.
    """

    marks: tuple[str, ...]
    years: tuple[str, ...]


_UNMARKED = Marks((), ())


def marks_of(name: str) -> Marks:
    """The numbers, units, single letters and signs of a name; numbers may be words or Roman numerals.

    Args:
        name: from :func:`hnlm_ray.language.names.folded`.
    """
    words = _WORD.findall(_THOUSANDS.sub("", _APOSTROPHE.sub("", name)))
    if name.isascii() and _MARKED.isdisjoint(words) and not _SIGN.search(name):
        return _UNMARKED  # as most names are
    return _marks(words)


def _marks(words: list[str]) -> Marks:
    marks: list[str] = []
    years: list[str] = []
    unit = ""
    for place, word in enumerate(words, 1):
        if word == unit:  # read with the number before it
            unit = ""
        elif word[0].isdigit():
            number = _digits(word)
            unit = words[place] if place < len(words) and words[place] in _UNITS else ""
            if unit:
                marks.append(f"{number} {_UNITS[unit]}")
            else:
                (years if _YEAR.fullmatch(number) else marks).append(number)
        elif word in _NUMBERS:
            marks.append(_NUMBERS[word])
        elif word[-1] in "+#" or word in _SIZES or (len(word) == 1 and word != "a"):
            marks.append(word)
    return Marks(tuple(sorted(marks)), tuple(sorted(years)))


def _digits(token: str) -> str:
    """The digits of a number without needless zeros."""
    whole, _, part = token.replace(",", ".").partition(".")
    part = part.rstrip("0")
    return (whole.lstrip("0") or "0") + (f".{part}" if part else "")


class Agreement:
    """Whether the marks of answers and of names agree, for many at once."""

    def __init__(self, answers: Sequence[Marks], names: Sequence[Marks]) -> None:
        """Compare A answers with N names."""
        codes: dict[tuple[str, ...], int] = {(): 0}

        def coded(values: Sequence[tuple[str, ...]]) -> npt.NDArray[np.int64]:
            return np.array([codes.setdefault(value, len(codes)) for value in values], np.int64)

        self._answers, self._names = answers, names
        self._answer_marks, self._name_marks = (coded([one.marks for one in side]) for side in (answers, names))
        self._answer_years, self._name_years = (coded([one.years for one in side]) for side in (answers, names))

    def blocks(
        self, size: int
    ) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.bool_] | None]]:
        """Groups of up to ``size`` answers with the same marks, and the names with exactly these marks.

        Yields:
            Numbers of the answers and of the names, both ascending, and a boolean mask (answers, names) of the pairs
            whose years agree; None where all do.
        """
        for code in np.unique(self._answer_marks):
            names = np.flatnonzero(self._name_marks == code)
            members = np.flatnonzero(self._answer_marks == code)
            for start in range(0, len(members) if len(names) else 0, size):
                rows = members[start : start + size]
                yield rows, names, self._years_agree(rows, names) if self._answer_years[rows].any() else None

    def including(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """Boolean mask (rows, N): the names that have every mark of an answer, and no other year."""
        mask = self._years_agree(rows, np.arange(len(self._names)))
        for place, row in enumerate(rows):
            for mark in self._answers[row].marks:
                has = np.zeros(len(self._names), bool)
                has[self._having.get(mark, [])] = True
                mask[place] &= has
        return mask

    def _years_agree(self, rows: npt.NDArray[np.int64], names: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        mine, theirs = self._answer_years[rows][:, None], self._name_years[names]
        agree: npt.NDArray[np.bool_] = (mine == 0) | (theirs == 0) | (mine == theirs)
        return agree

    @functools.cached_property
    def _having(self) -> dict[str, list[int]]:
        """The names that have a mark, by mark."""
        found: dict[str, list[int]] = {}
        for number, name in enumerate(self._names):
            for mark in name.marks:
                found.setdefault(mark, []).append(number)
        return found
