from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hnlm_ray.errors import PackageError
from hnlm_ray.serving.bundle.bundle import load_bundle
from hnlm_ray.serving.bundle.contents import Contents
from hnlm_ray.serving.bundle.writing import write_bundle
from hnlm_ray.serving.recommend.index import Index, build_index
from hnlm_ray.serving.recommend.recommender import Recommender
from tests.serving.conftest import ABOUT, bundle_of, make_contents

N_USERS, N_ITEMS, DIM = 300, 8000, 32


@pytest.fixture(scope="module")
def clustered() -> Contents:
    """Items around 40 centres, with lengths as popularity gives them; ``u0`` unknown, ``u1``, ``u2`` met nearly all."""
    pytest.importorskip("faiss")
    rng = np.random.default_rng(2)
    centres = rng.normal(size=(40, DIM))
    items = (centres[rng.integers(40, size=N_ITEMS)] + 0.5 * rng.normal(size=(N_ITEMS, DIM))) * rng.lognormal(
        0, 0.2, size=(N_ITEMS, 1)
    )
    tastes = centres[rng.integers(40, size=N_USERS)] + 0.6 * centres[rng.integers(40, size=N_USERS)]
    users = tastes + rng.normal(size=(N_USERS, DIM))
    seen = [rng.choice(N_ITEMS, size=rng.integers(1, 60), replace=False).tolist() for _ in range(N_USERS)]
    seen[0], seen[1], seen[2] = [], list(range(N_ITEMS)), list(range(3, N_ITEMS))
    return make_contents(users, items, seen, categories=[["even"] if row % 2 == 0 else [] for row in range(N_ITEMS)])


@pytest.fixture
def exact(clustered: Contents) -> Recommender:
    return Recommender(bundle_of(clustered))


@pytest.fixture
def indexed(clustered: Contents) -> Recommender:
    recommender = Recommender(bundle_of(clustered))
    recommender.use_index(build_index(clustered.item_vectors))
    return recommender


USERS = [f"u{row}" for row in range(3, N_USERS)]


@pytest.mark.parametrize("exclude_seen", [True, False])
def test_at_default_settings_at_least_nine_in_ten_of_the_best_twenty_are_found(
    exact: Recommender, indexed: Recommender, exclude_seen: bool
) -> None:
    found = indexed.recommend_many(USERS, 20, exclude_seen=exclude_seen)
    expected = exact.recommend_many(USERS, 20, exclude_seen=exclude_seen)
    assert all(len(answer.items) == 20 for answer in found)
    shares = [
        len({one.item_id for one in ours.items} & {one.item_id for one in theirs.items}) / 20
        for ours, theirs in zip(found, expected, strict=True)
    ]
    assert np.mean(shares) >= 0.9


def test_what_is_found_is_scored_exactly_and_nothing_met_comes(indexed: Recommender, clustered: Contents) -> None:
    for user_id, answer in zip(USERS, indexed.recommend_many(USERS, 20), strict=True):
        row = int(user_id[1:])
        items = [int(one.item_id[1:]) for one in answer.items]
        scores = clustered.item_vectors[items].astype(np.float64) @ clustered.user_vectors[row]
        np.testing.assert_allclose([one.score for one in answer.items], scores, rtol=1e-4)
        assert (np.diff([one.score for one in answer.items]) <= 0).all()
        assert not np.isin(items, indexed.history(user_id)).any()
        assert answer.source == "personal"


def test_the_index_is_used_where_nothing_narrows_the_answer(
    indexed: Recommender, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Recommender, "_rank_exactly", lambda *args: [] if not len(args[1]) else pytest.fail("exact"))
    assert len(indexed.recommend_many(USERS, 20)) == len(USERS)
    assert len(indexed.recommend("u9", 20, diversity=0.3).items) == 20


@pytest.mark.parametrize(
    "options",
    [
        {"categories": ["even"]},
        {"include_items": [f"i{row}" for row in range(100)]},
        {"popularity_penalty": 0.5},
    ],
    ids=str,
)
def test_wishes_that_narrow_are_answered_exactly(
    exact: Recommender, indexed: Recommender, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Index, "candidates", lambda *args: pytest.fail("the index was asked"))
    assert indexed.recommend_many(USERS, 20, **options) == exact.recommend_many(USERS, 20, **options)


