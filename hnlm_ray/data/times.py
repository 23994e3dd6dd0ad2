"""The times of a whole column: the unit of its numbers is the one that fits most of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from hnlm_ray.errors import DataError

__all__ = ["UNITS", "Times", "times_of"]

LATEST = 4_102_444_800
"""2100-01-01 in seconds since 1970: what is later is no time of an interaction."""
_ODDLY_EARLY = 315_532_800  # 1980-01-01
_MOST_UNUSABLE = 0.5

Floats: TypeAlias = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Times:
    """When each row happened.

    Attributes:
        seconds: float64 (n,), since 1970; 0 where there is none.
        present: bool (n,), whether there is one.
        unit: what the numbers were taken as, a key of :data:`UNITS`; None where the column holds no usable number.
        counts: rows by how their time was read, and those without a usable one.
        example: of a value that is no time; "" if there is none.
        are_early: whether most of the times lie before 1980.
    """

    seconds: Floats
    present: npt.NDArray[np.bool_]
    unit: str | None
    counts: dict[str, int]
    example: str
    are_early: bool

    @property
    def note(self) -> str:
        """A line that says what the values were taken as; "" where there are none."""
        read = [] if self.unit is None else [UNITS[self.unit].about]
        read += ["dates, in UTC where they name no zone"] if self.counts["timestamps_as_dates"] else []
        return f"timestamps are read as {' and '.join(read)}" if read else ""


@dataclass(frozen=True)
class _Unit:
    """One way to read a number as a time.

    Attributes:
        about: what such a number is.
        seconds: float64 (n,) of finite numbers to seconds since 1970, NaN where a number is not of this kind.
    """

    about: str
    seconds: Callable[[Floats], Floats]


def times_of(numbers: pa.ChunkedArray, dates: pa.ChunkedArray) -> Times:
    """Read a column of times.

    The sizes of numbers in seconds, milliseconds, microseconds and nanoseconds since 1970 do not overlap for times
    between 1973 and 2100, and a number such as 20170714 would be a moment in 1970. Numbers of another
    unit than most, and times before 1970 or from 2100 on, are unusable.

    Args:
        numbers: float64, null where the data has no time or wrote it as a date.
        dates: float64, seconds since 1970 of what was written as a date.

    Raises:
        DataError: most of the values are unusable.
    """
    written, dated = _without_nan(numbers), _without_nan(dates)
    unit = _unit_of(written[np.isfinite(written)])
    seconds = np.full(len(written), np.nan) if unit is None else _read(written, unit)
    by_date = np.isnan(written) & ~np.isnan(dated)
    seconds = np.where(by_date, dated, seconds)
    present = (seconds >= 0) & (seconds < LATEST)
    given = ~np.isnan(written) | by_date
    unusable = np.flatnonzero(given & ~present)
    example = "" if not len(unusable) else _shown(written[unusable[0]], dated[unusable[0]])
    if len(unusable) > _MOST_UNUSABLE * given.sum():
        raise DataError(
            f"{len(unusable):,} of {given.sum():,} timestamps are no time between 1970 and 2100, for example {example}",
            "fix the column, or go without times where the data can (data.columns.timestamp=null)",
        )
    counts = {
        **({} if unit is None else {f"timestamps_in_{unit}": int((present & ~by_date).sum())}),
        "timestamps_as_dates": int((present & by_date).sum()),
        "timestamps_unusable": len(unusable),
        "timestamps_missing": int((~given).sum()),
    }
    are_early = bool(present.any()) and float(np.median(seconds[present])) < _ODDLY_EARLY
    return Times(np.where(present, seconds, 0.0), present, unit, counts, example, are_early)


def _without_nan(column: pa.ChunkedArray) -> Floats:
    """The values, NaN for null."""
    return np.asarray(pc.fill_null(column, float("nan")).to_numpy(), np.float64)


def _unit_of(values: Floats) -> str | None:
    """The unit that fits most values, the first of :data:`UNITS` among equals."""
    fits = {name: int((_usable(unit.seconds(values))).sum()) for name, unit in UNITS.items()}
    # A number that reads as a day is a moment in 1970, too, and so are the zeros among them.
    calendar = [name for name in _CALENDAR if fits[name] > (values > 0).sum() / 2]
    best = calendar[0] if calendar else max(fits, key=lambda name: fits[name])
    return best if fits[best] else None


def _usable(seconds: Floats) -> npt.NDArray[np.bool_]:
    found: npt.NDArray[np.bool_] = (seconds >= 0) & (seconds < LATEST)
    return found


def _read(values: Floats, unit: str) -> Floats:
    found = np.full(len(values), np.nan)
    finite = np.isfinite(values)
    found[finite] = UNITS[unit].seconds(values[finite])
    return found


def _shown(number: float, date: float) -> str:
    if np.isnan(number):
        return f"{np.datetime64(int(np.clip(date, -6e10, 2e11)), 's')}"
    return f"{int(number)}" if np.isfinite(number) and number == int(number) else f"{number}"


def _since_1970(per_second: float) -> Callable[[Floats], Floats]:
    """Numbers of a size that only this unit has: from 1973 to before 2100, for seconds from 1970 on."""
    least = 0.0 if per_second == 1 else 1e8 * per_second
    return lambda values: np.where((values >= least) & (values < LATEST * per_second), values / per_second, np.nan)


def _digits(below_day: int) -> Callable[[Floats], Floats]:
    """Numbers that write a moment in the digits of a calendar.

    Args:
        below_day: how many digits follow those of a day: 0 for 20170714, 6 for 20170714103000, -4 for 2017.
    """

    def seconds(values: Floats) -> Floats:
        found = np.full(len(values), np.nan)
        scale = 10.0**below_day
        mine = np.flatnonzero((values >= 19_700_000 * scale) & (values < 21_000_000 * scale))
        whole = np.rint(values[mine]).astype(np.int64)
        # A month begins at its first day, a year at its first month.
        padded = whole if below_day >= 0 else whole * 10**-below_day + (1 if below_day == -2 else 101)
        day, clock = np.divmod(padded, 10 ** max(below_day, 0))
        year, month, day = day // 10_000, day // 100 % 100, day % 100
        # Padded to hours, minutes, seconds and milliseconds.
        clock = clock * 10 ** (9 - max(below_day, 0))
        hour, minute, second = clock // 10**7, clock // 10**5 % 100, clock % 10**5 / 1000
        exists = (values[mine] == whole) & (month >= 1) & (month <= 12) & (day >= 1)
        exists &= (hour < 24) & (minute < 60) & (second < 61)
        first = (year - 1970).astype("M8[Y]").astype("M8[M]") + np.where(exists, month - 1, 0)
        exists &= day <= ((first + 1).astype("M8[D]") - first.astype("M8[D]")).astype(np.int64)
        days = first.astype("M8[D]").astype(np.int64) + day - 1
        found[mine[exists]] = (days * 86_400.0 + hour * 3600 + minute * 60 + second)[exists]
        return found

    return seconds


UNITS = {
    "seconds": _Unit("seconds since 1970", _since_1970(1)),
    "milliseconds": _Unit("milliseconds since 1970", _since_1970(1e3)),
    "microseconds": _Unit("microseconds since 1970", _since_1970(1e6)),
    "nanoseconds": _Unit("nanoseconds since 1970", _since_1970(1e9)),
    "calendar_years": _Unit("calendar years such as 2017", _digits(-4)),
    "calendar_months": _Unit("calendar months such as 201707", _digits(-2)),
    "calendar_days": _Unit("calendar days such as 20170714", _digits(0)),
    "calendar_hours": _Unit("calendar hours such as 2017071410", _digits(2)),
    "calendar_minutes": _Unit("calendar minutes such as 201707141030", _digits(4)),
    "calendar_seconds": _Unit("calendar seconds such as 20170714103000", _digits(6)),
    "calendar_milliseconds": _Unit("calendar milliseconds such as 20170714103000000", _digits(9)),
}
"""By the name in the counts: the ways to read a number as a time."""

_CALENDAR = [name for name in UNITS if name.startswith("calendar")]
