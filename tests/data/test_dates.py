from __future__ import annotations

from datetime import UTC, datetime

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hnlm_ray.data.dates import is_ambiguous, seconds_of_dates


def read(*texts: str | None) -> list[str | None]:
    found = seconds_of_dates(pa.array(texts, pa.string())).to_pylist()
    return [None if value is None else datetime.fromtimestamp(value, UTC).isoformat(" ")[:-6] for value in found]


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2018-01-31", "2018-01-31 00:00:00"),
        ("2018/01/31", "2018-01-31 00:00:00"),
        ("2018-02", "2018-02-01 00:00:00"),
        ("2018-1-5", "2018-01-05 00:00:00"),
        ("2018-01-31 10:05", "2018-01-31 10:05:00"),
        ("2018-01-31T10:05:06Z", "2018-01-31 10:05:06"),
        ("2018-01-31 10:05:06 UTC", "2018-01-31 10:05:06"),
        ("2018-01-31T10:05:06.25+02:00", "2018-01-31 08:05:06.250000"),
        ("2018-01-31 10:05:06,250", "2018-01-31 10:05:06.250000"),
        ("2018-01-31 10:05:06 -0530", "2018-01-31 15:35:06"),
        ("2018-01-31T10:05+02", "2018-01-31 08:05:00"),
        ("2018-01-31T23:30:00-08:00[America/Los_Angeles]", "2018-02-01 07:30:00"),
        ("20180131T100506Z", "2018-01-31 10:05:06"),
        ("20180131 10:05:06", "2018-01-31 10:05:06"),
        ("2018-01-31 12:05:06 AM", "2018-01-31 00:05:06"),
        ("Mon, 01 Jan 2018 10:00:00 GMT", "2018-01-01 10:00:00"),
        ("Mon, 1 Jan 2018 10:00:00 +0100 (CET)", "2018-01-01 09:00:00"),
        ("1-Jan-2018", "2018-01-01 00:00:00"),
        ("31 January 2018", "2018-01-31 00:00:00"),
        ("January 31, 2018", "2018-01-31 00:00:00"),
        ("Jan 31, 2018, 10:05 PM", "2018-01-31 22:05:00"),
        ("Tue Apr 03 18:00:09 +0000 2012", "2012-04-03 18:00:09"),
        ("Mon Jan  1 10:00:00 2018", "2018-01-01 10:00:00"),
        ("2016-02-29", "2016-02-29 00:00:00"),
        ("1969-12-31T23:59:59Z", "1969-12-31 23:59:59"),
    ],
)
def test_forms(text: str, moment: str) -> None:
    assert read(text) == [moment]


def test_one_column_may_mix_forms_and_zones() -> None:
    texts = ("2018-01-31T12:00:00+02:00", None, "Wed, 31 Jan 2018 10:00:00 GMT", "soon", "2018-01-31 10:00:00")
    assert read(*texts) == ["2018-01-31 10:00:00", None, "2018-01-31 10:00:00", None, "2018-01-31 10:00:00"]


@pytest.mark.parametrize(
    "text", ["", "soon", "2018-02-30", "2017-02-29", "2018-13-01", "2018-01-00", "2018-01-31T25:00:00", "12 Foo 2018"]
)
def test_no_date(text: str) -> None:
    assert read(text) == [None]


@pytest.mark.parametrize("text", ["01/02/2018", "1.2.18", "31-12-2018 10:00", "2018-01-31 10:00:00 EST"])
def test_what_cannot_be_told_is_not_guessed(text: str) -> None:
    assert read(text) == [None]
    assert is_ambiguous(pa.array([text])).to_pylist() == ["EST" not in text]


@settings(max_examples=50)
@given(st.lists(st.datetimes(datetime(1970, 1, 1), datetime(2100, 1, 1)), min_size=1))
def test_what_python_writes_is_read(moments: list[datetime]) -> None:
    expected = [moment.replace(tzinfo=UTC).timestamp() for moment in moments]
    for texts in ([str(m) for m in moments], [m.isoformat() + "Z" for m in moments]):
        assert seconds_of_dates(pa.array(texts)).to_pylist() == pytest.approx(expected)
