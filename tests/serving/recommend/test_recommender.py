from __future__ import annotations

import dataclasses
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hnlm_ray.serving.bundle.bundle import Bundle, load_bundle
from hnlm_ray.serving.bundle.contents import Contents
from hnlm_ray.serving.recommend.options import RankingArgs, RankingOptions
from hnlm_ray.serving.recommend.recommender import Recommender
from hnlm_ray.serving.recommend.results import Recommendation
from tests.serving.conftest import bundle_of, make_contents


@pytest.fixture(scope="module")
def bundle(bundle_path: Path) -> Bundle:
    return load_bundle(str(bundle_path))


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


@settings(max_examples=200)
@given(world=worlds())
def test_equals_a_full_sort_with_ties_in_catalogue_order(world: tuple[Contents, int, bool]) -> None:
    contents, k, exclude_seen = world
    recommender = Recommender(bundle_of(contents))
    users = [f"u{row}" for row in range(contents.n_users)]
    answers = recommender.recommend_many(users, k, exclude_seen=exclude_seen)
    for row, user_id in enumerate(users):
        expected = _brute_force(contents, row, k, exclude_seen)
        assert [item.item_id for item in answers[row].items] == expected
        assert recommender.recommend(user_id, k, exclude_seen=exclude_seen) == answers[row]


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
    assert user_id not in recommender.users
    assert answer.source == "popular"
    assert [item.item_id for item in answer.items] == [f"i{item}" for item in order]
    assert [item.score for item in answer.items] == [float(contents.popularity[item]) for item in order]


def test_many_users_keep_their_order_beyond_one_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hnlm_ray.serving.recommend.recommender._SCORES_AT_ONCE", 7000)  # 70 users of 100 items
    rng = np.random.default_rng(1)
    vectors = rng.integers(-9, 10, size=(700, 3))
    contents = make_contents(vectors[:600], vectors[600:], [[row % 100] for row in range(600)])
    recommender = Recommender(bundle_of(contents))
    users = ["nobody" if row % 7 == 0 else f"u{row}" for row in rng.permutation(600)]
    assert recommender.recommend_many(users, 5) == [recommender.recommend(user_id, 5) for user_id in users]
    assert recommender.recommend_many([], 5) == []


def test_the_order_is_that_of_the_evaluation(bundle: Bundle, contents: Contents) -> None:
    from hnlm_ray.kernels.ranking import ranked_block

    ranked = ranked_block(contents.user_vectors, contents.item_vectors, None, 20).items
    answers = Recommender(bundle).recommend_many([f"u{row}" for row in range(1, 40)], 20, exclude_seen=False)
    assert [[int(item.item_id[1:]) for item in answer.items] for answer in answers] == ranked[1:].tolist()


@pytest.mark.parametrize("k", [0, -1])
def test_k_below_one_is_refused(bundle: Bundle, k: int) -> None:
    with pytest.raises(ValueError, match=f"k is {k}"):
        Recommender(bundle).recommend("u9", k)


# Random users with random options against double precision.

N_WISHED_USERS, N_WISHED_ITEMS, WISHED_CATEGORIES = 1000, 300, ("a", "b", "c", "d")


@dataclass(frozen=True)
class Shop:
    """A recommender and what a reference needs to answer in its place."""

    recommender: Recommender
    contents: Contents
    categories: list[list[str]]
    unavailable: list[int]

    def reference(self, user_id: str, k: int, options: RankingArgs) -> tuple[np.ndarray, list[int]]:
        """Scores of all items in double precision, and those that may come, best first, ties by number."""
        contents, row = self.contents, int(user_id[1:]) if user_id[1:].isdigit() else -1
        seen: set[int] = set()
        if 0 <= row < contents.n_users:
            seen = set(contents.seen_items[contents.seen_offsets[row] : contents.seen_offsets[row + 1]].tolist())
        if seen:
            scores = contents.item_vectors.astype(np.float64) @ contents.user_vectors[row].astype(np.float64)
            logs = np.log1p(contents.popularity)
            penalty = options.get("popularity_penalty", 0.0)
            scores = scores - penalty * scores.std() * (logs - logs.mean()) / logs.std()
        else:
            scores = contents.popularity.astype(np.float64)
        included, excluded = options.get("include_items"), {*options.get("exclude_items", ())}
        categories = {*options.get("categories", ())}
        left = [
            item for item in range(contents.n_items)
            if not (options.get("exclude_seen", True) and item in seen)
            and (included is None or f"i{item}" in included)
            and f"i{item}" not in excluded
            and (not categories or categories & {*self.categories[item]})
            and not (options.get("available_only", True) and item in self.unavailable)
        ]  # fmt: skip
        return scores, sorted(left, key=lambda item: (-scores[item], item))[:k]


