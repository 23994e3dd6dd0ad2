from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hnlm_ray.data.interactions import Interactions
from hnlm_ray.evaluation.false_negatives import hardest_of_rate, nearest_items, pairs_rate, weighted_rate

from .conftest import Build, build


def rows(train: Interactions) -> list[list[int]]:
    return [train.items[start:stop].tolist() for start, stop in itertools.pairwise(train.offsets)]


@st.composite
def worlds(draw: st.DrawFn) -> tuple[np.ndarray, Interactions]:
    n_users, n_items = draw(st.integers(1, 4)), draw(st.integers(2, 6))
    train = draw(
        st.lists(st.lists(st.integers(0, n_items - 1), unique=True, min_size=1), min_size=n_users, max_size=n_users)
    )
    return np.random.default_rng(draw(st.integers(0, 99))).random((n_users, n_items), dtype=np.float32), build(
        train, n_items
    )


def expected(truth: np.ndarray, train: Interactions, weights: np.ndarray) -> float:
    """Pair by pair: the mean over the items that the sampler may draw."""
    rates = []
    for user, met in enumerate(rows(train)):
        unseen = [item for item in range(train.n_items) if item not in met and weights[item] > 0]
        if unseen:
            rates += [np.average(truth[user, unseen], weights=weights[unseen])] * len(met)
    return float(np.mean(rates)) if rates else float("nan")


@given(worlds(), st.integers(0, 99))
def test_weighted_rate_is_the_mean_over_unseen_items(world: tuple[np.ndarray, Interactions], seed: int) -> None:
    truth, train = world
    popularity = np.bincount(train.items, minlength=train.n_items).astype(float)
    for weights in (np.ones(train.n_items), popularity, np.random.default_rng(seed).random(train.n_items) + 0.1):
        rate = weighted_rate(truth, train, weights)
        assert rate == pytest.approx(expected(truth, train, weights), rel=1e-5, nan_ok=True)


def test_hardest_of_agrees_with_every_possible_draw(interactions: Build) -> None:
    rng = np.random.default_rng(0)
    train = interactions([[0, 2], [1], [4, 3, 0]], 5)
    truth = rng.random((3, 5), dtype=np.float32)
    users, items = rng.normal(size=(3, 2)), rng.normal(size=(5, 2))
    scores = users @ items.T
    rates = []
    for user, met in enumerate(rows(train)):
        unseen = [item for item in range(5) if item not in met]
        draws = itertools.product(unseen, repeat=3)
        rates += [np.mean([truth[user, max(draw, key=lambda item: scores[user, item])] for draw in draws])] * len(met)
    assert hardest_of_rate(truth, train, users, items, 3) == pytest.approx(np.mean(rates), rel=1e-6)


@given(worlds())
def test_one_candidate_is_the_uniform_sampler(world: tuple[np.ndarray, Interactions]) -> None:
    truth, train = world
    users, items = np.ones((train.n_users, 1)), np.arange(train.n_items)[:, None]
    rate = hardest_of_rate(truth, train, users, items, 1)
    assert rate == pytest.approx(weighted_rate(truth, train, np.ones(train.n_items)), rel=1e-5, nan_ok=True)


def test_a_model_that_knows_the_truth_finds_more_false_negatives_the_more_it_draws(interactions: Build) -> None:
    truth = np.random.default_rng(3).random((6, 30), dtype=np.float32)
    train = interactions([[user] for user in range(6)], 30)
    rates = [hardest_of_rate(truth, train, np.eye(6), truth.T.copy(), draws) for draws in (1, 2, 8, 64)]
    assert rates == sorted(rates)
    assert rates[-1] > rates[0] + 0.3


def test_nearest_items_are_unseen_and_nearest(interactions: Build) -> None:
    vectors = np.random.default_rng(4).normal(size=(12, 3))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float16)
    train = interactions([[0, 5, 7], [], [11], list(range(12))], 12)
    nearest = nearest_items(train, vectors)
    similarity = vectors.astype(np.float32) @ vectors.astype(np.float32).T
    position = 0
    for met in rows(train):
        for item in met:
            unseen = [other for other in range(12) if other not in met]
            best = max(unseen, key=lambda other: similarity[item, other]) if unseen else -1
            assert nearest[position] == best
            position += 1
    assert position == len(nearest)


def test_pairs_rate_reads_the_truth_of_each_pair() -> None:
    truth = np.array([[0.1, 0.9], [0.5, 0.3]], dtype=np.float32)
    assert pairs_rate(truth, np.array([0, 0, 1]), np.array([0, 1, 1])) == pytest.approx((0.1 + 0.9 + 0.3) / 3)
    assert np.isnan(pairs_rate(truth, np.array([], dtype=int), np.array([], dtype=int)))
