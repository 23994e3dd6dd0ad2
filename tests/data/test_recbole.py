from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from hnlm_ray.data.raw import RawData
from hnlm_ray.errors import DataError

Read = Callable[..., RawData]

ITEMS = (
    "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\n"
    "1\tToy Fort\t1995\tAnimation Comedy\n"
    "2\tThe 'Long' Road\t1995\t\n"
    "3\tKettle\t\t'Home & Garden', 'Kitchen'\n"
)


def write(folder: Path, interactions: str, items: str = ITEMS) -> None:
    (folder / "toy.inter").write_text(interactions)
    (folder / "toy.item").write_text(items)


def test_atomic_files(tmp_path: Path, read_raw: Read) -> None:
    write(tmp_path, "user_id:token\titem_id:token\trating:float\ttimestamp:float\na\t1\t3.5\t8.8e8\nb\t2\t\t\n")
    raw = read_raw("recbole", size=30)
    assert raw.interactions["user_id"].to_pylist() == ["a", "b"]
    assert raw.interactions["rating"].to_pylist() == [3.5, None]
    assert raw.interactions["timestamp"].to_pylist() == [8.8e8, None]
    assert raw.items["title"].to_pylist() == ["Toy Fort", "The 'Long' Road", "Kettle"]
    assert raw.items["categories"].to_pylist() == [["Animation", "Comedy"], [""], ["Home & Garden", "Kitchen"]]


def test_fields_by_name(tmp_path: Path, read_raw: Read) -> None:
    write(tmp_path, "viewer:token\titem_id:token\nx\t1\n")
    assert read_raw("recbole", columns={"user": "viewer"}).interactions["user_id"].to_pylist() == ["x"]
    with pytest.raises(
        DataError, match=r"lacks the field 'user_id', it has viewer, item_id; name it with data\.columns"
    ):
        read_raw("recbole")
    with pytest.raises(DataError, match="lacks the field 'stars'"):
        read_raw("recbole", columns={"user": "viewer", "rating": "stars"})


def test_a_header_without_types(tmp_path: Path, read_raw: Read) -> None:
    write(tmp_path, "user_id\titem_id\nx\t1\n")
    with pytest.raises(DataError, match=r"toy\.inter:1: the header .* has no types"):
        read_raw("recbole")


def test_the_split_of_the_files_is_the_split(tmp_path: Path, read_raw: Read) -> None:
    for number, name in enumerate(("train", "valid", "test")):
        text = f"user_id:token\titem_id:token\na\t{number}\n"
        (tmp_path / f"toy.{name}.inter").write_text(text)
    raw = read_raw("recbole", items="", split={"strategy": "column"})
    found = dict(zip(raw.interactions["item_id"].to_pylist(), raw.interactions["split"].to_pylist(), strict=True))
    assert found == {"0": "train", "1": "valid", "2": "test"}


def test_quotes_returns_and_nul_bytes_are_characters_of_a_field(tmp_path: Path, read_raw: Read) -> None:
    items = 'item_id:token\titem_name:token_seq\n1\t12" pan\n2\t"Quoted\n3\tnul\0inside\n4\tHalf\rHalf\n5\tlast\n'
    write(tmp_path, "user_id:token\titem_id:token\na\t1\n", items)
    raw = read_raw("recbole", size=30)
    assert raw.items["title"].to_pylist() == ['12" pan', '"Quoted', "nulinside", "Half\rHalf", "last"]
    assert (raw.counts["lines_with_nul"], raw.counts["lines_with_return"]) == (1, 1)
    assert raw.counts["item_lines_malformed"] == 0