def _shop(vectors: np.ndarray, rng: np.random.Generator) -> Shop:
    seen = [rng.choice(N_WISHED_ITEMS, size=rng.integers(1, 80), replace=False).tolist() for _ in range(N_WISHED_USERS)]
    seen[0], seen[1] = [], list(range(N_WISHED_ITEMS))
    categories = [[name for name in WISHED_CATEGORIES if rng.random() < 0.3] for _ in range(N_WISHED_ITEMS)]
    contents = make_contents(vectors[:N_WISHED_USERS], vectors[N_WISHED_USERS:], seen, categories=categories)
    recommender = Recommender(bundle_of(contents))
    unavailable = rng.choice(N_WISHED_ITEMS, size=40, replace=False).tolist()
    recommender.catalogue.set_unavailable([f"i{item}" for item in unavailable])
    return Shop(recommender, contents, categories, unavailable)


@pytest.fixture(scope="module")
def shop() -> Shop:
    rng = np.random.default_rng(11)
    return _shop(rng.normal(size=(N_WISHED_USERS + N_WISHED_ITEMS, 24)), rng)


@pytest.fixture(scope="module")
def shop_of_ties() -> Shop:
    """Vectors of small integers: sums are exact in any order, and most items score as others do."""
    rng = np.random.default_rng(12)
    return _shop(rng.integers(-1, 2, size=(N_WISHED_USERS + N_WISHED_ITEMS, 4)), rng)


def _random_wishes(rng: np.random.Generator) -> tuple[int, RankingArgs]:
    options = RankingArgs()
    ids = [f"i{item}" for item in rng.permutation(N_WISHED_ITEMS + 20)]  # the last twenty are not there
    if rng.random() < 0.5:
        options["exclude_seen"] = bool(rng.random() < 0.5)
    if rng.random() < 0.3:
        options["include_items"] = ids[: rng.integers(0, 200)]
    if rng.random() < 0.3:
        options["exclude_items"] = ids[-int(rng.integers(1, 200)) :]
    if rng.random() < 0.4:
        options["categories"] = rng.choice(WISHED_CATEGORIES, size=rng.integers(0, 4)).tolist()
    if rng.random() < 0.3:
        options["available_only"] = bool(rng.random() < 0.5)
    if rng.random() < 0.4:
        options["popularity_penalty"] = float(rng.choice([0.1, 1.0, 5.0]))
    return int(rng.choice([1, 2, 20, 100, N_WISHED_ITEMS, N_WISHED_ITEMS + 50, rng.integers(1, 400)])), options


def _user_id(rng: np.random.Generator) -> str:
    return f"u{rng.integers(N_WISHED_USERS + 30)}"  # the last thirty are not there


def _assert_answers(shop: Shop, user_id: str, k: int, options: RankingArgs, answer: Recommendation) -> None:
    """The score at each rank is the reference's, every item has its own, and none that may not come does."""
    scores, best = shop.reference(user_id, k, options)
    items = [int(one.item_id[1:]) for one in answer.items]
    found = np.array([one.score for one in answer.items])
    assert len(items) == len(set(items)) == len(best)
    scale = 1e-5 * max(float(np.abs(scores).max()), 1e-12)
    np.testing.assert_allclose(found, scores[best], rtol=1e-5, atol=scale)
    np.testing.assert_allclose(found, scores[items], rtol=1e-5, atol=scale)
    whole = set(shop.reference(user_id, N_WISHED_ITEMS, options)[1])
    assert set(items) <= whole
    # Whoever is clearly better than the last one that came has come.
    if len(items) < len(whole):
        assert {item for item in whole if scores[item] > scores[best[-1]] + 2 * scale} <= set(items)


