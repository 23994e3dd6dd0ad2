from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hnlm_ray.config.samplers import (
    AHNSOptions,
    DENSOptions,
    DNSOptions,
    InBatchOptions,
    MixGCFOptions,
    PopularitySamplerOptions,
    Sampler,
    SoftmaxImportanceOptions,
    UniformOptions,
)
from hnlm_ray.data.interactions import Interactions
from hnlm_ray.evaluation.false_negatives import (
    Draws,
    dns_at_hardness,
    dns_rate,
    drawn_rate,
    nearest_items,
    pairs_rate,
    scored_rate,
    static_rate,
    weighted_rate,
)
from hnlm_ray.samplers.guard import Guard
from tests.interactions import Build, build


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


SMALL = build([[0, 2], [1], [4, 3, 0], [0, 1, 2, 3, 4]], 5)
TRUTH = np.random.default_rng(0).random((4, 5), dtype=np.float32)
USERS = np.random.default_rng(1).normal(size=(4, 2)).astype(np.float32)
ITEMS = np.random.default_rng(2).normal(size=(5, 2)).astype(np.float32)

Choice = Callable[[int, int, tuple[int, ...]], float]
"""The truth of what is made of some candidates, for a user and a positive."""


def over_every_draw(choice: Choice, candidates: int) -> float:
    """The mean over the train pairs and over every draw of unmet candidates, each as likely."""
    rates = []
    for user, met in enumerate(rows(SMALL)):
        unmet = [item for item in range(5) if item not in met]
        for positive in met if unmet else []:
            draws = itertools.product(unmet, repeat=candidates)
            rates.append(np.mean([choice(user, positive, draw) for draw in draws]))
    return float(np.mean(rates))


@pytest.mark.parametrize(("candidates", "top"), [(1, 1), (3, 1), (3, 2), (4, 4)])
def test_hardest_of_agrees_with_every_possible_draw(candidates: int, top: int) -> None:
    scores = USERS @ ITEMS.T

    def choice(user: int, positive: int, draw: tuple[int, ...]) -> float:
        best = sorted(draw, key=lambda item: -scores[user, item])[:top]
        return float(np.mean(TRUTH[user, best]))

    exact = over_every_draw(choice, candidates)
    assert dns_rate(TRUTH, SMALL, (USERS, ITEMS), candidates, top) == pytest.approx(exact, rel=1e-6)
    options = DNSOptions(candidates=candidates, top=top)
    assert scored_rate(TRUTH, SMALL, Draws(options), (USERS, ITEMS)) == pytest.approx(exact, rel=1e-6)
    drawn = [drawn_rate(TRUTH, SMALL, Draws(options, 0, epoch), (USERS, ITEMS)) for epoch in range(1, 200)]
    assert np.mean(drawn) == pytest.approx(exact, abs=0.02)


GUARD = Guard(np.array([3, 5, 12]), np.array([0.0, 0.25, 0.5], dtype=np.float32), 5)
"""User 0 and item 3 are excluded; user 1 and item 0, and user 2 and item 2, count for less."""


@pytest.mark.parametrize(
    "sampler", [UniformOptions(), DNSOptions(candidates=2), MixGCFOptions(candidates=2)], ids=lambda one: one.name
)
def test_guarded_negatives_count_by_their_trust_and_excluded_ones_not_at_all(sampler: Sampler) -> None:
    scores, trust = USERS @ ITEMS.T, GUARD.matrix(4)
    candidates = 1 if isinstance(sampler, UniformOptions) else 2

    def chosen(user: int, draw: tuple[int, ...]) -> int:
        return max(draw, key=lambda item: (trust[user, item] > 0.0 or candidates == 1, scores[user, item]))

    weight = over_every_draw(lambda user, _, draw: trust[user, chosen(user, draw)], candidates)
    liked = over_every_draw(lambda user, _, draw: (trust * TRUTH)[user, chosen(user, draw)], candidates)
    draws = [Draws(sampler, 0, epoch, GUARD) for epoch in range(1, 300)]
    rates = [scored_rate(TRUTH, SMALL, one, (USERS, ITEMS)) for one in draws]
    # A mean of ratios of one epoch each, where negatives are drawn.
    tolerance = 0.03 if isinstance(sampler, MixGCFOptions) else 1e-6
    assert np.mean(rates) == pytest.approx(liked / weight, abs=tolerance)


def test_a_guard_that_trusts_nothing_leaves_no_rate() -> None:
    nothing = Guard(np.arange(20), np.zeros(20, dtype=np.float32), 5)
    assert np.isnan(scored_rate(TRUTH, SMALL, Draws(DNSOptions(), guard=nothing), (USERS, ITEMS)))


def hardest(user: int, positive: int, draw: tuple[int, ...]) -> float:
    return float(TRUTH[user, max(draw, key=lambda item: USERS[user] @ ITEMS[item])])


def nearest_to_target(user: int, positive: int, draw: tuple[int, ...]) -> float:
    target = 0.4 / (max(0.0, USERS[user] @ ITEMS[positive]) + 0.1)
    return float(TRUTH[user, min(draw, key=lambda item: abs(USERS[user] @ ITEMS[item] - target))])


def weighted(user: int, positive: int, draw: tuple[int, ...]) -> float:
    losses = np.log1p(np.exp((ITEMS[list(draw)] - ITEMS[positive]) @ USERS[user]).astype(float))
    weights = np.exp((losses - losses.max()) / max(1e-6, np.sqrt(losses.var() / 2.0)))
    return float(np.average(TRUTH[user, list(draw)], weights=weights))


