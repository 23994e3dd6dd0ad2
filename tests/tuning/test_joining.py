"""Users and items that join an earlier run: its own keep what they have, the others are folded in."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from hnlm_ray.data.interactions import Interactions
from hnlm_ray.tuning.joining import carried_over, fold_in, numbers_before


def test_ids_are_found_whatever_their_order() -> None:
    ids, earlier = pa.chunked_array([["c", "x", "a"]]), pa.chunked_array([["a", "b"], ["c"]])
    assert numbers_before(ids, earlier).tolist() == [2, -1, 0]


def test_new_rows_are_sums_at_the_typical_length() -> None:
    rng = np.random.default_rng(0)
    users, items = (rng.normal(size=(rows, 4)).astype(np.float32) for rows in (3, 5))
    # Present users 0 to 3 were 2, new, 0, new; items 0 to 3 were 4, 1, new, 0; the last user met nothing.
    before_users, before_items = np.array([2, -1, 0, -1]), np.array([4, 1, -1, 0])
    train = Interactions.from_pairs(np.array([0, 0, 1, 1, 2]), np.array([0, 2, 1, 2, 2]), 4, 4)
    found_users, found_items = fold_in(train, (users, before_users), (items, before_items))
    np.testing.assert_array_equal(found_users[[0, 2]], users[[2, 0]])
    np.testing.assert_array_equal(found_items[[0, 1, 3]], items[[4, 1, 0]])
    expected = users[2] + users[0]
    typical = np.median(np.linalg.norm(items, axis=1))
    np.testing.assert_allclose(found_items[2], expected / np.linalg.norm(expected) * typical, rtol=1e-5)
    expected = items[1] + found_items[2]
    typical = np.median(np.linalg.norm(users, axis=1))
    np.testing.assert_allclose(found_users[1], expected / np.linalg.norm(expected) * typical, rtol=1e-5)
    assert not found_users[3].any()


def encoded(nearest: list[list[int]]) -> pa.Table:
    """Users 0 and 1 with the items 0 and 2 of an earlier run with 3 items."""
    columns = {"pair": [0, 5], "user": pa.array([0, 1], pa.int32()), "item": pa.array([0, 2], pa.int32())}
    vectors = pa.array([np.ones(2, np.float16), np.zeros(2, np.float16)], pa.list_(pa.float16()))
    return pa.table({**columns, "vector": vectors, "nearest": pa.array(nearest, pa.list_(pa.int32()))})


def test_encoded_pairs_are_carried_over_in_the_present_numbers() -> None:
    # The users 0 and 1 are now 1 and 0; the items 0, 1 and 2 are now 3, 1 and gone.
    train = Interactions.from_pairs(np.array([1, 1]), np.array([3, 1]), 2, 4)
    arguments = np.array([1, 0]), np.array([3, 1, -1]), train, train.keys
    known = carried_over(encoded([[1, 2], [0, 1]]), *arguments, 2)
    assert known["pair"].to_pylist() == [7]
    assert known["vector"].to_pylist() == [[1.0, 1.0]]
    assert known["nearest"].to_pylist() == [[-1, -1]]  # one was seen since then, the other is gone
    unseen = Interactions.from_pairs(np.array([1]), np.array([3]), 2, 4)
    for width, expected in ((1, [1]), (2, [1, -1]), (3, [1, -1, -1])):
        known = carried_over(encoded([[1, 2], [0, 1]]), *arguments[:2], unseen, unseen.keys, width)
        assert known["nearest"].to_pylist() == [expected]


def test_no_pair_may_be_carried_over() -> None:
    train = Interactions.from_pairs(np.array([0]), np.array([1]), 2, 4)
    known = carried_over(encoded([[1, 2], [0, 1]]), np.array([0, 1]), np.array([0, 2, 3]), train, train.keys, 2)
    assert known.num_rows == 0
    assert known.schema.field("nearest").type == pa.list_(pa.int32())
