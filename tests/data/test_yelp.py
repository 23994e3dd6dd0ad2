from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from hnlm_ray.data.raw import RawData
from hnlm_ray.errors import DataError

Read = Callable[..., RawData]

BUSINESS = {"business_id": "b1", "name": "Blue Spoon", "categories": "Food, Ramen", "hours": None, "stars": 4.5}


def write(folder: Path, dates: list[str]) -> None:
    reviews = [
        {"review_id": f"r{n}", "user_id": f"u{n}", "business_id": "b1", "stars": 4.0, "date": date, "text": "Warm."}
        for n, date in enumerate(dates)
    ]
    (folder / "yelp_academic_dataset_review.json").write_text("".join(json.dumps(row) + "\n" for row in reviews))
    known = [BUSINESS, BUSINESS | {"business_id": "b2", "categories": None}]
    (folder / "yelp_academic_dataset_business.json").write_text("".join(json.dumps(row) + "\n" for row in known))


def test_reviews_and_businesses(tmp_path: Path, read_raw: Read) -> None:
    write(tmp_path, ["1970-01-02 00:00:01", "2018-07-07 22:09:11"])
    raw = read_raw("yelp")
    assert raw.interactions["moment"].to_pylist() == [86_401, 1_531_001_351]
    assert raw.interactions["review"].to_pylist() == ["Warm.", "Warm."]
    assert raw.items["title"].to_pylist() == ["Blue Spoon"] * 2
    assert raw.items["categories"].to_pylist() == [["Food", " Ramen"], None]


def test_categories_as_text_as_a_list_and_none(tmp_path: Path, read_raw: Read) -> None:
    write(tmp_path, ["2018-07-07"])
    written: list[object] = ["Mexican, Fast Food", ["Mexican", "Books, Mags & Music"], None, "['Mexican', 'Fast Food']"]
    rows = [{"business_id": f"b{n}", "name": "Spoon", "categories": value} for n, value in enumerate(written)]
    (tmp_path / "yelp_academic_dataset_business.json").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert read_raw("yelp").items["categories"].to_pylist() == [
        ["Mexican", " Fast Food"],
        ["Mexican", "Books, Mags & Music"],
        None,
        ["Mexican", "Fast Food"],
    ]


def test_a_date_that_is_none_is_a_malformed_line(tmp_path: Path, read_raw: Read) -> None:
    write(tmp_path, ["2018-07-07 22:09:11", "last week"])
    with pytest.raises(DataError, match=r"review\.json:2: date is neither a number nor a date: last week"):
        read_raw("yelp")


def test_true_is_no_id(tmp_path: Path, read_raw: Read) -> None:
    write(tmp_path, ["2018-07-07 22:09:11"])
    path = tmp_path / "yelp_academic_dataset_review.json"
    path.write_text(path.read_text().replace('"u0"', "true"))
    with pytest.raises(DataError, match=r"review\.json:1: user_id is 'True'"):
        read_raw("yelp")