def test_a_thousand_users_with_random_wishes_get_the_ranking_of_double_precision(shop: Shop) -> None:
    rng = np.random.default_rng(13)
    sources = set()
    for _ in range(1000):
        user_id, (k, options) = _user_id(rng), _random_wishes(rng)
        answer = shop.recommender.recommend(user_id, k, **options)
        _assert_answers(shop, user_id, k, options, answer)
        sources.add(answer.source)
    assert sources == {"personal", "popular"}


def test_many_users_with_the_same_random_wishes_get_it_too(shop: Shop) -> None:
    rng = np.random.default_rng(14)
    for _ in range(25):
        users, (k, options) = [_user_id(rng) for _ in range(40)], _random_wishes(rng)
        for user_id, answer in zip(users, shop.recommender.recommend_many(users, k, **options), strict=True):
            _assert_answers(shop, user_id, k, options, answer)


def test_whatever_is_wished_ties_come_in_catalogue_order(shop_of_ties: Shop) -> None:
    rng = np.random.default_rng(15)
    for _ in range(300):
        user_id, (k, options) = _user_id(rng), _random_wishes(rng)
        options["popularity_penalty"] = 0.0
        expected = [f"i{item}" for item in shop_of_ties.reference(user_id, k, options)[1]]
        alone = shop_of_ties.recommender.recommend(user_id, k, **options)
        assert [one.item_id for one in alone.items] == expected
        assert shop_of_ties.recommender.recommend_many([user_id, "u7", user_id], k, **options)[::2] == [alone, alone]


def test_a_penalty_on_popularity_brings_less_popular_items(shop: Shop) -> None:
    def mean_popularity(penalty: float) -> float:
        answer = shop.recommender.recommend("u9", 20, popularity_penalty=penalty)
        return float(np.mean([shop.contents.popularity[int(one.item_id[1:])] for one in answer.items]))

    means = [mean_popularity(penalty) for penalty in (0.0, 0.5, 2.0, 100.0)]
    assert means == sorted(means, reverse=True)
    assert means[-1] < 0.9 * means[0]


def test_diversity_zero_is_the_order_of_the_scores_and_one_takes_the_best_first(shop: Shop) -> None:
    whole = shop.recommender.recommend("u9", 100)
    assert shop.recommender.recommend("u9", 20, diversity=0.0).items == whole.items[:20]
    diverse = shop.recommender.recommend("u9", 20, diversity=1.0)
    assert diverse.items[0] == whole.items[0]
    assert {*diverse.items} <= {*whole.items}  # chosen among the best hundred, with the scores they have there
    assert {*diverse.items} != {*whole.items[:20]}
    assert len(diverse.items) == 20


def test_items_that_are_all_but_the_same_come_together_unless_diversity_is_wished() -> None:
    rng = np.random.default_rng(2)
    kinds = rng.normal(size=(10, 12))
    kind = np.repeat(np.arange(10), 8)
    items = kinds[kind] + 0.01 * rng.normal(size=(80, 12))
    recommender = Recommender(bundle_of(make_contents(rng.normal(size=(5, 12)), items, [[0]] * 5)))

    def n_kinds(diversity: float) -> int:
        answer = recommender.recommend("u3", 8, diversity=diversity)
        return len({int(kind[int(one.item_id[1:])]) for one in answer.items})

    assert n_kinds(0.0) <= 2
    assert n_kinds(1.0) == 8


def test_similar_items_are_those_of_the_largest_cosine_without_itself(shop: Shop) -> None:
    units = shop.contents.item_vectors.astype(np.float64)
    units /= np.linalg.norm(units, axis=1, keepdims=True)
    for item in range(0, N_WISHED_ITEMS, 29):
        cosines = units @ units[item]
        expected = np.sort(np.delete(cosines, item))[::-1]
        found = shop.recommender.similar_items(f"i{item}", N_WISHED_ITEMS, available_only=False)
        np.testing.assert_allclose([one.score for one in found], expected, atol=1e-5)
        np.testing.assert_allclose([cosines[int(one.item_id[1:])] for one in found], expected, atol=1e-5)
        assert f"i{item}" not in {one.item_id for one in found}
        few = shop.recommender.similar_items(f"i{item}", 9, categories=["a"])
        assert all("a" in shop.categories[int(one.item_id[1:])] for one in few)
    with pytest.raises(KeyError):
        shop.recommender.similar_items("nothing")


