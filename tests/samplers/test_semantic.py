"""Vectors by pair: found where there is one, -1 where there is none, refused where tables contradict."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hnlm_ray.errors import DataError
from hnlm_ray.samplers.semantic import PairVectors
from hnlm_ray.tables import GROUNDED, ITEM_VECTORS

N_ITEMS = 7


def grounded(*rows: tuple[int, int, str, int | None]) -> pa.Table:
    return pa.Table.from_pylist(
        [
            {
                "pair": user * N_ITEMS + item,
                "user": user,
                "item": item,
                "answer": "x",
                "status": status,
                "step": "exact",
                "similarity": 1.0,
                "negative": negative,
            }
            for user, item, status, negative in rows
        ],
        schema=GROUNDED,
    )


def item_vectors(items: list[int], dim: int = 3) -> pa.Table:
    vectors = [np.full(dim, item, dtype=np.float16) for item in items]
    return pa.Table.from_pydict({"item": items, "vector": vectors}, schema=ITEM_VECTORS)


def test_only_matched_rows_have_a_vector_that_of_the_matched_item() -> None:
    table = grounded(
        (2, 1, "matched", 5), (0, 3, "matched", 6), (0, 4, "interacted", 6), (1, 1, "out_of_catalogue", None)
    )
    vectors = PairVectors.from_tables(table, item_vectors([6, 4, 5]), N_ITEMS)
    pairs = np.array([2 * N_ITEMS + 1, 3, 4, N_ITEMS + 1, 0, 99])
    rows = vectors.lookup(pairs)
    assert (rows >= 0).tolist() == [True, True, False, False, False, False]
    assert vectors.vectors[rows[:2]].tolist() == [[5.0] * 3, [6.0] * 3]


@given(keys=st.sets(st.integers(0, 500), max_size=60), first=st.integers(0, 70), last=st.integers(0, 75))
@settings(max_examples=60)
def test_lookup_is_the_dictionary_and_a_slice_keeps_its_users(keys: set[int], first: int, last: int) -> None:
    pairs = np.array(sorted(keys), dtype=np.int64)
    rows = (pairs % 5).astype(np.int32)
    vectors = PairVectors(pairs, rows, np.arange(10, dtype=np.float32).reshape(5, 2), N_ITEMS)
    asked = np.arange(520)
    expected = [key % 5 if key in keys else -1 for key in range(520)]
    assert vectors.lookup(asked).tolist() == expected
    part = vectors.slice_users(first, max(first, last))
    for key, row in zip(asked.tolist(), part.lookup(asked).tolist(), strict=True):
        is_inside = key in keys and first <= key // N_ITEMS < last
        assert (row >= 0) == is_inside
        if is_inside:
            assert part.vectors[row].tolist() == vectors.vectors[key % 5].tolist()


def test_no_pairs_at_all_is_an_empty_table_of_the_right_width() -> None:
    vectors = PairVectors.from_tables(grounded(), item_vectors([0, 1]), N_ITEMS)
    assert vectors.lookup(np.arange(5)).tolist() == [-1] * 5
    assert vectors.slice_users(0, 3).vectors.shape == (0, 3)


def test_a_matched_item_without_vector_is_named() -> None:
    with pytest.raises(DataError, match="no vector of item 5"):
        PairVectors.from_tables(grounded((2, 1, "matched", 5)), item_vectors([6]), N_ITEMS)


def test_a_pair_named_twice_is_refused() -> None:
    with pytest.raises(DataError, match="twice"):
        PairVectors.from_tables(grounded((2, 1, "matched", 5), (2, 1, "matched", 4)), item_vectors([4, 5]), N_ITEMS)


def test_vectors_of_two_lengths_are_refused() -> None:
    table = pa.Table.from_pydict({"item": [0, 1], "vector": [[1.0], [1.0, 2.0]]}, schema=ITEM_VECTORS)
    with pytest.raises(DataError, match="lengths"):
        PairVectors.from_tables(grounded(), table, N_ITEMS)


def test_a_vector_that_is_not_finite_is_refused() -> None:
    with pytest.raises(DataError, match="finite"):
        PairVectors(np.array([1]), np.array([0], dtype=np.int32), np.array([[np.nan]], dtype=np.float32), N_ITEMS)
