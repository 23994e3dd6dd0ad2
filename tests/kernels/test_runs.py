"""Runs of equal keys, against one key at a time."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from hnlm_ray.kernels.runs import places_in_runs, runs_of


@given(st.lists(st.integers(0, 9), max_size=50))
def test_runs_and_places_are_those_that_counting_gives(values: list[int]) -> None:
    keys = sorted(values)
    starts, lengths = runs_of(np.array(keys, np.int32))
    assert starts.tolist() == [keys.index(key) for key in sorted(set(keys))]
    assert lengths.tolist() == [keys.count(key) for key in sorted(set(keys))]
    assert places_in_runs(lengths).tolist() == [at - keys.index(key) for at, key in enumerate(keys)]


def test_empty_runs_have_no_places() -> None:
    assert places_in_runs(np.array([0, 2, 0, 1], np.int32)).tolist() == [0, 1, 0]