@pytest.mark.parametrize(
    ("sampler", "choice"),
    [
        (MixGCFOptions(candidates=3), hardest),
        (AHNSOptions(candidates=3), nearest_to_target),
        (SoftmaxImportanceOptions(candidates=3), weighted),
    ],
    ids=["mixgcf", "ahns", "softmax_importance"],
)
def test_what_is_drawn_agrees_with_every_possible_draw(sampler: Sampler, choice: Choice) -> None:
    drawn = [scored_rate(TRUTH, SMALL, Draws(sampler, 0, epoch), (USERS, ITEMS)) for epoch in range(1, 200)]
    assert np.mean(drawn) == pytest.approx(over_every_draw(choice, 3), abs=0.015)
    assert len(set(drawn)) > 20


def test_what_dens_draws_is_unmet_and_changes_with_the_epoch() -> None:
    truth = np.zeros((4, 5), dtype=np.float32)
    truth[SMALL.users, SMALL.items] = 1.0
    assert drawn_rate(truth, SMALL, Draws(DENSOptions()), (USERS, ITEMS)) == 0.0
    few = DENSOptions(candidates=2)
    rates = {drawn_rate(TRUTH, SMALL, Draws(few, 0, epoch), (USERS, ITEMS)) for epoch in range(1, 9)}
    assert len(rates) > 1


@pytest.mark.parametrize(
    ("sampler", "weights", "masked"),
    [
        (UniformOptions(negatives=7, shared=True), [1, 1, 1, 1, 1], True),
        (UniformOptions(rejection="skip"), [1, 1, 1, 1, 1], True),
        (UniformOptions(rejection="none"), [1, 1, 1, 1, 1], False),
        (PopularitySamplerOptions(exponent=2.0), [9, 4, 4, 4, 4], True),
        (PopularitySamplerOptions(), [3**0.75, *[2**0.75] * 4], True),
        (InBatchOptions(correct=False), [3, 2, 2, 2, 2], True),
        (InBatchOptions(), [1, 1, 1, 1, 1], True),
    ],
    ids=str,
)
def test_samplers_that_ask_no_model_have_the_rate_of_their_law(
    sampler: Sampler, weights: list[float], masked: bool
) -> None:
    wide = np.array(weights, dtype=float)
    by_hand = [
        np.average(TRUTH[user, allowed], weights=wide[allowed])
        for user, met in enumerate(rows(SMALL))
        for allowed in [[item for item in range(5) if not masked or item not in met]]
        for _ in (met if allowed else [])
    ]
    assert static_rate(TRUTH, SMALL, sampler) == pytest.approx(np.mean(by_hand), rel=1e-5)  # type: ignore[arg-type]
    assert scored_rate(TRUTH, SMALL, Draws(sampler), (USERS, ITEMS)) == pytest.approx(np.mean(by_hand), rel=1e-5)


def test_items_that_nobody_met_never_come_into_a_batch(interactions: Build) -> None:
    train, truth = interactions([[0], [1]], 3), np.array([[0.5, 0.2, 1.0], [0.4, 0.5, 1.0]], dtype=np.float32)
    for correct in (True, False):
        assert static_rate(truth, train, InBatchOptions(correct=correct)) == pytest.approx(0.3)


def test_without_an_unmet_item_there_is_no_rate(interactions: Build) -> None:
    full, truth = interactions([[0, 1]], 2), np.ones((1, 2), dtype=np.float32)
    vectors = np.ones((1, 2), dtype=np.float32), np.ones((2, 2), dtype=np.float32)
    for sampler in (UniformOptions(), DNSOptions(), AHNSOptions()):
        assert np.isnan(scored_rate(truth, full, Draws(sampler), vectors))


@given(worlds())
def test_one_candidate_is_the_uniform_sampler(world: tuple[np.ndarray, Interactions]) -> None:
    truth, train = world
    users, items = np.ones((train.n_users, 1)), np.arange(train.n_items)[:, None]
    rate = dns_rate(truth, train, (users, items), 1)
    assert rate == pytest.approx(weighted_rate(truth, train, np.ones(train.n_items)), rel=1e-5, nan_ok=True)


def test_a_model_that_knows_the_truth_finds_more_false_negatives_the_more_it_draws(interactions: Build) -> None:
    truth = np.random.default_rng(3).random((6, 30), dtype=np.float32)
    train = interactions([[user] for user in range(6)], 30)
    rates = [dns_rate(truth, train, (np.eye(6), truth.T.copy()), draws) for draws in (1, 2, 8, 64)]
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


@pytest.mark.parametrize("candidates", [1, 2, 7, 8, 40])
def test_dns_of_a_hardness_is_found_again(candidates: int) -> None:
    rng = np.random.default_rng(0)
    users, items, truth = rng.normal(size=(20, 4)), rng.normal(size=(60, 4)), rng.random((20, 60), dtype=np.float32)
    train = build([sorted(rng.choice(60, 5, replace=False).tolist()) for _ in range(20)], 60)
    hardness = dns_rate(users @ items.T, train, (users, items), candidates)
    found, rate = dns_at_hardness(truth, train, (users, items), hardness)
    assert found == pytest.approx(candidates, rel=1e-6)
    assert rate == pytest.approx(dns_rate(truth, train, (users, items), candidates), rel=1e-5)
    between, _ = dns_at_hardness(truth, train, (users, items), hardness + 1e-3)
    assert candidates < between < candidates + 1
    assert dns_at_hardness(truth, train, (users, items), -1e9)[0] == 1.0
    assert dns_at_hardness(truth, train, (users, items), 1e9)[0] >= 60
