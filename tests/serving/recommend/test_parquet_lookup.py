from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from hnlm_ray.serving.recommend import parquet_lookup
from hnlm_ray.serving.recommend.parquet_lookup import ParquetLookup
from hnlm_ray.tables import WRITTEN_NEGATIVES


def table_of(keys: list[int]) -> pa.Table:
    return pa.table({"key": pa.array(keys, pa.int32()), "text": [f"row {row}" for row in range(len(keys))]})


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(keys=st.lists(st.integers(0, 12), max_size=40).map(sorted), rows_per_group=st.integers(1, 9))
@example(keys=[], rows_per_group=4)
@example(keys=[5] * 20, rows_per_group=3)  # one key in every group
@example(keys=[0, 0, 0, 9, 9, 9], rows_per_group=3)  # absent keys between the groups
def test_all_rows_of_a_key_come_in_the_order_of_the_file(tmp_path: Path, keys: list[int], rows_per_group: int) -> None:
    path = str(tmp_path / "x.parquet")
    pq.write_table(table_of(keys), path, row_group_size=rows_per_group)
    file = ParquetLookup(path, "key")
    for key in range(-1, 14):
        expected = [{"key": key, "text": f"row {row}"} for row, other in enumerate(keys) if other == key]
        assert file.rows(key) == expected


def test_only_the_groups_of_the_key_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = str(tmp_path / "x.parquet")
    pq.write_table(table_of(np.repeat(np.arange(100), 10).tolist()), path, row_group_size=25)
    read: list[list[int]] = []
    whole = pq.ParquetFile.read_row_groups

    def watched(file: pq.ParquetFile, groups: list[int]) -> pa.Table:
        read.append(groups)
        return whole(file, groups)

    monkeypatch.setattr(parquet_lookup.pq.ParquetFile, "read_row_groups", watched)
    file = ParquetLookup(path, "key")
    assert len(file.rows(50)) == len(file.rows(52)) == 10
    assert file.rows(500) == []
    assert read == [[20], [20, 21]]


def test_a_table_without_a_row_has_no_row_of_any_key(tmp_path: Path) -> None:
    path = str(tmp_path / "x.parquet")
    pq.write_table(WRITTEN_NEGATIVES.empty_table(), path, row_group_size=2048)
    assert ParquetLookup(path, "user").rows(0) == []


def test_threads_get_their_own_rows(tmp_path: Path) -> None:
    path = str(tmp_path / "x.parquet")
    pq.write_table(table_of(list(range(2000))), path, row_group_size=50)
    file = ParquetLookup(path, "key")
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(file.rows, range(2000)))
    assert [row["text"] for (row,) in found] == [f"row {key}" for key in range(2000)]
