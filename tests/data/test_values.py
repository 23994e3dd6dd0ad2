from __future__ import annotations

import math
from datetime import date
from decimal import Decimal

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hnlm_ray.data.values import ids, moments, numbers


@settings(max_examples=50)
@given(st.lists(st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(10**15), 10**15), min_size=1))
def test_every_number_that_python_writes_is_read(values: list[float]) -> None:
    found, problem = numbers(pa.array([f" {value!r} " for value in values]), "rating")
    assert found.to_pylist() == [float(value) for value in values]
    assert problem.null_count == len(values)


def test_no_number_and_a_wrong_one_differ() -> None:
    found, problem = numbers(pa.array(["", None, "null", "N/A", "nan", "4 stars", "1,5", "0x10"]), "rating")
    assert [value is None or math.isnan(value) for value in found.to_pylist()] == [True] * 8
    assert math.isnan(found[4].as_py())
    assert problem.is_valid().to_pylist() == [False] * 5 + [True] * 3
    assert problem[5].as_py() == "rating is not a number: 4 stars"


def test_a_sign_in_front_is_part_of_a_number() -> None:
    found, problem = numbers(pa.array(["+1", "-1", "+1.5", "+"]), "rating")
    assert found.to_pylist() == [1.0, -1.0, 1.5, None]
    assert problem.is_valid().to_pylist() == [False] * 3 + [True]


def test_moments_in_text() -> None:
    found = moments(pa.array(["1.5e9", "1970-01-02T02:00:01+02:00", "NaT", None, "soon", "01/02/2018"]), "timestamp")
    assert found.timestamp.to_pylist() == [1_500_000_000, None, None, None, None, None]
    assert found.moment.to_pylist() == [None, 86_401, None, None, None, None]
    assert found.problem.to_pylist() == [
        *[None] * 4,
        "timestamp is neither a number nor a date: soon",
        "timestamp does not tell the day from the month, write 2018-01-31: 01/02/2018",
    ]


@pytest.mark.parametrize(
    ("values", "seconds"),
    [
        (pa.array([date(1970, 1, 3), None]), 172_800),
        (pa.array([date(1970, 1, 3), None], pa.date64()), 172_800),
        (pa.array([5, None], pa.timestamp("s")), 5),
        (pa.array([5_500, None], pa.timestamp("ms")), 5.5),
        (pa.array([5_500_000, None], pa.timestamp("us", "America/New_York")), 5.5),
        (pa.array([5_500_000_000, None], pa.timestamp("ns")), 5.5),
        (pa.array([2**40, None], pa.timestamp("s")), 2**40),
    ],
)
def test_moments_of_arrow_types(values: pa.Array, seconds: float) -> None:
    for column in (values, values.dictionary_encode()):
        found = moments(column, "t")
        assert (found.timestamp.null_count, found.moment.to_pylist()) == (2, [seconds, None])


@pytest.mark.parametrize("kind", [pa.time64("us"), pa.time32("s"), pa.duration("ns"), pa.bool_()])
def test_what_is_no_moment(kind: pa.DataType) -> None:
    with pytest.raises(ValueError, match="it is no moment"):
        moments(pa.nulls(1, kind), "t")


def test_short_floats_have_lost_the_digits_of_times() -> None:
    with pytest.raises(ValueError, match=r"1500000000 has lost digits, as such floats from 2\*\*24 on do"):
        moments(pa.array([1.5e9, None], pa.float32()), "t")
    assert moments(pa.array([2.0, float("nan")], pa.float32()), "t").timestamp[0].as_py() == 2.0


def test_numbers_keep_their_size_until_the_whole_column_is_known() -> None:
    for values in (pa.array([1_500_000_000_123_456_789, 20170714]), pa.array([1.5e18, 20170714.0])):
        assert moments(values, "t").timestamp.to_pylist() == [pytest.approx(1.5e18), 20170714]
    assert moments(pa.array([7], pa.uint64()), "t").timestamp.to_pylist() == [7.0]


def test_ids_of_every_type() -> None:
    assert ids(pa.array([12.0, None, float("nan"), 1e15, 2.5])).to_pylist() == [
        "12",
        None,
        None,
        "1000000000000000",
        "2.5",
    ]
    assert ids(pa.array([Decimal("12.00"), Decimal("1.50")])).to_pylist() == ["12", "1.50"]
    assert ids(pa.array([2**64 - 1], pa.uint64())).to_pylist() == ["18446744073709551615"]
    assert ids(pa.array([b"a", None])).to_pylist() == ["a", None]
    assert ids(pa.array([7, 7]).dictionary_encode()).to_pylist() == ["7", "7"]


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        (pa.array([True]), "true and false name nobody"),
        (pa.array([1e17, None]), r"1e\+17 has lost digits"),
        (pa.array([float("inf")]), "inf has lost digits"),
        (pa.array([16_777_216.0], pa.float32()), r"16777216 has lost digits, as such floats from 2\*\*24"),
    ],
)
def test_what_is_no_id(values: pa.Array, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        ids(values)
