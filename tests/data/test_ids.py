from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from hnlm_ray.data.ids import clean_ids, meeting, with_ids
from hnlm_ray.errors import DataError


def clean(*columns: list[str | None]) -> list[list[str]]:
    return [ids.to_pylist() for ids in clean_ids(*(pa.chunked_array([pa.array(ids, pa.string())]) for ids in columns))]


def test_what_cannot_be_seen_does_not_make_another_id() -> None:
    assert clean([" a\t", "b\u200b", "c\xa0", "Jose\u0301", "\ufeffd"]) == [["a", "b", "c", "José", "d"]]


def test_what_exports_write_for_a_missing_id() -> None:
    assert clean(["nan", "NaN", "<NA>", "null", "None", "", " ", None, "Nan", "na"]) == [[""] * 8 + ["Nan", "na"]]


def test_whole_numbers_lose_their_fraction_where_all_ids_are_numbers() -> None:
    assert clean(["12.0", "nan", "7.0"], ["12", "7"]) == [["12", "", "7"], ["12", "7"]]
    assert clean(["12.0", "7.0"], ["12.0", "x"]) == [["12.0", "7.0"], ["12.0", "x"]]
    assert clean(["1.5", "2.0"]) == [["1.5", "2.0"]]
    assert clean([]) == [[]]


def test_floats_that_lost_their_digits_stop() -> None:
    with pytest.raises(DataError, match=r"ids such as '1\.2e\+17' are floats that have lost their last digits"):
        clean(["1.2e+17", "12"])
    with pytest.raises(DataError, match=r"ids such as '1\.23456E11'"):
        clean(["1.23456E11"])
    assert clean(["12e4", "1e5"]) == [["12e4", "1e5"]]


def test_rows_without_an_id_are_taken_out() -> None:
    table = pa.table({"user_id": ["x"] * 3, "item_id": ["x"] * 3, "n": [1, 2, 3]})
    left, dropped = with_ids(table, user_id=pa.array(["a", "", "b"]), item_id=pa.array(["1", "2", ""]))
    assert (left.to_pylist(), dropped) == ([{"user_id": "a", "item_id": "1", "n": 1}], 2)


@pytest.mark.parametrize(
    ("unknown", "known", "cause"),
    [
        ("00123", "123", "one side has lost its leading zeros"),
        ("B00AB", "b00ab", "they differ in upper and lower case"),
        ("12.0", "12", "one side is written as floats"),
        ("'ab-1'", "AB1", "one side is in quotes, or has other punctuation"),
        ("i12", "12", "one side has letters in front"),
        ("1234567890123456789", "1234567890123456768", "one side has lost its last digits, as floats do"),
    ],
)
def test_the_likely_cause_is_named(unknown: str, known: str, cause: str) -> None:
    for one, other in ((unknown, known), (known, unknown)):
        found = meeting(np.array([0, 1, 1]), pa.array(["same", one]), pa.chunked_array([["same", "more", other]]))
        assert (found.unknown, found.rows, found.example, found.known, found.cause) == (2, 3, one, other, cause)


def test_no_cause_where_ids_have_nothing_in_common() -> None:
    found = meeting(np.array([0, 1]), pa.array(["abc", "000"]), pa.array(["xyz", "0000000"]).slice(0, 1))
    assert found.sentence(", too many") == (
        "2 of 2 interactions (100.0%, too many) have an item that the items lack, such as 'abc', while the items"
        " have ids such as 'xyz'"
    )
    assert "there are no items" in meeting(np.array([0]), pa.array(["a"]), pa.array([], pa.string())).sentence()


def test_nothing_to_say_where_all_ids_meet() -> None:
    found = meeting(np.array([0, 0]), pa.array(["a"]), pa.array(["a", "b"]))
    assert (found.unknown, found.share) == (0, 0.0)
