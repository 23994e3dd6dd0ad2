"""Tables larger than memory: what is read a part at a time is what is read at once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hnlm_ray.errors import StoreError
from hnlm_ray.run import rows as rows_module
from hnlm_ray.run.rows import Located, Rows, is_among, write_parts

LOCAL = pafs.LocalFileSystem()
SCHEMA = pa.schema([("id", pa.int64()), ("text", pa.string())])


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows_module, "PART_ROWS", 4)


def table_of(ids: list[int], word: str = "row") -> pa.Table:
    return pa.table({"id": ids, "text": [f"{word} {one}" for one in ids]}, schema=SCHEMA)


@given(st.lists(st.integers(0, 50)), st.sets(st.integers(0, 50)))
def test_membership_is_that_of_a_set(ids: list[int], known: set[int]) -> None:
    found = is_among(np.array(ids, np.int64), np.array(sorted(known), np.int64))
    assert found.tolist() == [one in known for one in ids]


def test_rows_are_read_in_small_tables_in_their_order_and_only_those_asked_for() -> None:
    rows = Rows.of(table_of([5, 3, 9, 1, 7, 2, 8, 0, 6, 4])).only(np.array([0, 2, 3, 5, 6, 9]))
    parts = list(rows.read())
    assert [part.num_rows for part in parts] == [4, 2]
    assert rows.table().equals(table_of([0, 2, 3, 5, 6, 9]))
    assert (
        Rows(rows.ids, lambda: [table_of([]), table_of([0, 1, 2]), table_of([3, 4]), table_of([5, 6, 9])])
        .table()
        .equals(rows.table())
    )
    assert rows.only(np.zeros(0, np.int64)).table().num_rows == 0


def written(folder: Path, name: str, tables: list[pa.Table]) -> Located:
    path = str(folder / name)
    write_parts(tables, path, LOCAL, SCHEMA)
    assert pq.ParquetFile(path).num_row_groups == len(tables)
    found = [((path, number), one["id"].to_numpy(), np.ones(len(one), bool)) for number, one in enumerate(tables)]
    return Located.of(LOCAL, SCHEMA, found)


@given(st.lists(st.lists(st.integers(0, 30), unique=True, min_size=1), max_size=6), st.integers(0, 6))
def test_of_an_id_that_stands_in_several_places_the_last_counts(groups: list[list[int]], cut: int) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        tables = [table_of(ids, f"group {number}") for number, ids in enumerate(groups)]
        halves = [
            written(Path(folder), f"{name}.parquet", part) for name, part in (("a", tables[:cut]), ("b", tables[cut:]))
        ]
        located = Located.together(halves)
        expected = {row["id"]: row["text"] for table in tables for row in table.to_pylist()}
        assert located.table().to_pylist() == [{"id": one, "text": expected[one]} for one in sorted(expected)]
        assert all(0 < part.num_rows <= 4 for part in located.parts())
        chosen = located.where(located.ids % 2 == 0)
        assert chosen.table()["id"].to_pylist() == [one for one in sorted(expected) if one % 2 == 0]
        assert [part.column_names for part in located.parts(["text"])] == [["text"]] * len(list(located.parts()))


def test_a_file_that_is_gone_when_it_is_read_is_named(tmp_path: Path) -> None:
    located = written(tmp_path, "a.parquet", [table_of([1, 2])])
    (tmp_path / "a.parquet").unlink()
    with pytest.raises(StoreError, match=r"a\.parquet cannot be read any more"):
        located.table()


def test_a_file_of_no_rows_keeps_its_columns(tmp_path: Path) -> None:
    path = str(tmp_path / "empty.parquet")
    write_parts([], path, LOCAL, SCHEMA)
    assert pq.read_table(path).equals(SCHEMA.empty_table())
