"""Columns of items and users as features, from files to tables, and the sentences where they cannot be read."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hnlm_ray.config.data import DataConfig
from hnlm_ray.data.features import features_of_table, read_features
from hnlm_ray.data.files import open_folder
from hnlm_ray.errors import DataError

ITEMS = pa.table({"item": pa.array([0, 1, 2, 3], pa.int32()), "item_id": ["a", "b", "c", "d"]})
CSV = """item_id;price;brand;tags;note
b;2.5;Acme;x|y;"two
lines"
a;;Acme;;-
d;4;;['y'];-
b;9;Twice;;-
z;1;Else;;-
"""


def config(path: Path, columns: dict[str, Any], kind: str = "items") -> DataConfig:
    return DataConfig.model_validate({"format": "table", "path": str(path), "features": {kind: columns}})


COLUMNS = {"numeric": ["price"], "categorical": ["brand", "tags"]}


@pytest.mark.parametrize("name", ["items.csv", "items.parquet", "more.csv"])
def test_each_item_has_the_features_of_its_first_row(tmp_path: Path, name: str) -> None:
    if name == "items.parquet":
        columns = {"item_id": ["b", "a", "d"], "price": [2.5, float("nan"), 4.0], "brand": ["Acme", "Acme", None]}
        tags = pa.array([["x", "y"], [], ["y"]], pa.list_(pa.string()))
        pq.write_table(pa.table({**columns, "tags": tags}), tmp_path / name)
    else:
        (tmp_path / name).write_text(CSV)
    given = COLUMNS if name.startswith("items") else {**COLUMNS, "file": name}
    found = read_features(open_folder(str(tmp_path)), config(tmp_path, given), "item", ITEMS)
    assert found is not None
    assert found.to_pylist() == [
        {"item": 0, "feature": "brand", "value": None, "names": ["Acme"]},
        {"item": 1, "feature": "brand", "value": None, "names": ["Acme"]},
        {"item": 1, "feature": "price", "value": 2.5, "names": None},
        {"item": 3, "feature": "price", "value": 4.0, "names": None},
        {"item": 1, "feature": "tags", "value": None, "names": ["x", "y"]},
        {"item": 3, "feature": "tags", "value": None, "names": ["y"]},
    ]


def test_numbers_are_names_too_where_they_are_asked_for_as_such() -> None:
    users = pa.table({"user": pa.array([0, 1], pa.int32()), "user_id": ["7", "8"]})
    table = pa.table({"user_id": [8, 7], "zone": [3, 4]})
    found = features_of_table(table, config(Path("x"), {"categorical": ["zone"]}, "users"), "user", users, "users")
    assert found["names"].to_pylist() == [["4"], ["3"]]


def test_nothing_is_read_where_nothing_is_named(tmp_path: Path) -> None:
    assert read_features(open_folder(str(tmp_path)), config(tmp_path, {}), "item", ITEMS) is None


@pytest.mark.parametrize(
    ("columns", "sentence"),
    [
        ({"numeric": ["weight"]}, r"items.csv lacks the column 'weight', it has 'item_id', 'price', .*\.numeric"),
        ({"categorical": ["colour"]}, r"items.csv lacks the column 'colour'.*data\.features\.items\.categorical"),
        ({"id": "asin", "numeric": ["price"]}, r"items.csv lacks the column 'asin'.*data\.features\.items\.id"),
        ({"id": "brand", "numeric": ["price"]}, r"items.csv has none of the 4 items of the interactions"),
        ({"numeric": ["brand"]}, r"items.csv: brand is not a number: .*Acme.*data\.features\.items\.categorical"),
        ({"numeric": ["empty"]}, r"the column 'empty' of .*items.csv is empty for all items; leave it out"),
        ({"file": "users.csv", "numeric": ["price"]}, r"has no file 'users.csv' .*data\.features\.items\.file"),
    ],
)
def test_what_cannot_be_read_is_one_sentence(tmp_path: Path, columns: dict[str, Any], sentence: str) -> None:
    (tmp_path / "items.csv").write_text("item_id,price,brand,empty\na,1,Acme,\nb,2,Acme,\n")
    with pytest.raises(DataError) as caught:
        read_features(open_folder(str(tmp_path)), config(tmp_path, columns), "item", ITEMS)
    assert re.search(sentence, str(caught.value)), str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_broken_file_and_numbers_that_are_none_are_sentences(tmp_path: Path) -> None:
    (tmp_path / "items.csv").write_text("item_id,price\na,1\nb,2,3\n")
    with pytest.raises(DataError, match=r"items.csv cannot be read \(CSV parse error"):
        read_features(open_folder(str(tmp_path)), config(tmp_path, {"numeric": ["price"]}), "item", ITEMS)
    for values, sentence in (
        ([float("inf"), 1.0], "'price' holds an infinity"),
        ([[1.0], [2.0]], "the column 'price' is list<.*> and holds no numbers"),
    ):
        table = pa.table({"item_id": ["a", "b"], "price": values})
        with pytest.raises(DataError, match=sentence):
            features_of_table(table, config(Path("x"), {"numeric": ["price"]}), "item", ITEMS, "items")


def test_a_column_stands_once_and_the_generated_data_has_none() -> None:
    with pytest.raises(ValueError, match="the column 'price' is named twice"):
        config(Path("x"), {"numeric": ["price"], "categorical": ["price"]})
    with pytest.raises(ValueError, match=r"features are read from files in data\.path"):
        DataConfig.model_validate({"features": {"items": {"numeric": ["price"]}}})
