from __future__ import annotations

import pyarrow as pa
import pytest

from hnlm_ray.errors import DataError
from hnlm_ray.tables import TABLES, USERS, conform, pair_id


def test_conform_selects_orders_and_casts() -> None:
    table = pa.table({"user_id": ["a"], "extra": [1.0], "user": pa.array([7], pa.int64())})
    assert conform(table, USERS, "here").schema.equals(USERS)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (pa.table({"user": [1]}), "here lacks the column 'user_id'"),
        (pa.table({"user": [2**40], "user_id": ["a"]}), "here: column 'user' is int64, expected int32"),
    ],
)
def test_conform_names_place_and_column(table: pa.Table, message: str) -> None:
    with pytest.raises(DataError, match=message):
        conform(table, USERS, "here")


@pytest.mark.parametrize("name", sorted(TABLES))
def test_every_table_round_trips_through_parquet(name: str, tmp_path: object) -> None:
    import pyarrow.parquet as pq

    empty = TABLES[name].empty_table()
    pq.write_table(empty, f"{tmp_path}/{name}.parquet")
    assert conform(pq.read_table(f"{tmp_path}/{name}.parquet"), TABLES[name], name).equals(empty)


def test_pairs_are_numbered_without_collision() -> None:
    assert len({pair_id(user, item, 7) for user in range(5) for item in range(7)}) == 35
