from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hnlm_ray.data.raw import RawData
from hnlm_ray.errors import DataError

Read = Callable[..., RawData]

ITEMS = {"item_id": ["1", "2"], "title": ["Kettle", "Mug"]}


def write(folder: Path, interactions: dict[str, object], items: dict[str, object] | None = None) -> None:
    pq.write_table(pa.table(interactions), folder / "interactions.parquet")
    pq.write_table(pa.table(items or ITEMS), folder / "items.parquet")


def test_columns_of_any_fitting_type(tmp_path: Path, read_raw: Read) -> None:
    when = datetime(2020, 1, 1, tzinfo=UTC)
    interactions = {"user_id": [7, 8], "item_id": pa.array(["1", "2"]).dictionary_encode(), "rating": [4, None]}
    write(tmp_path, interactions | {"timestamp": [when, None]}, ITEMS | {"categories": ["A|B", None]})
    raw = read_raw("table")
    assert raw.interactions.select(["user_id", "item_id", "rating", "moment", "review"]).to_pylist() == [
        {"user_id": "7", "item_id": "1", "rating": 4.0, "moment": when.timestamp(), "review": None},
        {"user_id": "8", "item_id": "2", "rating": None, "moment": None, "review": None},
    ]
    assert raw.items["categories"].to_pylist() == [["A", "B"], None]


def test_a_default_name_may_be_absent_and_a_given_one_not(tmp_path: Path, read_raw: Read) -> None:
    write(tmp_path, {"user_id": ["a"], "item_id": ["1"]})
    assert read_raw("table").interactions["rating"].to_pylist() == [None]
    with pytest.raises(DataError, match=r"lacks the column 'rating', it has 'user_id', 'item_id'"):
        read_raw("table", columns={"rating": "rating"})
    with pytest.raises(DataError, match=r"items\.parquet lacks the column 'name'"):
        read_raw("table", columns={"title": "name"})
    assert read_raw("table", columns={"rating": None}).interactions.num_rows == 1


@pytest.mark.parametrize("missing", ["user_id", "item_id"])
def test_ids_must_be_there(tmp_path: Path, read_raw: Read, missing: str) -> None:
    columns = {"user_id": ["a"], "item_id": ["1"]}
    columns["other"] = columns.pop(missing)
    write(tmp_path, columns)
    role = missing.removesuffix("_id")
    with pytest.raises(DataError, match=f"lacks the column '{missing}'.*name it with data.columns.{role}"):
        read_raw("table")
    assert read_raw("table", columns={role: "other"}).interactions.num_rows == 1


def test_a_column_of_the_wrong_kind(tmp_path: Path, read_raw: Read) -> None:
    write(tmp_path, {"user_id": ["a"], "item_id": ["1"], "rating": [["5"]]})
    with pytest.raises(DataError, match=r"column 'rating' is list<.*> and cannot be a rating"):
        read_raw("table")


def test_lists_and_ids_of_any_type(tmp_path: Path, read_raw: Read) -> None:
    interactions = {"user_id": [b"a", b"b"], "item_id": [1.0, 2.0], "timestamp": pa.array([10**18, None], pa.int64())}
    items = {"item_id": [1, 2], "title": ["x", "y"], "categories": [[["A", "B"], ["C"]], None]}
    write(tmp_path, interactions, items | {"description": [["One.", "Two."], None]})
    raw = read_raw("table")
    assert raw.interactions.select(["user_id", "item_id", "timestamp"]).to_pylist() == [
        {"user_id": "a", "item_id": "1", "timestamp": 1e18},
        {"user_id": "b", "item_id": "2", "timestamp": None},
    ]
    assert raw.items.select(["item_id", "categories", "description"]).to_pylist() == [
        {"item_id": "1", "categories": ["A", "B", "C"], "description": "One. Two."},
        {"item_id": "2", "categories": None, "description": None},
    ]


def test_all_wrong_types_are_in_one_sentence(tmp_path: Path, read_raw: Read) -> None:
    columns = {"user_id": [True], "item_id": [1e17], "timestamp": pa.array([1], pa.time64("us"))}
    write(tmp_path, columns)
    with pytest.raises(DataError) as caught:
        read_raw("table")
    for part in ("'user_id' is bool and cannot be a user", "1e+17 has lost digits", "'timestamp' is time64[us]"):
        assert part in str(caught.value)


def test_all_missing_columns_are_in_one_sentence(tmp_path: Path, read_raw: Read) -> None:
    write(tmp_path, {"who": ["a"], "what": ["1"]})
    with pytest.raises(DataError, match=r"lacks the columns 'user_id' and 'item_id', it has 'who', 'what'; name them"):
        read_raw("table")


def test_two_columns_of_one_name(tmp_path: Path, read_raw: Read) -> None:
    (tmp_path / "interactions.csv").write_text("user_id,item_id,rating,rating,note,note\na,1,5,4,x,y\n")
    (tmp_path / "items.csv").write_text("item_id,title\n1,Kettle\n")
    with pytest.raises(DataError, match=r"several columns called 'rating', it has .*; rename the columns"):
        read_raw("table")
    assert read_raw("table", columns={"rating": None}).interactions.num_rows == 1


def test_the_split_column_is_read_for_its_law_alone(tmp_path: Path, read_raw: Read) -> None:
    write(tmp_path, {"user_id": ["a"], "item_id": ["1"], "split": ["test"]})
    assert read_raw("table").interactions["split"].to_pylist() == [None]
    assert read_raw("table", split={"strategy": "column"}).interactions["split"].to_pylist() == ["test"]


def test_csv(tmp_path: Path, read_raw: Read) -> None:
    content = b'who,what,rating,timestamp,review\na,1,4.5,2020-01-02,"two\nlines, one caf\xe9"\nb,2,nan,60,\n'
    (tmp_path / "interactions.csv").write_bytes(content)
    (tmp_path / "items.csv").write_text("item_id,title,categories\n1,Kettle,Home|Kitchen\n2,Mug,\n")
    raw = read_raw("table", columns={"user": "who", "item": "what"})
    assert raw.interactions["user_id"].to_pylist() == ["a", "b"]
    assert raw.interactions["moment"].to_pylist() == [1_577_923_200, None]
    assert raw.interactions["timestamp"].to_pylist() == [None, 60]
    assert raw.interactions["review"].to_pylist() == ["two\nlines, one café", ""]
    assert raw.items["categories"].to_pylist() == [["Home", "Kitchen"], [""]]


def test_the_row_of_a_bad_value_is_named(tmp_path: Path, read_raw: Read) -> None:
    (tmp_path / "interactions.csv").write_text("user_id,item_id,rating\na,1,5\nb,2,good\n")
    (tmp_path / "items.csv").write_text("item_id,title\n1,Kettle\n")
    with pytest.raises(DataError, match=r"interactions\.csv:3: rating is not a number: good"):
        read_raw("table")


def test_a_file_that_is_no_parquet(tmp_path: Path, read_raw: Read) -> None:
    write(tmp_path, {"user_id": ["a"], "item_id": ["1"]})
    (tmp_path / "items.parquet").write_bytes(b"PAR1 and then nothing")
    with pytest.raises(DataError, match=r"items\.parquet cannot be read as Parquet"):
        read_raw("table")
