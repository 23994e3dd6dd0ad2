from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hnlm_ray.config.data import DemoWorldConfig
from hnlm_ray.config.variants import VariantConfig
from hnlm_ray.data.interactions import Interactions
from hnlm_ray.demo.world import generate
from hnlm_ray.kernels.vectors import unit_rows
from hnlm_ray.serving.bundle.bundle import load_bundle
from hnlm_ray.serving.bundle.cold_start import (
    fit_fold_in,
    fit_profile_map,
    fit_text_map,
    history_features,
    new_item_vectors,
)
from hnlm_ray.serving.bundle.contents import Contents
from hnlm_ray.serving.bundle.writing import Extras, write_bundle
from hnlm_ray.serving.recommend.recommender import Recommender
from hnlm_ray.training.fit import fit
from tests.serving.conftest import ABOUT, bundle_of, make_contents


def as_interactions(user_ids: np.ndarray, item_ids: np.ndarray) -> tuple[Interactions, Interactions]:
    """One interaction of each user to validate on, the others to train on."""
    users, items = (np.unique(ids, return_inverse=True)[1] for ids in (user_ids, item_ids))
    order = np.random.default_rng(0).permutation(len(users))
    users, items = users[order], items[order]
    is_held = np.zeros(len(users), dtype=np.bool_)
    is_held[np.unique(users, return_index=True)[1]] = True
    sizes = int(users.max()) + 1, int(items.max()) + 1
    train, valid = (Interactions.from_pairs(users[part], items[part], *sizes) for part in (~is_held, is_held))
    return train, valid


def trained(train: Interactions, valid: Interactions, variant: VariantConfig) -> Contents:
    result = fit(train, valid, variant, 0)
    users, items = np.r_[train.users, valid.users], np.r_[train.items, valid.items]
    seen = Interactions.from_pairs(users, items, train.n_users, train.n_items)
    return make_contents(
        result.user_vectors, result.item_vectors, [seen.row(user).tolist() for user in range(seen.n_users)]
    )


@pytest.fixture(scope="module", autouse=True)
def one_torch_thread() -> Iterator[None]:
    """Tensors are small here."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module", params=["mf", "lightgcn"])
def shop(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Recommender:
    """A bundle of vectors that were trained on the generated shop."""
    world = generate(DemoWorldConfig(users=300, items=600, interactions=9000))
    pairs = (world.interactions[name].to_numpy(zero_copy_only=False) for name in ("user_id", "item_id"))
    variant = VariantConfig(
        backbone=request.param, dim=16, epochs=25, batch_size=2048, learning_rate=0.03, validate_every=25
    )
    path = str(tmp_path_factory.mktemp("shop"))
    write_bundle(path, trained(*as_interactions(*pairs), variant), ABOUT)
    return Recommender.load(path)


def overlaps(recommender: Recommender, users: list[str]) -> tuple[float, float]:
    """Of the 20 items by a user's trained vector, the share that is among 20 by their history, and by popularity."""
    by_history, by_popularity = [], []
    popular = [one.item_id for one in recommender.recommend("nobody", k=len(recommender.catalogue)).items]
    for user_id in users:
        own = [recommender.catalogue.ids[item] for item in recommender.history(user_id).tolist()]
        expected = {one.item_id for one in recommender.recommend(user_id, k=20).items}
        folded = recommender.recommend_from_history(own, k=20)
        assert folded.source == "folded_in"
        assert not {one.item_id for one in folded.items} & {*own}
        by_history.append(len(expected & {one.item_id for one in folded.items}) / 20)
        by_popularity.append(len(expected & {*[item for item in popular if item not in own][:20]}) / 20)
    return float(np.mean(by_history)), float(np.mean(by_popularity))


def test_a_users_own_history_gives_most_of_their_trained_answer(shop: Recommender) -> None:
    by_history, by_popularity = overlaps(shop, list(shop.users.ids))
    assert by_history >= 0.6
    assert by_history > by_popularity + 0.2


