from __future__ import annotations

import math
from datetime import date

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hnlm_ray.data.values import moments, numbers


@settings(max_examples=50, deadline=None)
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


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1.5e9", 1_500_000_000),
        ("1970-01-02", 86_400),
        ("1970-01-02 00:00:01", 86_401),
        ("1970-01-02T00:00:01.250Z", 86_401),
        ("1970-01-02T00:00:01+00:00", 86_401),
    ],
)
def test_moments_in_text(text: str, seconds: float) -> None:
    found, problem = moments(pa.array([text, "soon"]), "timestamp")
    assert found.to_pylist() == [seconds, None]
    assert problem.to_pylist() == [None, "timestamp is neither a number nor a date: soon"]


def test_moments_of_arrow_types() -> None:
    assert moments(pa.array([date(1970, 1, 3), None]), "t")[0].to_pylist() == [172_800, None]
    assert moments(pa.array([5_000], pa.timestamp("ms")), "t")[0].to_pylist() == [5.0]
    assert moments(pa.array([7], pa.int32()), "t")[0].to_pylist() == [7.0]
