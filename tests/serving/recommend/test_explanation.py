from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from hnlm_ray.serving.bundle.contents import Contents
from hnlm_ray.serving.bundle.writing import Extras, write_bundle
from hnlm_ray.serving.recommend.explanation import Explainer, NothingUnseenError
from hnlm_ray.serving.recommend.recommender import Recommender
from hnlm_ray.tables import WRITTEN_NEGATIVES
from tests.serving.conftest import ABOUT, RICH_ITEMS, RICH_USERS, bundle_of, make_contents


@pytest.fixture(scope="module")
def explainer(rich: Recommender) -> Explainer:
    return Explainer(rich)


def met_by(contents: Contents, user: int) -> list[int]:
    return contents.seen_items[contents.seen_offsets[user] : contents.seen_offsets[user + 1]].tolist()


def counted_rank(contents: Contents, user: int, item: int) -> int | None:
    """From 1, by counting the unmet items before it: a higher score, or the same and an earlier place."""
    scores = (contents.item_vectors @ contents.user_vectors[user]).tolist()
    met = set(met_by(contents, user))
    if item in met:
        return None
    before = [
        other for other in range(contents.n_items)
        if other not in met and (scores[other] > scores[item] or (scores[other] == scores[item] and other < item))
    ]  # fmt: skip
    return 1 + len(before)


def test_ranks_equal_a_count_and_items_met_have_none(explainer: Explainer, rich_contents: Contents) -> None:
    for user in range(2, RICH_USERS, 9):
        for item in (*range(0, RICH_ITEMS, 31), met_by(rich_contents, user)[0]):
            found = explainer.explain(f"u{user}", f"i{item}")
            assert (found.item, found.rank) == (item, counted_rank(rich_contents, user, item))
            score = float(rich_contents.item_vectors[item] @ rich_contents.user_vectors[user])
            assert found.score == pytest.approx(score, rel=1e-5)


def test_ranks_of_items_that_score_alike_follow_the_catalogue() -> None:
    rng = np.random.default_rng(4)
    vectors = rng.integers(-1, 2, size=(45, 2))
    contents = make_contents(vectors[:5], vectors[5:], [[3, 9, 17]] * 5)
    recommender = Recommender(bundle_of(contents))
    explainer = Explainer(recommender)
    for user in range(5):
        ranks = [explainer.explain(f"u{user}", f"i{item}").rank for item in range(40)]
        assert ranks == [counted_rank(contents, user, item) for item in range(40)]
        order = [int(one.item_id[1:]) for one in recommender.recommend(f"u{user}", k=40).items]
        assert [ranks[item] for item in order] == list(range(1, 38))


def test_without_an_item_the_first_recommendation_is_explained(explainer: Explainer, rich: Recommender) -> None:
    for user in range(2, RICH_USERS, 11):
        (best,) = rich.recommend(f"u{user}", k=1).items
        found = explainer.explain(f"u{user}")
        assert (f"i{found.item}", found.rank) == (best.item_id, 1)
        assert found == explainer.explain(f"u{user}", best.item_id)


def test_the_nearest_items_of_the_history_are_named_without_the_item_itself(
    explainer: Explainer, rich_contents: Contents
) -> None:
    history = met_by(rich_contents, 5)
    units = rich_contents.item_vectors.astype(np.float64)
    units /= np.linalg.norm(units, axis=1, keepdims=True)
    for item in (history[2], *range(0, RICH_ITEMS, 40)):
        cosines = {other: float(units[other] @ units[item]) for other in history if other != item}
        expected = sorted(cosines, key=lambda other: (-cosines[other], other))[:5]
        because = explainer.explain("u5", f"i{item}").because
        assert [other for other, _ in because] == expected
        assert [cosine for _, cosine in because] == pytest.approx([cosines[other] for other in expected], abs=1e-5)


def test_an_only_item_is_not_its_own_reason() -> None:
    contents = make_contents(np.ones((1, 2)), np.eye(3, 2), [[1]])
    explainer = Explainer(Recommender(bundle_of(contents)))
    assert explainer.explain("u0", "i1").because == []
    assert explainer.explain("u0", "i2").because == [(1, 0.0)]  # a vector of zeros is like nothing


