"""Small files as people report them, each with what it must give."""

from __future__ import annotations

import codecs
import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from hnlm_ray.config.data import DataConfig
from hnlm_ray.data.raw import RawData
from hnlm_ray.errors import DataError
from tests.data.conftest import read_serially

Read = Callable[..., RawData]

ROWS = [(f"u{n % 20:02}", f"i{n % 15:02}", n % 5 + 1, 1_500_000_000 + n) for n in range(160)]
LINES = [",".join(map(str, row)) for row in ROWS]
HEADER = "user_id,item_id,rating,timestamp"
PLAIN = "\n".join([HEADER, *LINES]) + "\n"
ITEMS = "item_id,title\n" + "".join(f"i{n:02},Thing {n}\n" for n in range(15))


def write(folder: Path, interactions: str | bytes, items: str | bytes = ITEMS, name: str = "interactions.csv") -> None:
    for file, content in ((name, interactions), ("items.csv", items)):
        (folder / file).write_bytes(content.encode() if isinstance(content, str) else content)


def rows_of(raw: RawData) -> list[tuple[object, ...]]:
    columns = [raw.interactions[name].to_pylist() for name in ("user_id", "item_id", "rating", "timestamp")]
    return list(zip(*columns, strict=True))


@pytest.mark.parametrize(
    "content",
    {
        "carriage returns alone": PLAIN.replace("\n", "\r"),
        "mixed line ends": PLAIN.replace("\n", "\r\n", 50),
        "carriage returns twice": PLAIN.replace("\n", "\r\r\n"),
        "no end of the last line": PLAIN.rstrip("\n"),
        "blank lines": PLAIN.replace("\n", "\n\n\r\n"),
        "two byte order marks": codecs.BOM_UTF8 * 2 + PLAIN.encode(),
        "UTF-16": PLAIN.encode("utf-16"),
        "UTF-16 without a mark": PLAIN.encode("utf-16-be"),
        "spaces in the header": PLAIN.replace(HEADER, '\ufeff"user_id", item_id ,rating, timestamp'),
        "semicolons": PLAIN.replace(",", ";"),
        "semicolons, said to Excel": "sep=;\n" + PLAIN.replace(",", ";"),
        "tabs": PLAIN.replace(",", "\t"),
        "an empty column at the end": PLAIN.replace("\n", ",\n"),
        "an empty field too many": HEADER + "\n" + "".join(f"{line},\n" for line in LINES),
        "an unnamed index": f",{HEADER}\n" + "".join(f"{n},{line}\n" for n, line in enumerate(LINES)),
        "everything quoted": "".join('"' + line.replace(",", '","') + '"\n' for line in [HEADER, *LINES]),
        "signs": HEADER + "\n" + "".join(f"{u},{i},+{r}.0,{t}\n" for u, i, r, t in ROWS),
        "packed, and not called so": gzip.compress(PLAIN.encode()),
        "packed twice": gzip.compress(gzip.compress(PLAIN.encode())),
    }.items(),
    ids=lambda case: case[0],
)
def test_the_same_rows_in_another_dress(tmp_path: Path, read_raw: Read, content: tuple[str, str | bytes]) -> None:
    write(tmp_path, content[1])
    raw = read_raw("table", size=500)
    assert rows_of(raw) == ROWS
    assert raw.items.num_rows == 15


def test_a_file_called_gz_that_is_not_packed(tmp_path: Path, read_raw: Read) -> None:
    write(tmp_path, PLAIN, name="interactions.csv.gz")
    assert rows_of(read_raw("table")) == ROWS


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (PLAIN.replace("u05,i05,1", 'u05,i05,"1,5"'), r"csv:7: rating is not a number: 1,5"),
        (PLAIN.replace("u05,i05,1", 'u05,i05,"1,000.0"'), r"csv:7: rating is not a number: 1,000\.0"),
        (PLAIN.replace("u05,i05,1,", "u05,i05,1,,"), r"csv:7: 5 fields, expected 4; this is the first of 3"),
        (PLAIN + "\0" * 99, r"csv:162: 1 field, expected 4"),
        (PLAIN.replace("rating", "item_id"), "several columns called 'item_id'"),
        ("", "is empty"),
        ("\ufeff", "is empty"),
        ("\n\n", "is empty"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path: Path, read_raw: Read, content: str, sentence: str) -> None:
    write(tmp_path, content)
    with pytest.raises(DataError, match=sentence):
        read_raw("table")