def test_scores_of_given_items_are_in_their_order_and_say_what_was_met(shop: Shop) -> None:
    met = shop.recommender.history("u9").tolist()
    other = next(item for item in range(N_WISHED_ITEMS) if item not in met)
    asked = [f"i{other}", "nothing", f"i{met[0]}", f"i{other}"]
    found = shop.recommender.score("u9", asked)
    assert [one.item_id for one in found] == asked
    assert [one.seen for one in found] == [False, False, True, False]
    assert found[1].score is None
    for one, item in ((found[0], other), (found[2], met[0])):
        expected = float(shop.contents.item_vectors[item] @ shop.contents.user_vectors[9])
        assert one.score == pytest.approx(expected, rel=1e-4, abs=1e-5)
    assert shop.recommender.score("u9", []) == []
    for user_id in ("nobody", "u0"):
        with pytest.raises(KeyError):
            shop.recommender.score(user_id, asked)


def test_users_are_found_by_how_their_ids_begin(shop: Shop) -> None:
    known = sorted(f"u{row}" for row in range(1, N_WISHED_USERS))  # u0 has met nothing
    assert shop.recommender.users.search("u", 7) == known[:7]
    assert shop.recommender.users.search("u99", 50) == ["u99", *(f"u{row}" for row in range(990, 1000))]
    assert shop.recommender.users.search("", 3) == known[:3]
    assert shop.recommender.users.search("x", 3) == shop.recommender.users.search("u99", 0) == []
    assert list(shop.recommender.users.ids) == [f"u{row}" for row in range(1, N_WISHED_USERS)]


def test_ids_beyond_ascii_are_found_in_the_order_of_their_characters() -> None:
    ids = ["é", "z", "a", "😀", "\uffff", "ab", "Z"]
    contents = make_contents(np.eye(7, 3), np.eye(3), [[0]] * 7)
    users = contents.users.set_column(1, "user_id", pa.array(ids))
    recommender = Recommender(bundle_of(dataclasses.replace(contents, users=users)))
    assert recommender.users.search("", 9) == sorted(ids)
    assert recommender.users.search("a", 9) == ["a", "ab"]
    assert recommender.users["😀"] == 3


def test_more_users_than_are_named_in_one_step() -> None:
    count = 25_000
    contents = make_contents(np.ones((count, 1)), np.ones((2, 1)), [[row % 2] for row in range(count)])
    recommender = Recommender(bundle_of(contents))
    assert [recommender.users[f"u{row}"] for row in range(0, count, 333)] == list(range(0, count, 333))
    assert len(recommender.users.ids) == count
    assert recommender.users.search("u2499", 20) == ["u2499", *(f"u{row}" for row in range(24990, 25000))]


