from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hnlm_ray.kernels.selection import best_items, mask_rows

Case = tuple[np.ndarray, int]


def by_full_sort(scores: np.ndarray, k: int) -> list[tuple[list[int], list[float]]]:
    """Items and scores of each row: everything sorted by a stable sort, -inf left out."""
    rows = []
    for row in scores:
        order = np.argsort(-row.astype(np.float64), kind="stable")
        order = order[row[order] > -np.inf][:k]
        rows.append((order.tolist(), row[order].tolist()))
    return rows


def assert_best(scores: np.ndarray, k: int) -> None:
    before = scores.copy()
    items, values, found = best_items(scores, k)
    assert items.shape == values.shape == (len(scores), min(k, scores.shape[1]))
    assert (items.dtype, values.dtype) == (np.int32, np.float32)
    taken = [(items[row, :n].tolist(), values[row, :n].tolist()) for row, n in enumerate(found.tolist())]
    assert taken == by_full_sort(scores, k)
    np.testing.assert_array_equal(scores, before)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """From all alike to all different, with any share of -inf from none to all, around the sizes of groups of 64."""
    n_rows = draw(st.integers(0, 4))
    n_items = draw(
        st.one_of(st.integers(1, 20), st.sampled_from([63, 64, 65, 127, 128, 129, 640]), st.integers(1, 900))
    )
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n_values = draw(st.sampled_from([1, 2, 3, 10, 100, 1_000_000]))
    scores = (rng.integers(n_values, size=(n_rows, n_items)) - n_values // 2).astype(np.float32)
    hidden = draw(st.sampled_from(["none", "some", "most", "blocks", "all"]))
    share = {"none": 0.0, "some": 0.2, "most": 0.97, "blocks": 0.0, "all": 1.0}[hidden]
    scores[rng.random(scores.shape) < share] = -np.inf
    if hidden == "blocks":
        start, stop = sorted(rng.integers(n_items + 1, size=2).tolist())
        scores[:, start:stop] = -np.inf
    return scores, draw(st.one_of(st.integers(1, 8), st.integers(1, 1000)))


@settings(max_examples=400)
@given(case=cases())
@example(case=(np.array([[0.0, -0.0, 0.0, -np.inf]], np.float32), 3))
@example(case=(np.array([[np.inf, 3e38, np.inf]], np.float32), 2))
def test_equals_a_stable_sort_of_everything(case: Case) -> None:
    assert_best(*case)


@pytest.mark.parametrize("order", ["random", "ascending", "descending", "alike"])
@pytest.mark.parametrize(("n_items", "k"), [(3000, 512), (3000, 513), (20_000, 600), (20_000, 700), (700, 9999)])
def test_many_of_many_are_the_same_by_either_way_of_finding_them(n_items: int, k: int, order: str) -> None:
    scores = np.random.default_rng(2).integers(n_items // 3, size=(2, n_items)).astype(np.float32)
    scores[:, ::7] = -np.inf
    if order == "alike":
        scores[:] = 4.0
    elif order != "random":
        scores = np.sort(scores, axis=1)[:, :: 1 if order == "ascending" else -1]
    assert_best(np.ascontiguousarray(scores), k)


def test_no_item_is_none_found() -> None:
    items, values, found = best_items(np.empty((2, 0), np.float32), 5)
    assert items.shape == values.shape == (2, 0)
    assert found.tolist() == [0, 0]


@settings(max_examples=100)
@given(seed=st.integers(0, 2**32 - 1), read_only=st.booleans())
def test_masking_hides_what_each_user_met_and_nothing_else(seed: int, read_only: bool) -> None:
    rng = np.random.default_rng(seed)
    n_users, n_items = rng.integers(1, 8), rng.integers(1, 90)
    met = rng.random((n_users, n_items)) < rng.choice([0.0, 0.3, 1.0])
    offsets, items = np.r_[0, met.sum(axis=1).cumsum()].astype(np.int64), met.nonzero()[1].astype(np.int32)
    offsets.flags.writeable = items.flags.writeable = not read_only  # as those of a mapped bundle
    rows = rng.integers(n_users, size=rng.integers(0, 6))  # any order, one user twice
    scores = rng.normal(size=(len(rows), n_items)).astype(np.float32)
    expected = np.where(met[rows], -np.inf, scores)
    mask_rows(scores, rows, offsets, items)
    np.testing.assert_array_equal(scores, expected)
