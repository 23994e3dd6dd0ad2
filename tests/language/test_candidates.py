"""Candidates for a negative are near, new to the user, as many as asked for, and in no telling order."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from hnlm_ray.language.candidates import Nearest, candidates_of
from hnlm_ray.tables import NEIGHBOURS

N_ITEMS = 8
NEAR = {0: [1, 2, 3, 4, 5], 1: [0], 6: [7, 5, 4]}


def neighbours() -> pa.Table:
    rows = [
        {"item": item, "neighbour": other, "similarity": 1.0 - 0.1 * place}
        for item, others in NEAR.items()
        for place, other in enumerate(others)
    ]
    return pa.Table.from_pylist(rows, NEIGHBOURS)


def found(pairs: list[tuple[int, int]], seen: list[tuple[int, int]], count: int, seed: int = 0) -> list[list[int]]:
    numbers, known = (
        np.sort([user * N_ITEMS + item for user, item in some]).astype(np.int64) for some in (pairs, seen)
    )
    nearest = Nearest.of(neighbours(), N_ITEMS)
    lists: list[list[int]] = candidates_of(numbers, known, nearest, count, seed).to_pylist()
    return lists


def test_the_nearest_that_the_user_has_not_seen() -> None:
    seen = [(0, 0), (0, 2), (1, 0), (1, 1), (1, 6)]
    first, second, alone, third = found([(0, 0), (1, 0), (1, 1), (1, 6)], seen, 2)
    assert sorted(first) == [1, 3]  # 2 is seen
    assert sorted(second) == [2, 3]
    assert alone == []  # its one neighbour is seen
    assert sorted(third) == [5, 7]


def test_an_item_without_neighbours_has_no_candidates() -> None:
    assert found([(0, 3)], [(0, 3)], 4) == [[]]


def test_the_order_is_random_and_that_of_the_seed() -> None:
    pairs = [(user, 0) for user in range(40)]
    lists = found(pairs, [], 5)
    assert all(sorted(one) == NEAR[0] for one in lists)
    assert {one[0] for one in lists} == set(NEAR[0])  # the nearest does not always stand first
    assert lists == found(pairs, [], 5)
    assert lists != found(pairs, [], 5, seed=1)
