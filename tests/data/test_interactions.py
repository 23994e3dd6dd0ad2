from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hnlm_ray.data.interactions import Interactions

PAIRS = st.lists(st.tuples(st.integers(0, 8), st.integers(0, 6)), max_size=60)


def build(pairs: list[tuple[int, int]]) -> Interactions:
    users, items = np.array([p[0] for p in pairs], np.int64), np.array([p[1] for p in pairs], np.int64)
    return Interactions.from_pairs(users, items, 9, 7)


@settings(max_examples=60)
@given(PAIRS)
def test_rows_hold_exactly_the_pairs(pairs: list[tuple[int, int]]) -> None:
    met = build(pairs)
    assert [(user, int(item)) for user in range(9) for item in met.row(user)] == sorted(set(pairs))
    assert list(zip(met.users.tolist(), met.items.tolist(), strict=True)) == sorted(set(pairs))
    assert len(met) == len(set(pairs)) == met.degree.sum() == met.item_popularity.sum()


@settings(max_examples=60)
@given(PAIRS)
def test_contains_agrees_with_a_set(pairs: list[tuple[int, int]]) -> None:
    grid = build(pairs).contains(np.arange(9)[:, None], np.arange(7)[None, :])
    assert grid.shape == (9, 7)
    assert {(int(user), int(item)) for user, item in np.argwhere(grid)} == set(pairs)


@settings(max_examples=60)
@given(PAIRS, st.integers(0, 9), st.integers(0, 9))
def test_a_slice_is_the_same_users_from_zero(pairs: list[tuple[int, int]], one: int, two: int) -> None:
    start, stop = min(one, two), max(one, two)
    part = build(pairs).slice_users(start, stop)
    expected = sorted({(user - start, item) for user, item in pairs if start <= user < stop})
    assert part.n_users == stop - start
    assert list(zip(part.users.tolist(), part.items.tolist(), strict=True)) == expected


def test_a_number_out_of_range_is_refused() -> None:
    with pytest.raises(ValueError, match="item numbers span 7 to 7, expected 0 to 6"):
        build([(0, 7)])


def test_a_table_gives_the_rows_of_its_splits() -> None:
    table = pa.table(
        {
            "user": pa.array([0, 0, 1], pa.int32()),
            "item": pa.array([2, 1, 0], pa.int32()),
            "split": ["train", "test", "valid"],
        }
    )
    assert Interactions.from_table(table, 2, 3).items.tolist() == [2]
    assert Interactions.from_table(table, 2, 3, splits=("train", "valid")).users.tolist() == [0, 1]
