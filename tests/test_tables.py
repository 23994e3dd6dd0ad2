from __future__ import annotations

import pyarrow as pa
import pytest

from hnlm_ray.errors import DataError
from hnlm_ray.tables import ITEM_VECTORS, TABLES, TRUTH, USERS, conform, pair_id


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


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_what_is_not_a_number_never_passes(value: float) -> None:
    scalar = pa.chunked_array([[0.5, None], [1.0, value]], pa.float64())
    rows = pa.table({"user": [0] * 4, "item": [0] * 4, "probability": scalar})
    with pytest.raises(DataError, match="here: column 'probability' holds NaN or an infinity in row 3"):
        conform(rows, TRUTH, "here")
    lists = pa.chunked_array([[[0.5, 0.5], None, []], [[0.5], [0.5, value]]], pa.list_(pa.float64()))
    vectors = pa.table({"item": range(5), "vector": lists})
    with pytest.raises(DataError, match="here: column 'vector' holds NaN or an infinity in row 4"):
        conform(vectors, ITEM_VECTORS, "here")
    sliced = conform(vectors.slice(0, 4), ITEM_VECTORS, "here")
    assert sliced["vector"].to_pylist() == [[0.5, 0.5], None, [], [0.5]]


@pytest.mark.parametrize("name", sorted(TABLES))
def test_every_table_round_trips_through_parquet(name: str, tmp_path: object) -> None:
    import pyarrow.parquet as pq

    empty = TABLES[name].empty_table()
    pq.write_table(empty, f"{tmp_path}/{name}.parquet")
    assert conform(pq.read_table(f"{tmp_path}/{name}.parquet"), TABLES[name], name).equals(empty)


def test_pairs_are_numbered_without_collision() -> None:
    assert len({pair_id(user, item, 7) for user in range(5) for item in range(7)}) == 35