def test_answering_from_a_history_changes_nothing(shop: Recommender) -> None:
    before = shop.recommend_many(shop.users.ids[:20], k=20)
    shop.recommend_from_history(shop.catalogue.ids[:30], k=20)
    assert shop.recommend_many(shop.users.ids[:20], k=20) == before
    for array in (shop.bundle.fold_in, shop.bundle.contents.user_vectors, shop.bundle.contents.item_vectors):
        assert not array.flags.writeable


@pytest.mark.data
@pytest.mark.parametrize("backbone", ["mf", "lightgcn"])
def test_on_movielens_too(real_data: Path, backbone: str) -> None:
    table = pq.read_table(real_data / "ml-100k" / "interactions.parquet")
    pairs = [table[name].to_numpy(zero_copy_only=False) for name in ("user_id", "item_id")]
    few = np.unique(pairs[0], return_inverse=True)[1] % 3 == 0  # users; of all of them it takes minutes
    variant = VariantConfig(
        backbone=backbone, dim=32, epochs=10, batch_size=4096, learning_rate=0.03, validate_every=10
    )
    contents = trained(*as_interactions(*(ids[few] for ids in pairs)), variant)
    seen = contents.seen_offsets, contents.seen_items
    weights = fit_fold_in(contents.user_vectors, contents.item_vectors, contents.popularity, *seen)
    recommender = Recommender(bundle_of(contents, weights))
    by_history, by_popularity = overlaps(recommender, list(recommender.users.ids))
    assert by_history >= 0.6
    assert by_history > by_popularity + 0.2


@pytest.mark.parametrize("history", [[], ["nothing", "i", ""]])
def test_nothing_known_gets_popular_items(bundle_path: Path, history: list[str]) -> None:
    recommender = Recommender.load(str(bundle_path))
    assert recommender.recommend_from_history(history, k=9) == recommender.recommend("nobody", k=9)


def test_unknown_repeated_and_reordered_items_change_nothing(bundle_path: Path) -> None:
    recommender = Recommender.load(str(bundle_path))
    expected = recommender.recommend_from_history(["i3", "i20", "i44"], k=60)
    assert expected.source == "folded_in"
    assert len(expected.items) == 57
    assert recommender.recommend_from_history(["i44", "nothing", "i3", "i20", "i3"], k=60) == expected
    assert recommender.recommend_from_history(["i3", "i20", "i45"], k=60) != expected


def test_who_met_everything_gets_nothing_or_everything_again(bundle_path: Path) -> None:
    recommender = Recommender.load(str(bundle_path))
    everything = recommender.catalogue.ids
    assert recommender.recommend_from_history(everything, k=60).items == ()
    assert len(recommender.recommend_from_history(everything, k=60, exclude_seen=False).items) == 60


def test_answers_to_a_history_obey_the_wishes(bundle_path: Path) -> None:
    recommender = Recommender.load(str(bundle_path))
    whole = recommender.recommend_from_history(["i3", "i20"], k=60).items
    few = recommender.recommend_from_history(["i3", "i20"], k=5, include_items=[one.item_id for one in whole[10:20]])
    assert few.items == whole[10:15]


