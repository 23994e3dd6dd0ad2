from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hnlm_ray.evaluation.ranking import rank_block, rank_scores

from .conftest import Build, build


def by_hand(scores: np.ndarray, seen: list[list[int]], k: int) -> list[list[int]]:
    """Score descending, item ascending, one user and one comparison at a time."""
    rows = []
    for row, met in zip(scores, seen, strict=True):
        order = sorted((item for item in range(len(row)) if item not in met), key=lambda item: (-row[item], item))
        rows.append((order + [-1] * k)[:k])
    return rows


@st.composite
def cases(draw: st.DrawFn) -> tuple[np.ndarray, list[list[int]], int]:
    n_users, n_items = draw(st.integers(1, 5)), draw(st.integers(1, 9))
    score = st.integers(-2, 2)  # few values, so that most places are tied
    scores = draw(st.lists(st.lists(score, min_size=n_items, max_size=n_items), min_size=n_users, max_size=n_users))
    seen = draw(st.lists(st.lists(st.integers(0, n_items - 1), unique=True), min_size=n_users, max_size=n_users))
    return np.array(scores, dtype=np.float32), seen, draw(st.integers(1, 12))


@given(cases())
def test_order_is_score_then_item_number(case: tuple[np.ndarray, list[list[int]], int]) -> None:
    scores, seen, k = case
    top = rank_scores(scores, build(seen, scores.shape[1]), k)
    assert top.dtype == np.int32
    assert top.tolist() == by_hand(scores, seen, k)


def test_scores_are_left_as_they_are(interactions: Build) -> None:
    scores = np.arange(6, dtype=np.float32).reshape(2, 3)
    before = scores.copy()
    rank_scores(scores, interactions([[0], [2]], 3), 2)
    np.testing.assert_array_equal(scores, before)


def test_inner_products_rank_as_their_scores_do(interactions: Build) -> None:
    rng = np.random.default_rng(0)
    users, items = rng.normal(size=(7, 4)).astype(np.float32), rng.normal(size=(50, 4)).astype(np.float32)
    seen = interactions([list(range(user, user + 5)) for user in range(7)], 50)
    expected = by_hand(users @ items.T, [list(range(user, user + 5)) for user in range(7)], 10)
    assert rank_block(users, items, seen, 10).tolist() == expected
    assert rank_block(torch.from_numpy(users), torch.from_numpy(items), seen, 10).tolist() == expected


def test_nothing_is_masked_without_seen() -> None:
    assert rank_scores(np.array([[1.0, 3.0, 2.0]]), None, 5).tolist() == [[1, 2, 0, -1, -1]]


def test_a_model_that_scores_all_alike_recommends_the_first_items(interactions: Build) -> None:
    vectors = np.ones((3, 2), dtype=np.float32)
    top = rank_block(vectors, np.ones((6, 2), dtype=np.float32), interactions([[], [0, 2], [0, 1, 2, 3, 4, 5]], 6), 3)
    assert top.tolist() == [[0, 1, 2], [1, 3, 4], [-1, -1, -1]]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_score_that_is_not_finite_is_refused(bad: float) -> None:
    with pytest.raises(ValueError, match="not finite"):
        rank_scores(np.array([[0.0, bad]]), None, 1)


def test_rows_of_other_users_are_refused(interactions: Build) -> None:
    with pytest.raises(ValueError, match="seen is"):
        rank_scores(np.zeros((2, 3)), interactions([[0]], 3), 1)


def test_k_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        rank_scores(np.zeros((2, 3)), None, 0)
