"""Histories in order of time."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from hnlm_ray.data.histories import Histories
from hnlm_ray.data.interactions import Interactions
from hnlm_ray.errors import DataError
from hnlm_ray.tables import INTERACTIONS

ROWS = [(0, 4, 30, "train"), (0, 1, 10, "train"), (0, 2, 20, "valid"), (2, 3, 5, "train"), (2, 0, 5, "train")]


def table(rows: list[tuple[int, int, int | None, str]] = ROWS) -> pa.Table:  # type: ignore[assignment]
    names = "user", "item", "timestamp", "split"
    blank = {"rating": None, "review": ""}
    return pa.Table.from_pylist([dict(zip(names, row, strict=True)) | blank for row in rows], schema=INTERACTIONS)


def test_items_stand_in_order_of_time_and_rows_of_one_second_as_they_are() -> None:
    histories = Histories.from_table(table(), 3)
    assert histories.offsets.tolist() == [0, 2, 2, 4]
    assert histories.items.tolist() == [1, 4, 3, 0]
    assert histories.users.tolist() == [0, 0, 2, 2]
    assert len(histories) == 4
    assert Histories.from_table(table(), 3, ("train", "valid")).items.tolist() == [1, 2, 4, 3, 0]
    assert histories.slice_users(1, 3).offsets.tolist() == [0, 0, 2]
    assert histories.slice_users(1, 3).items.tolist() == [3, 0]


def test_they_know_the_interactions_that_they_put_in_order() -> None:
    histories = Histories.from_table(table(), 3)
    assert histories.orders(Interactions.from_table(table(), 3, 5))
    assert not histories.orders(Interactions.from_table(table(), 3, 5, ("train", "valid")))
    other = Interactions.from_pairs(np.array([0, 0, 2, 2]), np.array([1, 4, 3, 1]), 3, 5)
    assert not histories.orders(other)


def test_an_interaction_without_a_time_is_refused() -> None:
    untimed = table([*ROWS, (1, 1, None, "train")])
    with pytest.raises(DataError, match="1 of 5 interactions have no time, and a model of sequences needs their order"):
        Histories.from_table(untimed, 3)