@settings(max_examples=100)
@given(seed=st.integers(0, 2**32 - 1))
def test_features_are_three_weighted_sums_of_each_history(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n_users, n_items, dim = rng.integers(1, 6), rng.integers(1, 20), rng.integers(1, 4)
    met = rng.random((n_users, n_items)) < rng.choice([0.0, 0.2, 1.0])
    vectors, popularity = rng.normal(size=(n_items, dim)).astype(np.float32), rng.integers(0, 50, size=n_items)
    offsets, items = np.r_[0, met.sum(axis=1).cumsum()], met.nonzero()[1].astype(np.int32)
    found = history_features(vectors, popularity, offsets, items)
    assert found.dtype == np.float32
    for user in range(n_users):
        own = np.flatnonzero(met[user])
        length = max(len(own), 1)
        alike = sum((vectors[item].astype(float) for item in own), np.zeros(dim))
        smooth = sum((vectors[item] / np.sqrt(max(popularity[item], 1)) for item in own), np.zeros(dim))
        expected = np.r_[alike / length, smooth / length, smooth / np.sqrt(length)]
        np.testing.assert_allclose(found[user], expected, rtol=1e-4, atol=1e-5)


def test_a_linear_rule_from_histories_to_users_is_found() -> None:
    rng = np.random.default_rng(3)
    items, popularity = rng.normal(size=(200, 6)).astype(np.float32), rng.integers(1, 90, size=200)
    lengths = rng.integers(0, 15, size=500)
    offsets = np.r_[0, lengths.cumsum()]
    met = np.concatenate([np.sort(rng.choice(200, size=n, replace=False)) for n in lengths]).astype(np.int32)
    features = history_features(items, popularity, offsets, met)
    rule = rng.normal(size=(18, 6)).astype(np.float32)
    users = features @ rule
    users[lengths == 0] = 1e6  # untrained; must not count
    found = features @ fit_fold_in(users, items, popularity, offsets, met)
    known = lengths > 0
    assert np.linalg.norm(found[known] - users[known]) < 0.05 * np.linalg.norm(users[known])


def test_many_users_are_sampled_and_the_rule_is_still_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hnlm_ray.serving.bundle.cold_start._MOST_USERS", 100)  # every fourth
    test_a_linear_rule_from_histories_to_users_is_found()


def test_nobody_with_a_history_gives_a_map_of_zeros() -> None:
    nothing = np.zeros(6, np.int64), np.empty(0, np.int32)
    weights = fit_fold_in(np.ones((5, 2), np.float32), np.ones((3, 2), np.float32), np.zeros(3, np.int64), *nothing)
    assert weights.shape == (6, 2)
    assert not weights.any()


def test_the_text_map_is_fitted_to_items_that_somebody_met() -> None:
    rng = np.random.default_rng(6)
    texts, rule = rng.normal(size=(80, 12)).astype(np.float32), rng.normal(size=(12, 5)).astype(np.float32)
    items, popularity = texts @ rule, np.ones(80, np.int64)
    items[:10], popularity[:10] = 1e6, 0
    weights = fit_text_map(texts, items, popularity)
    assert weights.dtype == np.float32
    # Shrunk on purpose, see the strength of the ridge.
    assert np.linalg.norm(weights - rule) < 0.2 * np.linalg.norm(rule)


def test_the_profile_map_leads_from_profiles_to_their_users() -> None:
    rng = np.random.default_rng(7)
    profiles, rule = rng.normal(size=(200, 12)).astype(np.float32), rng.normal(size=(12, 5)).astype(np.float32)
    weights = fit_profile_map(profiles, profiles @ rule)
    assert weights.dtype == np.float32
    assert np.linalg.norm(weights - rule) < 0.05 * np.linalg.norm(rule)


def test_profiles_of_items_lead_where_no_profile_of_a_user_does() -> None:
    rng = np.random.default_rng(8)
    texts, rule = rng.normal(size=(200, 12)).astype(np.float32), rng.normal(size=(12, 5)).astype(np.float32)
    profiles, described = texts[:150].copy(), texts[150:].copy()
    profiles[:, 6:] = 0.0  # what only items' profiles are about
    users, items = profiles @ rule, described @ rule
    alone, both = fit_profile_map(profiles, users), fit_profile_map(profiles, users, (described, 7.0 * items))
    assert not np.abs(alone[6:]).max() > 1e-6
    asked = np.eye(12, dtype=np.float32)[6:]
    cosines = (
        (asked @ both * rule[6:]).sum(axis=1) / np.linalg.norm(both[6:], axis=1) / np.linalg.norm(rule[6:], axis=1)
    )
    assert cosines.min() > 0.9
    lengths = [np.linalg.norm(vectors, axis=1).mean() for vectors in (users, described @ both)]
    assert 0.5 < lengths[1] / lengths[0] < 2.0  # not 7 times as long


# New items


def test_new_items_get_the_mean_of_the_gaussian_process() -> None:
    rng = np.random.default_rng(9)
    known, new = (unit_rows(rng.normal(size=(count, 5)).astype(np.float32)) for count in (12, 3))
    vectors = rng.normal(size=(12, 4)).astype(np.float32)
    covariance = np.maximum(known @ known.T, 0).astype(float) ** 4 + 0.1 * np.eye(12)
    weights = np.maximum(new @ known.T, 0).astype(float) ** 4 @ np.linalg.inv(covariance)
    expected = vectors.mean(axis=0) + weights @ (vectors - vectors.mean(axis=0))
    found = new_item_vectors(new, known, vectors)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_an_item_like_no_other_gets_the_mean_and_a_twin_nearly_the_vector_of_its_twin() -> None:
    known, vectors = np.eye(6, 8, dtype=np.float32), np.arange(18, dtype=np.float32).reshape(6, 3)
    new = np.stack([np.eye(8, dtype=np.float32)[7], np.zeros(8, np.float32), known[5]])
    found, mean = new_item_vectors(new, known.astype(np.float16), vectors), vectors.mean(axis=0)
    np.testing.assert_allclose(found[:2], [mean, mean])
    np.testing.assert_allclose(found[2], mean + (vectors[5] - mean) / 1.1, rtol=1e-5)


def test_copies_of_a_known_item_count_about_once() -> None:
    texts = np.array([[1, 0], [0, 1]], np.float32)
    known, vectors = texts[[0] * 30 + [1]], np.array([[1.0]] * 30 + [[-1.0]], np.float32)
    between = np.full((1, 2), np.sqrt(0.5), np.float32)
    alone = new_item_vectors(between, texts, vectors[-2:]) - vectors[-2:].mean()
    many = new_item_vectors(between, known, vectors) - vectors.mean()
    assert abs(alone[0, 0]) < 1e-6
    assert abs(many[0, 0] + 0.41) < 0.02  # by cosines alone it would lean to the thirty copies: + 0


def test_only_the_nearest_of_many_known_items_count() -> None:
    rng = np.random.default_rng(10)
    near = unit_rows(np.c_[np.ones((50, 1)), 0.1 * rng.normal(size=(50, 7))].astype(np.float32))
    far = unit_rows(np.c_[np.full((400, 1), 0.3), rng.normal(size=(400, 7))].astype(np.float32))
    vectors = rng.normal(size=(450, 2)).astype(np.float32)
    new = np.eye(1, 8, dtype=np.float32)
    found = new_item_vectors(np.repeat(new, 300, axis=0), np.r_[near, far], vectors)
    mean = vectors.mean(axis=0)
    covariance = (near @ near.T).astype(float) ** 4 + 0.1 * np.eye(50)
    expected = mean + (new @ near.T).astype(float) ** 4 @ np.linalg.solve(covariance, vectors[:50] - mean)
    np.testing.assert_allclose(found, np.repeat(expected, 300, axis=0), rtol=1e-3, atol=1e-4)


def test_held_out_items_land_near_their_trained_vectors(rich_contents: Contents, rich_extras: Extras) -> None:
    assert rich_extras.text_vectors is not None
    texts, vectors = unit_rows(rich_extras.text_vectors), rich_contents.item_vectors
    held = np.arange(len(texts)) % 10 == 0
    found = new_item_vectors(texts[held], texts[~held], vectors[~held])
    missed = [np.linalg.norm(one - vectors[held]) for one in (found, vectors[~held].mean(axis=0))]
    assert missed[0] < 0.6 * missed[1]


def test_the_map_of_a_bundle_is_the_fitted_one(bundle_path: Path, contents: Contents) -> None:
    seen = contents.seen_offsets, contents.seen_items
    expected = fit_fold_in(contents.user_vectors, contents.item_vectors, contents.popularity, *seen)
    np.testing.assert_array_equal(load_bundle(str(bundle_path)).fold_in, expected)
