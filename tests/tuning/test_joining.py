"""Users and items that join: those who were there keep their vectors, the others get those of whom they met."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from hnlm_ray.data.interactions import Interactions
from hnlm_ray.tuning.joining import fold_in, numbers_before


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
