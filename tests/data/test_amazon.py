from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from hnlm_ray.data.raw import RawData
from hnlm_ray.errors import DataError

Read = Callable[..., RawData]

REVIEWS_2018 = [
    {"reviewerID": "A1", "asin": "B1", "overall": 5.0, "unixReviewTime": 1_400_000_000, "reviewText": "Does its job."},
    {"reviewerID": "A2", "asin": "B1", "overall": 2, "unixReviewTime": 1_400_000_001, "summary": "Broke at once"},
    {"reviewerID": "A1", "asin": "B2", "overall": 4.0, "style": {"Color:": " Red"}, "reviewText": "", "summary": "Ok"},
]
ITEMS_2018 = [
    {"asin": "B1", "title": "Kettle", "brand": "Norwick", "category": ["Home", "Kitchen"], "description": ["A", "B"]},
    {"asin": "B2", "title": "Mug", "price": "$3"},
]


def write_lines(path: Path, rows: list[dict[str, object]]) -> None:
    text = "".join(json.dumps(row) + "\n" for row in rows).encode()
    path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)


@pytest.mark.parametrize(
    ("reviews", "meta"), [("reviews_Toys.json.gz", "meta_Toys.json.gz"), ("Toys_5.json", "meta_Toys.json")]
)
@pytest.mark.parametrize("size", [40, 1 << 20])
def test_the_2018_release(tmp_path: Path, read_raw: Read, reviews: str, meta: str, size: int) -> None:
    write_lines(tmp_path / reviews, REVIEWS_2018)
    write_lines(tmp_path / meta, ITEMS_2018)
    raw = read_raw("amazon2018", size=size)
    assert raw.interactions["user_id"].to_pylist() == ["A1", "A2", "A1"]
    assert raw.interactions["item_id"].to_pylist() == ["B1", "B1", "B2"]
    assert raw.interactions["rating"].to_pylist() == [5.0, 2.0, 4.0]
    assert raw.interactions["timestamp"].to_pylist() == [1_400_000_000, 1_400_000_001, None]
    assert raw.interactions["review"].to_pylist() == ["Does its job.", "Broke at once", "Ok"]
    assert raw.items.select(["item_id", "title", "brand", "categories"]).to_pylist() == [
        {"item_id": "B1", "title": "Kettle", "brand": "Norwick", "categories": ["Home", "Kitchen"]},
        {"item_id": "B2", "title": "Mug", "brand": None, "categories": None},
    ]
    assert raw.items["description"][0].as_py() == "A B"


def test_python_literals_of_the_release_before_2018(tmp_path: Path, read_raw: Read) -> None:
    write_lines(tmp_path / "reviews_Toys.json", REVIEWS_2018)
    item = {"asin": "B1", "title": "Ann's kettle", "categories": [["Home", "Kitchen"]], "description": "Boils."}
    (tmp_path / "meta_Toys.json").write_text(f"{item!r}\n")
    raw = read_raw("amazon2018")
    row = raw.items.to_pylist()[0]
    assert (row["title"], row["categories"], row["description"]) == ("Ann's kettle", ["Home", "Kitchen"], "Boils.")


def test_the_2023_release(tmp_path: Path, read_raw: Read) -> None:
    review = {"user_id": "U", "asin": "child", "parent_asin": "P", "rating": 3.0, "timestamp": 1_588_687_728_923}
    write_lines(tmp_path / "Toys.jsonl.gz", [review | {"title": "Fine", "text": ""}, review | {"text": "Long text"}])
    known = [
        {"parent_asin": "P", "title": "Kite", "store": "Galix", "categories": [], "main_category": "Toys",
         "description": ["Flies.", "High."], "price": None, "details": {"Color": "red"}},
        {"parent_asin": "Q", "title": "Top", "categories": ["Toys", "Spinning"], "price": 3.5, "description": []},
    ]  # fmt: skip
    write_lines(tmp_path / "meta_Toys.jsonl", known)
    raw = read_raw("amazon2023")
    assert raw.interactions["item_id"].to_pylist() == ["P", "P"]
    assert raw.interactions["timestamp"].to_pylist() == [1_588_687_728_923] * 2
    assert raw.interactions["review"].to_pylist() == ["Fine", "Long text"]
    assert raw.items["brand"].to_pylist() == ["Galix", None]
    assert raw.items["categories"].to_pylist() == [["Toys"], ["Toys", "Spinning"]]
    assert raw.items["description"].to_pylist() == ["Flies. High.", ""]


def test_a_malformed_line_is_counted_or_named(tmp_path: Path, read_raw: Read) -> None:
    lines = [json.dumps(row) for row in REVIEWS_2018] * 5
    lines.insert(7, '{"reviewerID": "A9", "asin"')
    path = tmp_path / "reviews_Toys.json"
    path.write_text("\n".join(lines))
    write_lines(tmp_path / "meta_Toys.json", ITEMS_2018)
    raw = read_raw("amazon2018", size=200, max_bad_rows=0.1)
    assert raw.interactions.num_rows == 15
    assert raw.counts["interaction_lines_malformed"] == 1
    assert raw.interactions["user_id"].to_pylist() == ["A1", "A2", "A1"] * 5
    with pytest.raises(DataError, match=r"reviews_Toys\.json:8: not a JSON object .*max_bad_rows=0\.001"):
        read_raw("amazon2018", size=200)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"reviewerID": "A", "asin": "B", "overall": "five"}', "overall is 'five'"),
        (b'["A", "B"]', "a JSON list, expected an object"),
        (b"{'reviewerID': open('x')}", "neither a JSON object nor a Python literal"),
        (b"[" * 100_000, "not a JSON object"),
    ],
)
def test_what_is_wrong_with_a_line_is_said(tmp_path: Path, read_raw: Read, line: bytes, reason: str) -> None:
    (tmp_path / "reviews_Toys.json").write_bytes(b"\n" + line + b"\n")
    write_lines(tmp_path / "meta_Toys.json", ITEMS_2018)
    with pytest.raises(DataError, match=":2: ") as caught:
        read_raw("amazon2018")
    assert reason in str(caught.value)


def test_other_encodings_and_loose_values_are_read(tmp_path: Path, read_raw: Read) -> None:
    content = (
        b'{"reviewerID": "A1", "asin": 7, "overall": "4", "reviewText": "caf\xe9"}\r\n'
        b"\r\n"
        b'{"reviewerID": "A2", "asin": "B", "overall": 1, "reviewText": "half \\ud83d pair"}\r\n'
    )
    (tmp_path / "reviews_Toys.json").write_bytes(b"\xef\xbb\xbf" + content)
    write_lines(tmp_path / "meta_Toys.json", ITEMS_2018)
    raw = read_raw("amazon2018")
    assert raw.interactions["review"].to_pylist() == ["café", "half ? pair"]
    assert raw.interactions["item_id"].to_pylist() == ["7", "B"]
    assert raw.interactions["rating"].to_pylist() == [4.0, 1.0]
    assert raw.counts["lines_not_utf8"] == 1


def test_a_cut_archive_is_an_error(tmp_path: Path, read_raw: Read) -> None:
    write_lines(tmp_path / "meta_Toys.json", ITEMS_2018)
    whole = gzip.compress("".join(json.dumps(row) + "\n" for row in REVIEWS_2018).encode())
    (tmp_path / "reviews_Toys.json.gz").write_bytes(whole[:-30])
    with pytest.raises(DataError, match=r"reviews_Toys\.json\.gz cannot be read"):
        read_raw("amazon2018")
