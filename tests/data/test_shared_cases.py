"""Small inputs that people report as odd, with the right value of each; they lie beside the checkout."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from hnlm_ray.config.data import DataConfig
from hnlm_ray.data.checks import check
from hnlm_ray.data.preparation import Prepared, prepare_tables
from tests.data.conftest import read_serially

CASES = Path(__file__).resolve().parents[3] / "shared" / "cases"
PLAIN = {"users": 20, "items": 15, "interactions": 160, "train": 120, "valid": 20, "test": 20, "timestamps_missing": 0}
ARROW = {"users": 12, "items": 15, "interactions": 120, "train": 96, "valid": 12, "test": 12, "timestamps_missing": 0}


def config_of(name: str, **options: Any) -> DataConfig:
    if not CASES.is_dir():
        pytest.skip(f"no cases in {CASES}")
    form = name.partition("_")[0]
    form = form if form in ("amazon2018", "yelp") else "table"
    return DataConfig.model_validate({"format": form, "path": str(CASES / name), **options})


def prepared(name: str, **options: Any) -> Prepared:
    config = config_of(name, **options)
    return prepare_tables(read_serially(config), config, 0)


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("table_time_ns", PLAIN | {"timestamps_in_nanoseconds": 160}),
        ("table_time_offset", PLAIN | {"timestamps_as_dates": 160}),
        ("table_time_pandas", PLAIN | {"timestamps_as_dates": 160}),
        ("table_time_rfc", PLAIN | {"timestamps_as_dates": 160}),
        ("table_time_sci", PLAIN | {"timestamps_in_seconds": 160}),
        ("table_list_text", PLAIN),
        ("csv_nan", PLAIN | {"interactions_without_id": 4, "titles_empty": 2, "ratings_not_finite": 0}),
        ("amazon2018_script_title", PLAIN | {"titles_with_scripts": 4, "titles_empty": 4}),
        ("amazon2018_strings", PLAIN),
        ("yelp_categories", PLAIN | {"timestamps_as_dates": 160}),
        ("parquet_float_ids", PLAIN | {"items_unknown": 0, "interactions_without_id": 1}),
        ("parquet_int_ns", ARROW | {"timestamps_in_nanoseconds": 120}),
        ("parquet_ns", ARROW | {"timestamps_as_dates": 120}),
        ("parquet_tz_new_york", ARROW | {"timestamps_as_dates": 120}),
        ("parquet_date32", ARROW | {"timestamps_as_dates": 120}),
        ("parquet_float_ts", ARROW | {"timestamps_in_seconds": 120}),
        ("parquet_title_null", ARROW | {"titles_empty": 15}),
        *((f"parquet_{kind}", ARROW | {"items_unknown": 0}) for kind in ("binary_ids", "dict_ids", "uint64_ids")),
        *((f"parquet_{kind}_rating", ARROW) for kind in ("bool", "decimal")),
        ("parquet_rating_all_null", ARROW),
        ("parquet_title_int", ARROW | {"titles_empty": 0}),
        ("edge_single_user", {"users": 1, "interactions": 30, "train": 24, "valid": 3, "test": 3}),
        ("edge_cold", {"users": 36, "items": 22, "interactions": 276, "items_unknown": 0}),
        ("edge_all_met_many", {"users": 6, "items": 12, "interactions": 72, "valid": 6, "test": 6}),
    ],
)
def test_counts(name: str, counts: dict[str, int]) -> None:
    made = prepared(name)
    assert {key: made.counts[key] for key in counts} == counts
    assert check(config_of(name)).problems == []


@pytest.mark.parametrize(
    ("name", "categories"),
    [
        ("table_list_text", ["All Beauty", "Hair Care"]),
        ("amazon2018_strings", ["Clothing", "Women", "Men's"]),
        ("parquet_nested_list", ["A", "B", "C"]),
        ("parquet_fixed_list", ["A", "B"]),
        ("parquet_large_list", ["A", "B"]),
        ("parquet_list_of_int", ["1", "2"]),
        ("parquet_list_with_null", ["A", "A"]),
        ("yelp_categories", ["Mexican", "Fast Food"]),
    ],
)
def test_categories(name: str, categories: list[str]) -> None:
    found = [lists for lists in prepared(name).items["categories"].to_pylist() if lists]
    assert all(lists == categories for lists in found)
    assert len(found) == (10 if name == "yelp_categories" else 15)


def test_descriptions_that_are_lists() -> None:
    assert set(prepared("parquet_desc_list").items["description"].to_pylist()) == {"a b"}
    assert set(prepared("amazon2018_strings").items["description"].to_pylist()) == {"First. Second."}


def test_the_newest_item_is_test() -> None:
    made = prepared("table_time_ns_reversed", split={"strategy": "leave_last_two"})
    held = {row["split"]: made.items["item_id"][row["item"]].as_py() for row in made.interactions.to_pylist()}
    assert held == {"train": "i7", "valid": "i8", "test": "i9"}


def test_pairs_in_two_splits_are_said() -> None:
    made = prepared("split_leak", split={"strategy": "column"})
    assert made.counts["pairs_in_two_splits"] == 5
    assert "5 pairs of user and item are in two splits" in made.warnings[0]


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("table_leading_zeros", "one side has lost its leading zeros"),
        ("parquet_duration", r"'timestamp' is duration\[us\] and cannot be a timestamp"),
        ("parquet_time64", r"'timestamp' is time64\[us\] and cannot be a timestamp"),
        ("parquet_struct_title", "'title' is struct<a: int64> and cannot be a title"),
        ("edge_all_met_few", "needs 5 interactions for that and none has more than 4"),
        ("edge_one_each", "needs 5 interactions for that and none has more than 1"),
        ("edge_one_item", "needs 5 interactions for that and none has more than 1"),
    ],
)
def test_what_stops(name: str, sentence: str) -> None:
    (problem,) = check(config_of(name)).problems
    assert re.search(sentence, problem)