@pytest.mark.parametrize("way", ["unavailable", "excluded"])
def test_items_that_must_not_come_do_not_and_the_index_is_used_all_the_same(
    exact: Recommender, indexed: Recommender, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    gone = [one.item_id for one in exact.recommend("u9", 10).items]
    gone += [f"i{row}" for row in range(0, N_ITEMS, 3)] if way == "unavailable" else ["none", gone[0]]
    options: dict[str, Any] = {"exclude_items": gone} if way == "excluded" else {}
    for recommender in (exact, indexed):
        recommender.catalogue.set_unavailable(gone if way == "unavailable" else [])
    expected = exact.recommend_many(USERS, 20, **options)
    with monkeypatch.context() as patch:
        patch.setattr(Recommender, "_rank_exactly", lambda *args: [] if not len(args[1]) else pytest.fail("exact"))
        found = indexed.recommend_many(USERS, 20, **options)
    shares = []
    for ours, theirs in zip(found, expected, strict=True):
        items = {one.item_id for one in ours.items}
        assert len(items) == 20
        assert not items & {*gone}
        shares.append(len(items & {one.item_id for one in theirs.items}) / 20)
    assert np.mean(shares) >= 0.9
    # Who is ranked in full is held to the same.
    full = [one.recommend("u2", 20, **options).items for one in (exact, indexed)]
    assert [one.item_id for one in full[0]] == [one.item_id for one in full[1]]
    if way == "unavailable":
        shown = {one.item_id for one in indexed.recommend("u9", 20, available_only=False).items}
        assert len(shown & {*gone}) >= 9


def test_who_met_nearly_everything_or_asks_for_much_is_answered_exactly(
    exact: Recommender, indexed: Recommender
) -> None:
    assert indexed.recommend("u1", 20).items == ()
    assert {one.item_id for one in indexed.recommend("u2", 20).items} == {"i0", "i1", "i2"}
    assert indexed.recommend("u2", 20) == exact.recommend("u2", 20)
    for k in (1000, N_ITEMS, N_ITEMS + 5):
        assert indexed.recommend("u9", k) == exact.recommend("u9", k)


def test_answers_do_not_depend_on_who_asks_at_the_same_time(indexed: Recommender) -> None:
    everybody = ["u1", *USERS[:40], "nobody", "u2", "u0"]
    together = indexed.recommend_many(everybody, 20)
    alone = [indexed.recommend(user_id, 20) for user_id in everybody]
    for ours, theirs in zip(together, alone, strict=True):
        assert [one.item_id for one in ours.items] == [one.item_id for one in theirs.items]
        assert ours.source == theirs.source


def test_blocks_of_users_change_nothing(indexed: Recommender, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = indexed.recommend_many(USERS, 20)
    monkeypatch.setattr("hnlm_ray.serving.recommend.recommender._CANDIDATES_AT_ONCE", 700)
    assert indexed.recommend_many(USERS, 20) == whole


def test_those_that_score_alike_come_in_catalogue_order() -> None:
    pytest.importorskip("faiss")
    rng = np.random.default_rng(3)
    vectors = rng.integers(-2, 3, size=(2020, 4))  # small integers, which add up to the same in any order
    contents = make_contents(vectors[:20], vectors[20:], [[5]] * 20)
    recommender = Recommender(bundle_of(contents))
    recommender.use_index(build_index(contents.item_vectors))
    for answer in recommender.recommend_many([f"u{row}" for row in range(20)], 50):
        places = [(-one.score, int(one.item_id[1:])) for one in answer.items]
        assert places == sorted(places)
        assert len({score for score, _ in places}) < 20


@pytest.mark.parametrize("users", [[], ["nobody"], ["nobody", "u0"]])
def test_nobody_who_is_known_is_no_problem(indexed: Recommender, exact: Recommender, users: list[str]) -> None:
    assert indexed.recommend_many(users, 5) == exact.recommend_many(users, 5)


def test_the_index_can_be_taken_away_again(exact: Recommender, indexed: Recommender) -> None:
    indexed.use_index(None)
    assert indexed.recommend_many(USERS, 20) == exact.recommend_many(USERS, 20)


@pytest.mark.parametrize("n_items", [1, 2, 10, 60, 500])
def test_a_small_catalogue_is_indexed_too(n_items: int, capfd: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("faiss")
    rng = np.random.default_rng(0)
    contents = make_contents(rng.normal(size=(3, 4)), rng.normal(size=(n_items, 4)), [[0], [0], []])
    recommender = Recommender(bundle_of(contents))
    expected = recommender.recommend_many(["u0", "u1", "u2"], 40)  # more than one search looks at
    recommender.use_index(build_index(contents.item_vectors))
    assert recommender.recommend_many(["u0", "u1", "u2"], 40) == expected
    assert len(recommender.recommend("u0", 1).items) == min(1, n_items - 1)
    assert "WARNING" not in "".join(capfd.readouterr())


def test_vectors_of_a_mapped_bundle_are_indexed(clustered: Contents, tmp_path: Path) -> None:
    write_bundle(str(tmp_path), clustered, ABOUT)
    bundle = load_bundle(str(tmp_path))
    index = build_index(bundle.contents.item_vectors)
    nearest = index.candidates(bundle.contents.user_vectors[3:4], 5)
    best = np.argmax(clustered.item_vectors @ clustered.user_vectors[3])
    assert (index.n_items, nearest.shape, nearest[0, 0]) == (N_ITEMS, (1, 5), best)


def test_without_faiss_the_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(PackageError, match=r"an index needs Faiss.*hnlm-ray\[ann\]"):
        build_index(np.ones((5, 2), np.float32))
