"""Ragged token rows, and the sequence of a pair."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hnlm_ray.errors import DataError
from hnlm_ray.tuning.tokens import TokenRows, lay_out, lay_out_texts

texts = st.lists(st.lists(st.integers(1, 99), max_size=6), min_size=1, max_size=5)


def table(rows: list[list[int]], key: str = "user") -> pa.Table:
    return pa.table({key: np.arange(len(rows), dtype=np.int32), "tokens": pa.array(rows, pa.list_(pa.int32()))})


@given(texts, texts, st.integers(0, 2**32 - 1))
def test_a_sequence_is_vector_text_vector_text(users: list[list[int]], items: list[list[int]], seed: int) -> None:
    rng = np.random.default_rng(seed)
    user, item = rng.integers(len(users), size=7), rng.integers(len(items), size=7)
    user_rows = TokenRows.from_table(table(users), "user", len(users))
    item_rows = TokenRows.from_table(table(items, "item"), "item", len(items))
    layout = lay_out(user_rows, item_rows, user, item)
    for row in range(7):
        own = [0, *users[user[row]], 0, *items[item[row]]]
        assert layout.ids[row, : len(own)].tolist() == own
        assert layout.mask[row].sum() == len(own)
        assert layout.item_places[row] == 1 + len(users[user[row]])
        assert not layout.ids[row, len(own) :].any()


@given(texts, st.integers(0, 2**32 - 1))
def test_a_sequence_of_one_text_is_vector_text(rows: list[list[int]], seed: int) -> None:
    chosen = np.random.default_rng(seed).integers(len(rows), size=7)
    ids, mask = lay_out_texts(TokenRows.from_table(table(rows), "user", len(rows)), chosen)
    for row in range(7):
        own = [0, *rows[chosen[row]]]
        assert ids[row].tolist() == own + [0] * (ids.shape[1] - len(own))
        assert mask[row].tolist() == [True] * len(own) + [False] * (ids.shape[1] - len(own))


def test_the_order_of_the_table_does_not_matter() -> None:
    rows = TokenRows.from_table(table([[1], [2, 3], []]).take([2, 0, 1]), "user", 3)
    assert rows.values.tolist() == [1, 2, 3]
    assert rows.lengths.tolist() == [1, 2, 0]


@pytest.mark.parametrize("take", [[0, 1], [0, 1, 1]])
def test_a_missing_or_double_row_is_one_sentence(take: list[int]) -> None:
    with pytest.raises(DataError, match="user_tokens does not hold one row per user"):
        TokenRows.from_table(table([[1], [2], [3]]).take(take), "user", 3)
