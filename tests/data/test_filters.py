from __future__ import annotations

from datetime import date

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from hnlm_ray.data import filters

PAIRS = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), unique=True, max_size=60)


@settings(max_examples=80)
@given(PAIRS, st.integers(0, 4))
def test_the_core_is_a_fixed_point_and_the_largest(pairs: list[tuple[int, int]], k: int) -> None:
    users, items = np.array([p[0] for p in pairs], np.int64), np.array([p[1] for p in pairs], np.int64)
    kept = filters.k_core(users, items, k)
    assert all(count >= k for count in np.unique(users[kept], return_counts=True)[1])
    assert all(count >= k for count in np.unique(items[kept], return_counts=True)[1])
    # Peeling one offender at a time reaches the same set, whatever the order.
    left = set(pairs)
    while True:
        bad = {p for p in left if sum(q[0] == p[0] for q in left) < k or sum(q[1] == p[1] for q in left) < k}
        if not bad:
            break
        left.discard(min(bad))
    assert {p for p, keep in zip(pairs, kept, strict=True) if keep} == left


def test_unrated_interactions_are_kept() -> None:
    assert filters.keep_rated(np.array([1.0, 4.0, np.nan]), 4.0).tolist() == [False, True, True]


def test_both_days_of_a_window_count() -> None:
    day = 86_400
    times = np.array([day - 1, day, 2 * day - 1, 2 * day, 0])
    present = np.array([True, True, True, True, False])
    kept = filters.keep_dated(times, present, date(1970, 1, 2), date(1970, 1, 2))
    assert kept.tolist() == [False, True, True, False, False]
    assert filters.keep_dated(times, present, None, None).all()


@settings(max_examples=60)
@given(st.lists(st.integers(0, 4), max_size=40), st.integers(1, 5), st.randoms(use_true_random=False))
def test_the_latest_are_kept(users: list[int], most: int, random: object) -> None:
    order = list(range(len(users)))
    random.shuffle(order)  # type: ignore[attr-defined]
    kept = filters.keep_latest(np.array(users, np.int64), np.array(order, np.int64), most)
    for user in set(users):
        mine = sorted((order[row] for row in range(len(users)) if users[row] == user), reverse=True)
        assert sorted((order[row] for row in np.flatnonzero(kept) if users[row] == user), reverse=True) == mine[:most]
