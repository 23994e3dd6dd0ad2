from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hnlm_ray.kernels import ranking
from hnlm_ray.kernels.ranking import ranked_block, ranked_scores
from tests.interactions import Build, build


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
    top = ranked_scores(scores, build(seen, scores.shape[1]), k).items
    assert top.dtype == np.int32
    assert top.tolist() == by_hand(scores, seen, k)


@st.composite
def many_groups(draw: st.DrawFn) -> tuple[np.ndarray, list[list[int]], int]:
    """So many items that groups of them are left out, in every degree of ties from none to all alike."""
    n_users, n_items, k = draw(st.integers(1, 3)), draw(st.integers(33, 700)), draw(st.integers(1, 8))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    scores = rng.integers(draw(st.sampled_from([1, 2, 5, 50, 10_000])), size=(n_users, n_items))
    hidden = [rng.choice(n_items, int(rng.integers(n_items + 1)), replace=False).tolist() for _ in range(n_users)]
    return scores.astype(np.float32), hidden if draw(st.booleans()) else [[]] * n_users, k


@given(many_groups())
def test_leaving_groups_out_changes_neither_order_nor_ties(case: tuple[np.ndarray, list[list[int]], int]) -> None:
    scores, seen, k = case
    ranked = ranked_scores(scores, build(seen, scores.shape[1]), k)
    whole = by_hand(scores, seen, scores.shape[1] + 1)
    assert ranked.items.tolist() == [row[:k] for row in whole]
    for user, row in enumerate(whole):
        pairs = itertools.pairwise(row[: k + 1])
        assert ranked.tied[user].tolist() == [b >= 0 and scores[user, a] == scores[user, b] for a, b in pairs]


def test_only_unseen_items_can_be_tied(interactions: Build) -> None:
    scores = np.array([[5, 5, 3, 3, 3], [5, 5, 3, 3, 3]], dtype=np.float32)
    ranked = ranked_scores(scores, interactions([[], [1, 3, 4]], 5), 3)
    assert ranked.tied.tolist() == [[True, False, True], [False, False, False]]
    assert ranked_scores(scores, None, 9).tied[0].tolist() == [True, False, True, True, *[False] * 5]


@pytest.mark.parametrize("at_once", [1, 50 * 3, 50 * 100])
def test_users_scored_at_once_change_nothing(
    at_once: int, interactions: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(1)
    users, items = rng.normal(size=(10, 4)).astype(np.float32), rng.normal(size=(50, 4)).astype(np.float32)
    seen = interactions([[user, user + 9] for user in range(10)], 50)
    monkeypatch.setitem(ranking._SCORES_AT_ONCE, "cpu", at_once)
    assert ranked_block(users, items, seen, 5).items.tolist() == by_hand(
        users @ items.T, [[u, u + 9] for u in range(10)], 5
    )


def test_nobody_is_ranked_without_users(interactions: Build) -> None:
    none = np.empty((0, 4), dtype=np.float32)
    assert ranked_block(none, np.ones((6, 4), dtype=np.float32), interactions([], 6), 3).items.shape == (0, 3)


def test_scores_are_left_as_they_are(interactions: Build) -> None:
    scores = np.arange(6, dtype=np.float32).reshape(2, 3)
    before = scores.copy()
    ranked_scores(scores, interactions([[0], [2]], 3), 2)
    np.testing.assert_array_equal(scores, before)


def test_inner_products_rank_as_their_scores_do(interactions: Build) -> None:
    rng = np.random.default_rng(0)
    users, items = rng.normal(size=(7, 4)).astype(np.float32), rng.normal(size=(50, 4)).astype(np.float32)
    seen = interactions([list(range(user, user + 5)) for user in range(7)], 50)
    expected = by_hand(users @ items.T, [list(range(user, user + 5)) for user in range(7)], 10)
    assert ranked_block(users, items, seen, 10).items.tolist() == expected
    assert ranked_block(torch.from_numpy(users), torch.from_numpy(items), seen, 10).items.tolist() == expected


def test_nothing_is_masked_without_seen() -> None:
    assert ranked_scores(np.array([[1.0, 3.0, 2.0]]), None, 5).items.tolist() == [[1, 2, 0, -1, -1]]


def test_a_model_that_scores_all_alike_recommends_the_first_items(interactions: Build) -> None:
    vectors = np.ones((3, 2), dtype=np.float32)
    top = ranked_block(
        vectors, np.ones((6, 2), dtype=np.float32), interactions([[], [0, 2], [0, 1, 2, 3, 4, 5]], 6), 3
    ).items
    assert top.tolist() == [[0, 1, 2], [1, 3, 4], [-1, -1, -1]]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_score_that_is_not_finite_is_refused(bad: float) -> None:
    with pytest.raises(ValueError, match="not finite"):
        ranked_scores(np.array([[0.0, bad]]), None, 1)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("side", ["users", "items"])
def test_vectors_that_are_not_finite_are_refused(bad: float, side: str) -> None:
    vectors = {"users": np.ones((3, 2), dtype=np.float32), "items": np.ones((90, 2), dtype=np.float32)}
    vectors[side][1, 0] = bad
    with pytest.raises(ValueError, match="not finite"):
        ranked_block(vectors["users"], vectors["items"], None, 1)


def test_a_product_is_refused_only_where_it_overflows() -> None:
    large = np.full((1, 2), 3e19, dtype=np.float32)
    with pytest.raises(ValueError, match="not finite"):
        ranked_block(large, -large, None, 1)
    # The bound from the largest entries overflows, no score does.
    sparse = np.array([[3e19, 0.0], [1.0, 1.0]], dtype=np.float32)
    assert ranked_block(np.array([[0.0, 3e19]], dtype=np.float32), sparse, None, 2).items.tolist() == [[1, 0]]


def test_vectors_with_a_gradient_can_be_ranked() -> None:
    users = torch.ones((2, 3), requires_grad=True)
    assert ranked_block(users, torch.eye(3), None, 1).items.tolist() == [[0], [0]]


def test_rows_of_other_users_are_refused(interactions: Build) -> None:
    with pytest.raises(ValueError, match="seen is"):
        ranked_scores(np.zeros((2, 3)), interactions([[0]], 3), 1)


def test_k_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        ranked_scores(np.zeros((2, 3)), None, 0)
