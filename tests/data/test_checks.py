from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hnlm_ray.config.data import DataConfig
from hnlm_ray.data.checks import Findings, check


def found(path: Path, **options: Any) -> list[str]:
    return check(DataConfig.model_validate({"path": str(path), **options})).problems


def test_generated_data_has_no_problem() -> None:
    assert check(DataConfig()) == Findings()


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
    assert "interactions.csv lacks the column 'split'" in problem
    (tmp_path / "toy.inter").write_text("user_id:token\titem_id:token\na\t1\n")
    (problem,) = found(tmp_path, format="recbole", items="", split={"strategy": "column"})
    assert "toy.inter in" in problem
    assert "tell no split" in problem
    (tmp_path / "toy.inter").unlink()
    for part in ("train", "valid", "test"):
        (tmp_path / f"toy.{part}.inter").write_text(f"user_id:token\titem_id:token\na\t{part}\n")
    assert found(tmp_path, format="recbole", items="", split={"strategy": "column"}) == []


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


def write_table(folder: Path, rows: int, item: str = "i{}", moment: str = "15000000{:02}") -> None:
    lines = [f"u{n // 10},{item.format(n % 10)},{moment.format(n % 60)}" for n in range(rows)]
    (folder / "interactions.csv").write_text("\n".join(["user_id,item_id,timestamp", *lines]))
    (folder / "items.csv").write_text("item_id,title\n" + "".join(f"i{n},Thing {n}\n" for n in range(10)))


def test_sound_tables_have_nothing_to_say(tmp_path: Path) -> None:
    write_table(tmp_path, 100)
    assert check(DataConfig(format="table", path=str(tmp_path))) == Findings()


@pytest.mark.parametrize("rows", [100, 60_000])
@pytest.mark.parametrize(
    ("how", "sentence"),
    [
        ({"item": "I{}"}, "(100.0%, more than data.max_unknown_items=0.5)"),
        ({"moment": "-{}"}, "timestamps are no time between 1970 and 2100, for example -"),
        ({"moment": "{:02}/01/2018"}, "timestamp does not tell the day from the month, write 2018-01-31: 00/01/2018"),
    ],
)
def test_what_stops_prepare_is_found_in_small_and_in_large_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: int, how: dict[str, str], sentence: str
) -> None:
    monkeypatch.setattr("hnlm_ray.data.checks._SMALL_BYTES", 100_000)
    write_table(tmp_path, rows, **how)
    (problem,) = found(tmp_path, format="table")
    assert sentence in problem
    assert problem.startswith("In the first rows, ") == (rows > 100 and "malformed" not in problem)


def test_the_first_rows_of_large_data_are_held_to_no_filter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hnlm_ray.data.checks._SMALL_BYTES", 1000)
    write_table(tmp_path, 60_000)
    (tmp_path / "items.csv").write_text("item_id,title\n" + "".join(f"i{n},T{n}\n" for n in range(9)))
    options = {"format": "table", "path": str(tmp_path), "k_core": 5000, "split": {"strategy": "global_time"}}
    findings = check(DataConfig.model_validate(options))
    assert findings.problems == []
    (warning,) = findings.warnings
    assert warning.startswith("of the first ")
    assert "(10.0%) have an item that the items lack, such as 'i9'" in warning


def test_that_nothing_will_be_held_out_is_found(tmp_path: Path) -> None:
    write_table(tmp_path, 40)
    (problem,) = found(tmp_path, format="table", split={"valid": 0.01})
    assert "falls into the split valid, because a user needs 50 interactions" in problem
    assert found(tmp_path, format="table", k_core=11) == [
        "data.k_core=11 leaves none of 40 interactions; loosen it, or check the raw data."
    ]


def test_warnings_are_those_of_the_stage(tmp_path: Path) -> None:
    write_table(tmp_path, 100, moment="17")
    (warning,) = check(DataConfig(format="table", path=str(tmp_path))).warnings
    assert "most timestamps lie before 1980" in warning


def test_every_wrong_column_of_parquet_is_found(tmp_path: Path) -> None:
    columns = {"user_id": [True], "item_id": ["i"], "timestamp": pa.array([1], pa.duration("s"))}
    pq.write_table(pa.table(columns), tmp_path / "interactions.parquet")
    pq.write_table(pa.table({"id": ["i"], "name": ["x"]}), tmp_path / "items.parquet")
    problems = found(tmp_path, format="table")
    assert "'user_id' is bool" in problems[0]
    assert "'timestamp' is duration[s]" in problems[0]
    assert "lacks the columns 'item_id' and 'title', it has 'id', 'name'" in problems[1]


@pytest.mark.data
@pytest.mark.parametrize("name", ["amazon-office", "amazon-toys", "gowalla", "ml-100k", "ml-1m", "yelp"])
def test_real_data_has_no_problem(real_data: Path, name: str) -> None:
    assert found(real_data / name, format="table") == []
