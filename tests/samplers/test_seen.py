"""The bitmap and the binary search both say who met what."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hnlm_ray.data.interactions import Interactions
from hnlm_ray.samplers.seen import SeenItems


@pytest.mark.parametrize("most_bytes", [0, 1 << 20], ids=["search", "bitmap"])
@given(data=st.data())
@settings(max_examples=40)
def test_it_is_the_set_of_pairs(most_bytes: int, data: st.DataObject) -> None:
    n_users, n_items = data.draw(st.integers(1, 9)), data.draw(st.integers(1, 20))
    pairs = data.draw(st.sets(st.tuples(st.integers(0, n_users - 1), st.integers(0, n_items - 1))))
    users, items = (np.array([pair[side] for pair in pairs], dtype=int) for side in (0, 1))
    met = SeenItems(Interactions.from_pairs(users, items, n_users, n_items), torch.device("cpu"), most_bytes)
    found = met.contains(torch.arange(n_users)[:, None], torch.arange(n_items)[None, :])
    expected = [[(user, item) in pairs for item in range(n_items)] for user in range(n_users)]
    assert found.dtype == torch.bool
    assert found.tolist() == expected
