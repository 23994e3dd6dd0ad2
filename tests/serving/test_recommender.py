from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hnlm_ray.serving.bundle import Bundle, load_bundle
from hnlm_ray.serving.contents import Contents
from hnlm_ray.serving.recommender import Recommender

from .conftest import make_contents


@pytest.fixture(scope="module")
def bundle(bundle_path: Path) -> Bundle:
    return load_bundle(str(bundle_path))


def _recommender(bundle: Bundle, contents: Contents) -> Recommender:
    return Recommender(Bundle(bundle.info, contents))


def _brute_force(contents: Contents, user: int, k: int, exclude_seen: bool) -> list[str]:
    """Sort everything by Python's own sort."""
    scores = contents.item_vectors @ contents.user_vectors[user]
    seen = set(contents.seen_items[contents.seen_offsets[user] : contents.seen_offsets[user + 1]].tolist())
    left = [item for item in range(contents.n_items) if not (exclude_seen and item in seen)]
    return [f"i{item}" for item in sorted(left, key=lambda item: (-scores[item], item))[:k]]


@st.composite
def worlds(draw: st.DrawFn) -> tuple[Contents, int, bool]:
    """Vectors of small integers, so that ties abound and sums are exact in any order."""
    n_users, n_items, dim = draw(st.integers(1, 6)), draw(st.integers(1, 30)), draw(st.integers(1, 3))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    seen = [rng.choice(n_items, size=rng.integers(1, n_items + 1), replace=False).tolist() for _ in range(n_users)]
    vectors = rng.integers(-1, 2, size=(n_users + n_items, dim))
    contents = make_contents(vectors[:n_users], vectors[n_users:], seen)
    return contents, draw(st.integers(1, 40)), draw(st.booleans())


@settings(max_examples=200, deadline=None)
@given(world=worlds())
def test_equals_a_full_sort_with_ties_in_catalogue_order(bundle: Bundle, world: tuple[Contents, int, bool]) -> None:
    contents, k, exclude_seen = world
    recommender = _recommender(bundle, contents)
    users = [f"u{row}" for row in range(contents.n_users)]
    answers = recommender.recommend_many(users, k, exclude_seen)
    for row, user_id in enumerate(users):
        expected = _brute_force(contents, row, k, exclude_seen)
        assert [item.item_id for item in answers[row].items] == expected
        assert recommender.recommend(user_id, k, exclude_seen) == answers[row]


def test_scores_are_inner_products_and_titles_belong_to_their_items(bundle: Bundle, contents: Contents) -> None:
    answer = Recommender(bundle).recommend("u9", k=5)
    assert answer.source == "personal"
    assert answer.bundle_version == bundle.info.version
    for item in answer.items:
        number = int(item.item_id[1:])
        assert item.title == f"Item {number}"
        assert item.score == pytest.approx(float(contents.item_vectors[number] @ contents.user_vectors[9]), rel=1e-5)


def test_a_user_who_has_met_everything_gets_nothing(bundle: Bundle) -> None:
    answer = Recommender(bundle).recommend("u1", k=5)
    assert answer.items == ()
    assert answer.source == "personal"


def test_a_user_who_has_met_all_but_one_gets_that_one(bundle: Bundle) -> None:
    assert [item.item_id for item in Recommender(bundle).recommend("u2", k=5).items] == ["i7"]


@pytest.mark.parametrize("user_id", ["nobody", "", "U9", "u0"])
def test_a_user_without_a_trained_vector_gets_popular_items(bundle: Bundle, contents: Contents, user_id: str) -> None:
    recommender = Recommender(bundle)
    answer = recommender.recommend(user_id, k=60)
    order = sorted(range(60), key=lambda item: (-contents.popularity[item], item))
    assert not recommender.knows(user_id)
    assert answer.source == "popular"
    assert [item.item_id for item in answer.items] == [f"i{item}" for item in order]
    assert [item.score for item in answer.items] == [float(contents.popularity[item]) for item in order]


def test_many_users_keep_their_order_beyond_one_block(bundle: Bundle) -> None:
    rng = np.random.default_rng(1)
    vectors = rng.integers(-9, 10, size=(700, 3))
    contents = make_contents(vectors[:600], vectors[600:], [[row % 100] for row in range(600)])
    recommender = _recommender(bundle, contents)
    users = ["nobody" if row % 7 == 0 else f"u{row}" for row in rng.permutation(600)]
    assert recommender.recommend_many(users, 5) == [recommender.recommend(user_id, 5) for user_id in users]
    assert recommender.recommend_many([], 5) == []


def test_the_order_is_that_of_the_evaluation(bundle: Bundle, contents: Contents) -> None:
    from hnlm_ray.evaluation.ranking import rank_block

    ranked = rank_block(contents.user_vectors, contents.item_vectors, None, 20)
    answers = Recommender(bundle).recommend_many([f"u{row}" for row in range(1, 40)], 20, exclude_seen=False)
    assert [[int(item.item_id[1:]) for item in answer.items] for answer in answers] == ranked[1:].tolist()


@pytest.mark.parametrize("k", [0, -1])
def test_k_below_one_is_refused(bundle: Bundle, k: int) -> None:
    with pytest.raises(ValueError, match=f"k is {k}"):
        Recommender(bundle).recommend("u9", k)
