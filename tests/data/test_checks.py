from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hnlm_ray.config.data import DataConfig
from hnlm_ray.data.checks import check


def found(path: Path, **options: Any) -> list[str]:
    return check(DataConfig.model_validate({"path": str(path), **options}))


def test_generated_data_has_no_problem() -> None:
    assert check(DataConfig()) == []


def test_a_missing_folder_is_one_problem(tmp_path: Path) -> None:
    assert found(tmp_path / "nowhere", format="yelp") == [
        f"data.path {tmp_path / 'nowhere'} does not exist; give the folder that holds the raw files."
    ]


def test_all_problems_at_once(tmp_path: Path) -> None:
    (tmp_path / "interactions.csv").write_text("user,item_id\na,1\n")
    problems = found(tmp_path, format="table")
    assert len(problems) == 2
    assert "lacks the column 'user_id'" in problems[0]
    assert "no file items.parquet or items.csv" in problems[1]


def test_a_split_of_the_data_must_be_in_the_data(tmp_path: Path) -> None:
    (tmp_path / "interactions.csv").write_text("user_id,item_id\na,1\n")
    (tmp_path / "items.csv").write_text("item_id,title\n1,Kettle\n")
    (problem,) = found(tmp_path, format="table", split={"strategy": "column"})
    assert "interactions.csv has no split column" in problem
    (tmp_path / "toy.inter").write_text("user_id:token\titem_id:token\na\t1\n")
    (problem,) = found(tmp_path, format="recbole", items="", split={"strategy": "column"})
    assert "the format recbole has no split" in problem


def test_the_first_lines_are_looked_at(tmp_path: Path) -> None:
    (tmp_path / "u.data").write_text("1\t2\tthree\t4\n" + "1\t2\t3\t4\n" * 5)
    (tmp_path / "u.item").touch()
    problems = found(tmp_path, format="movielens")
    assert "u.data:1: rating is not a number: three; lines near the beginning are malformed" in problems[0]
    assert "u.item is empty" in problems[1]
    assert len(found(tmp_path, format="movielens", max_bad_rows=0.2)) == 1


def test_the_beginning_of_a_long_file_is_enough(tmp_path: Path) -> None:
    (tmp_path / "toy.inter").write_text("user_id:token\titem_id:token\n" + "a\t1\n" * 50_000 + "broken\n")
    (tmp_path / "toy.item").write_text("item_id:token\n")
    assert found(tmp_path, format="recbole") == [
        f"{tmp_path / 'toy.item'} has a header and no rows; download or write it again."
    ]


@pytest.mark.data
@pytest.mark.parametrize("name", ["amazon-office", "amazon-toys", "gowalla", "ml-100k", "ml-1m", "yelp"])
def test_real_data_has_no_problem(real_data: Path, name: str) -> None:
    assert found(real_data / name, format="table") == []