def test_stray_quotes_cost_the_lines_they_stand_on(tmp_path: Path, read_raw: Read) -> None:
    items = "item_id,title\n" + "".join(f"p{n:05},Thing {n}\n" for n in range(4000))
    struck = items.replace("p01000,Thing 1000", 'p01000,"Stray').replace("p01600,Thing 1600", 'p01600,"Again')
    write(tmp_path, PLAIN, struck)
    raw = read_raw("table", size=5000)
    kept = set(raw.items["item_id"].to_pylist())
    assert {f"p{n:05}" for n in range(4000)} - kept == {"p01000", "p01600"}
    assert raw.counts["item_lines_malformed"] == 2
    assert raw.warnings[0].startswith(f"2 lines malformed and left out: {tmp_path / 'items.csv'}:1002, 1602 (")


def test_movielens_in_folders_that_are_named_like_its_files(tmp_path: Path) -> None:
    for folder, ratings, movies, text in (
        ("ml.database", "ratings.dat", "movies.dat", ("1::7::5::9\n", "7::Film, one (1999)::Drama|War\n")),
        ("csv.items", "ratings.csv", "movies.csv", ("userId,movieId,rating,timestamp\n1,7,5,9\n",
         'movieId,title,genres\n7,"Film, one (1999)",Drama|War\n')),
        ("ml.items_2024", "u.data", "u.item", ("1\t7\t5\t9\n",
         "7|Film, one (1999)|||x|" + "|".join("1" if n in (8, 17) else "0" for n in range(19)) + "\n")),
    ):  # fmt: skip
        (tmp_path / folder).mkdir()
        (tmp_path / folder / ratings).write_text(text[0])
        (tmp_path / folder / movies).write_text(text[1])
        raw = read_serially(DataConfig(format="movielens", path=str(tmp_path / folder)))
        assert rows_of(raw) == [("1", "7", 5.0, 9.0)]
        assert raw.items.select(["item_id", "title", "categories"]).to_pylist() == [
            {"item_id": "7", "title": "Film, one (1999)", "categories": ["Drama", "War"]}
        ]


def test_movielens_titles_in_latin1_between_marks_and_quotes(tmp_path: Path, read_raw: Read) -> None:
    (tmp_path / "ratings.csv").write_bytes(codecs.BOM_UTF8 + b"userId,movieId,rating,timestamp\r\n1,7,5,9\r\n")
    movies = b'movieId,title,genres\r\n7,"Am\xe9lie ""one"", the (2001)",Drama\r\n8,"Stray,Drama\r\n9,Film,Drama\r\n'
    (tmp_path / "movies.csv").write_bytes(movies)
    raw = read_raw("movielens", max_bad_rows=0.5, size=30)
    assert raw.items["title"].to_pylist() == ['Amélie "one", the (2001)', "Film"]
    assert (raw.counts["lines_not_utf8"], raw.counts["item_lines_malformed"]) == (1, 1)
    assert raw.counts["item_lines"] == 3


@pytest.mark.parametrize("indent", [None, 1])
def test_a_json_array_is_told_to_be_lines(tmp_path: Path, read_raw: Read, indent: int | None) -> None:
    reviews = [{"user_id": "u", "parent_asin": "i", "rating": 1.0, "timestamp": 1}] * 20
    (tmp_path / "Toys.jsonl").write_text(json.dumps(reviews, indent=indent))
    with pytest.raises(DataError, match=r"Toys\.jsonl is one JSON array; write one object per line"):
        read_raw("amazon2023", items="", size=64)
