from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import pytest

from hnlm_ray.data.raw import RawData
from hnlm_ray.errors import DataError

Read = Callable[..., RawData]


def write_100k(folder: Path, ratings: str = "196\t1\t3\t881250949\n186\t2\t4\t891717742\n") -> None:
    (folder / "u.data").write_text(ratings)
    flags = {"1": "0|1|0|0|0|1|" + "0|" * 12 + "0", "2": "1|" + "0|" * 17 + "0"}
    titles = {"1": "Les Trois Forêts (1995)", "2": 'The "Long" Road'}
    lines = [f"{n}|{titles[n]}|01-Jan-1995||http://x/?{n}|{flags[n]}\n" for n in titles]
    (folder / "u.item").write_bytes("".join(lines).encode("latin-1"))


def test_100k(tmp_path: Path, read_raw: Read) -> None:
    write_100k(tmp_path)
    raw = read_raw("movielens")
    assert raw.interactions.select(["user_id", "item_id", "rating", "timestamp"]).to_pylist() == [
        {"user_id": "196", "item_id": "1", "rating": 3.0, "timestamp": 881250949.0},
        {"user_id": "186", "item_id": "2", "rating": 4.0, "timestamp": 891717742.0},
    ]
    assert raw.items["title"].to_pylist() == ["Les Trois Forêts (1995)", 'The "Long" Road']
    assert raw.items["categories"].to_pylist() == [["Action", "Comedy"], []]
    assert raw.counts["lines_not_utf8"] == 1


def test_1m_in_the_folder_of_its_archive(tmp_path: Path, read_raw: Read) -> None:
    (tmp_path / "ml-1m").mkdir()
    (tmp_path / "ml-1m" / "ratings.dat").write_text("1::1193::5::978300760\n1::661::3::978302109\n")
    (tmp_path / "ml-1m" / "movies.dat").write_bytes("1193::Café: a | film (1975)::Drama|War\n".encode("latin-1"))
    raw = read_raw("movielens", size=8)
    assert raw.interactions["item_id"].to_pylist() == ["1193", "661"]
    assert raw.items["title"].to_pylist() == ["Café: a | film (1975)"]
    assert raw.items["categories"].to_pylist() == [["Drama", "War"]]


def test_25m(tmp_path: Path, read_raw: Read) -> None:
    ratings = "userId,movieId,rating,timestamp\n1,296,4.5,1147880044\n2,297,0.5,1147880045\n"
    (tmp_path / "ratings.csv.gz").write_bytes(gzip.compress(ratings.encode()))
    movies = 'movieId,title,genres\n296,"Road, The ""Long"" (1994)",Comedy|Crime\n297,Blank,(no genres listed)\n'
    (tmp_path / "movies.csv").write_text(movies)
    raw = read_raw("movielens")
    assert raw.interactions["rating"].to_pylist() == [4.5, 0.5]
    assert raw.items["title"].to_pylist() == ['Road, The "Long" (1994)', "Blank"]
    assert raw.items["categories"].to_pylist() == [["Comedy", "Crime"], [""]]


def test_the_line_of_a_bad_rating_is_named(tmp_path: Path, read_raw: Read) -> None:
    write_100k(tmp_path, "1\t2\t3\t4\n\n5\t6\n7\t8\tnine\t10\n")
    with pytest.raises(DataError, match=r"u\.data:3: 2 fields, expected 4; this is the first of 2 malformed lines"):
        read_raw("movielens")
    raw = read_raw("movielens", max_bad_rows=0.7)
    assert raw.interactions["user_id"].to_pylist() == ["1"]
    assert raw.counts["interaction_lines_malformed"] == 2


def test_a_csv_without_a_column(tmp_path: Path, read_raw: Read) -> None:
    (tmp_path / "ratings.csv").write_text("userId,film,rating,timestamp\n1,2,3,4\n")
    (tmp_path / "movies.csv").write_text("movieId,title,genres\n")
    with pytest.raises(DataError, match=r"ratings\.csv lacks the column 'movieId'"):
        read_raw("movielens")