def test_threads_get_the_answers_that_one_gets(shop: Shop) -> None:
    rng = np.random.default_rng(16)
    asked = [(_user_id(rng), *_random_wishes(rng)) for _ in range(200)]

    def answer(one: tuple[str, int, RankingArgs]) -> Recommendation:
        user_id, k, options = one
        return shop.recommender.recommend(user_id, k, **options)

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(answer, asked)) == [answer(one) for one in asked]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"diversity": 1.1}, "diversity is 1.1, expected 0 to 1"),
        ({"diversity": float("nan")}, "diversity is nan"),
        ({"popularity_penalty": -0.1}, "popularity_penalty is -0.1, expected at least 0"),
        ({"popularity_penalty": float("inf")}, "popularity_penalty is inf"),
        ({"popularity_penalty": float("nan")}, "popularity_penalty is nan"),
        ({"categories": "tools"}, "categories is the string 'tools', expected a list"),
        ({"include_items": "i1"}, "include_items is the string 'i1'"),
    ],
)
def test_a_wish_out_of_range_is_refused(bundle: Bundle, options: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Recommender(bundle).recommend("u9", 5, **options)


def test_ids_may_come_in_any_container(shop: Shop) -> None:
    items = [f"i{item}" for item in range(100)]
    expected = shop.recommender.recommend("u9", 20, include_items=items, categories=["a", "b"])
    for container in (tuple, set, dict.fromkeys, np.array, iter):
        found = shop.recommender.recommend("u9", 20, include_items=container(items), categories=container(["a", "b"]))
        assert found == expected
    assert hash(RankingOptions.of(5, {"exclude_items": {"i1"}, "categories": np.array(["a"])}))  # type: ignore[typeddict-item]


@pytest.fixture
def numbered() -> Recommender:
    """Users and items whose ids are digits."""
    vectors = np.random.default_rng(3).normal(size=(20, 4))
    made = make_contents(
        vectors[:8], vectors[8:], [[row] for row in range(8)], categories=[["Puzzles"], ["Board Games"]] * 6
    )
    users, items = made.users, made.items
    users = users.set_column(1, "user_id", pa.array([str(40 + row) for row in range(8)]))
    items = items.set_column(1, "item_id", pa.array([str(100 + row) for row in range(12)]))
    return Recommender(bundle_of(dataclasses.replace(made, users=users, items=items)))


@pytest.mark.parametrize("kind", [int, np.int64, np.int32, np.uint8, np.str_])
def test_an_id_is_what_a_data_frame_gives(kind: type, numbered: Recommender) -> None:
    user, items = kind(42), [kind(100), kind(101)]
    assert numbered.recommend(user).source == "personal"
    assert numbered.recommend(user) == numbered.recommend("42")
    assert numbered.recommend_many(np.array([user, kind(43)])) == numbered.recommend_many(["42", "43"])
    assert numbered.recommend_from_history(items) == numbered.recommend_from_history(["100", "101"])
    assert numbered.similar_items(items[0]) == numbered.similar_items("100")
    assert numbered.score(user, items) == numbered.score("42", ["100", "101"])
    assert numbered.history(user).tolist() == [2]
    for name in ("include_items", "exclude_items"):
        assert numbered.recommend(user, **{name: items}) == numbered.recommend("42", **{name: ["100", "101"]})


@pytest.mark.parametrize("user", [42.0, np.float64(42), True, None, b"42", ("42",), float("nan")])
def test_what_is_no_id_is_refused_and_not_taken_for_an_unknown_user(user: object, numbered: Recommender) -> None:
    with pytest.raises(TypeError, match="expected an id"):
        numbered.recommend(user)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="expected an id"):
        numbered.recommend_from_history(["100", user])  # type: ignore[list-item]


@pytest.mark.parametrize("call", ["recommend_many", "recommend_from_history"])
def test_a_single_text_is_not_taken_for_a_list_of_letters(call: str, numbered: Recommender) -> None:
    with pytest.raises(TypeError, match="expected a list of ids"):
        getattr(numbered, call)("42")


@pytest.mark.parametrize("name", ["puzzles", "PUZZLES", " Puzzles "])
def test_case_makes_no_difference_in_a_category(name: str, numbered: Recommender) -> None:
    found = numbered.recommend("42", categories=[name])
    assert found == numbered.recommend("42", categories=["Puzzles"])
    assert {int(item.item_id) % 2 for item in found.items} == {0}


def test_an_unknown_category_is_refused_with_the_near_one(numbered: Recommender) -> None:
    calls = [
        lambda **options: numbered.recommend("42", **options),
        lambda **options: numbered.recommend_from_history(["100"], **options),
        lambda **options: numbered.similar_items("100", **options),
    ]
    for call in calls:
        with pytest.raises(ValueError, match="there is no category 'puzles', the nearest is 'Puzzles'"):
            call(categories=["Board games", "puzles"])
    with pytest.raises(ValueError, match="there is no category 'xyz', there are 'Board Games', 'Puzzles'"):
        numbered.recommend("42", categories=["xyz"])


def test_categories_in_a_text_are_read_in_any_case(rich: Recommender) -> None:
    (name, _), *_ = rich.catalogue.categories("", 1)
    as_named, lower = (rich.recommend_from_text(f"Enjoys {word}, mostly.") for word in (name, name.lower()))
    assert name != name.lower()
    assert lower.items == as_named.items
    assert lower.items != rich.recommend_from_text("Enjoys nothing, mostly.").items