def test_written_negatives_are_those_of_the_user_in_their_order(
    explainer: Explainer, rich_contents: Contents, rich_extras: Extras
) -> None:
    assert rich_extras.negatives is not None
    rows = rich_extras.negatives.to_pylist()
    for user in range(1, RICH_USERS):
        stories = explainer.explain(f"u{user}", "i0").negatives
        expected = [row for row in rows if row["user"] == user]
        assert [(one.beside, one.answer, one.reasoning, one.item) for one in stories] == [
            (row["item"], row["answer"], row["reasoning"], row["negative"]) for row in expected
        ]
        for one in stories:
            assert one.rank == (None if one.item is None else counted_rank(rich_contents, user, one.item))
    by_user = {user: explainer.explain(f"u{user}").negatives for user in (2, 7, 8, 9)}
    assert [len(stories) for stories in by_user.values()] == [3, 3, 3, 0]
    assert all(one.rank is not None for one in by_user[2])
    assert all(one.item is not None and one.rank is None for one in by_user[7])  # they have met it
    assert all(one.item is None for one in by_user[8])


def test_at_most_twenty_negatives_are_told(rich_contents: Contents, tmp_path: Path) -> None:
    rows = [
        {"user": 5, "item": 1, "answer": f"a{row}", "reasoning": "", "status": "none", "negative": None}
        for row in range(30)
    ]
    extras = Extras(negatives=pa.Table.from_pylist(rows, schema=WRITTEN_NEGATIVES))
    write_bundle(str(tmp_path), rich_contents, ABOUT, extras=extras)
    stories = Explainer(Recommender.load(str(tmp_path))).explain("u5").negatives
    assert [one.answer for one in stories] == [f"a{row}" for row in range(20)]


def test_profiles_are_those_of_the_user_and_the_item(explainer: Explainer) -> None:
    assert explainer.user_profile(0) == "User 0 likes it."
    assert explainer.user_profile(RICH_USERS - 1) == f"User {RICH_USERS - 1} likes it."
    assert explainer.user_profile(3) == ""  # none was written
    assert explainer.user_profile(4) == ""  # the model failed
    assert explainer.user_profile(5) == "User 5 likes it."
    assert explainer.item_profile(17) == "Item 17 is for everybody."
    assert explainer.item_profile(RICH_ITEMS) == ""


def test_a_bundle_without_texts_explains_all_the_same(rich_contents: Contents) -> None:
    explainer = Explainer(Recommender(bundle_of(rich_contents)))
    found = explainer.explain("u5")
    assert (found.negatives, found.rank, len(found.because)) == ([], 1, 5)
    assert explainer.user_profile(5) == explainer.item_profile(5) == ""


def test_tables_without_a_row_are_as_good_as_none(rich_contents: Contents, rich_extras: Extras, tmp_path: Path) -> None:
    assert rich_extras.user_profiles is not None
    assert rich_extras.negatives is not None
    extras = dataclasses.replace(
        rich_extras, user_profiles=rich_extras.user_profiles.slice(0, 0), negatives=rich_extras.negatives.slice(0, 0),
        encoder=None,
    )  # fmt: skip
    write_bundle(str(tmp_path), rich_contents, ABOUT, extras=extras)
    explainer = Explainer(Recommender.load(str(tmp_path)))
    assert explainer.explain("u5").negatives == []
    assert explainer.user_profile(5) == ""
    assert explainer.item_profile(5) == "Item 5 is for everybody."


def test_who_is_not_known_and_what_is_not_there_are_told_apart(explainer: Explainer) -> None:
    for user_id in ("nobody", "u0"):
        with pytest.raises(KeyError):
            explainer.explain(user_id)
    with pytest.raises(KeyError, match="i99999"):
        explainer.explain("u5", "i99999")
    with pytest.raises(NothingUnseenError, match="seen every item"):
        explainer.explain("u1")
    assert explainer.explain("u1", "i4").rank is None
