from __future__ import annotations

import calendar
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hnlm_ray.data.times import Times, times_of
from hnlm_ray.errors import DataError

JULY = calendar.timegm((2017, 7, 14, 10, 30, 5))


def _float(value: float | None) -> float | None:
    return None if value is None else float(value)


def read(numbers: list[float | None], dates: list[float | None] | None = None) -> Times:
    columns = (numbers, dates or [None] * len(numbers))
    return times_of(*(pa.chunked_array([pa.array(map(_float, values), pa.float64())]) for values in columns))


@pytest.mark.parametrize(
    ("number", "unit", "seconds"),
    [
        (JULY, "seconds", JULY),
        (JULY + 0.5, "seconds", JULY + 0.5),
        (JULY * 1e3, "milliseconds", JULY),
        (JULY * 1e6, "microseconds", JULY),
        (JULY * 1e9, "nanoseconds", JULY),
        (2017, "calendar_years", calendar.timegm((2017, 1, 1, 0, 0, 0))),
        (201707, "calendar_months", calendar.timegm((2017, 7, 1, 0, 0, 0))),
        (20170714, "calendar_days", JULY - JULY % 86_400),
        (2017071410, "calendar_hours", JULY - JULY % 3600),
        (201707141030, "calendar_minutes", JULY - JULY % 60),
        (20170714103005, "calendar_seconds", JULY),
        (20170714103005000, "calendar_milliseconds", JULY),
        (7, "seconds", 7),
    ],
)
def test_the_size_of_numbers_tells_their_unit(number: float, unit: str, seconds: float) -> None:
    times = read([number, None, float("nan")])
    assert (times.unit, times.seconds[0]) == (unit, pytest.approx(seconds, abs=1e-3))
    assert times.counts == {
        f"timestamps_in_{unit}": 1,
        "timestamps_as_dates": 0,
        "timestamps_unusable": 0,
        "timestamps_missing": 2,
    }
    assert times.note.startswith(f"timestamps are read as {unit.replace('_', ' ')}")


def test_the_whole_column_decides() -> None:
    # Chunks and rows of another size do not get a unit of their own.
    column = pa.chunked_array([[1.5e9], [1.5e12, 1.6e12], [1.55e12]])
    times = times_of(column, pa.chunked_array([pa.nulls(4, pa.float64())]))
    assert times.unit == "milliseconds"
    assert times.present.tolist() == [False, True, True, True]
    assert (times.counts["timestamps_unusable"], times.example) == (1, "1500000000")


def test_zeros_among_calendar_days_do_not_turn_them_into_seconds() -> None:
    times = read([20170714, 0, 0, 20170715, 20170716, -1])
    assert (times.unit, times.present.tolist()) == ("calendar_days", [True, False, False, True, True, False])


def test_a_day_that_does_not_exist_is_unusable() -> None:
    times = read([20170714, 20170715, 20170230])
    assert (times.present.tolist(), times.example) == ([True, True, False], "20170230")


def test_dates_need_no_unit() -> None:
    times = read([None, None, JULY * 1e9], [5e8, None, None])
    assert times.seconds.tolist() == [5e8, 0, JULY]
    assert (times.counts["timestamps_as_dates"], times.counts["timestamps_in_nanoseconds"]) == (1, 1)


@pytest.mark.parametrize(
    ("numbers", "dates", "example"),
    [
        ([-1.0, -1.0, 5.0], None, "2 of 3 .* for example -1;"),
        ([float("inf")], None, "1 of 1 .* for example inf;"),
        ([1.5e21], None, "1 of 1 .* for example 1500000000000000000000;"),
        ([None, None], [-86_400.0, -1.0], "2 of 2 .* for example 1969-12-31T00:00:00;"),
    ],
)
def test_a_column_that_is_mostly_unusable_stops(
    numbers: list[float | None], dates: list[float | None] | None, example: str
) -> None:
    with pytest.raises(DataError, match=example):
        read(numbers, dates)


def test_numbers_of_rows_are_early() -> None:
    assert read([1, 2, 3]).are_early
    assert not read([JULY, 0]).are_early
    assert not read([None]).are_early


@settings(max_examples=100)
@given(  # from March 2030 on, the seconds since 1970 may be the digits of an hour, such as 2060-04-24 00
    st.lists(st.datetimes(datetime(1980, 1, 1), datetime(2030, 1, 1)), min_size=1, max_size=20),
    st.sampled_from([1, 10**3, 10**6, 10**9]),
)
def test_every_unit_gives_the_same_times(moments: list[datetime], per_second: int) -> None:
    seconds = [int(moment.replace(tzinfo=UTC).timestamp()) for moment in moments]
    times = read([value * per_second for value in seconds])
    assert times.present.all()
    assert np.array_equal(np.argsort(times.seconds, kind="stable"), np.argsort(seconds, kind="stable"))
    assert times.seconds == pytest.approx(seconds, abs=1e-6)
