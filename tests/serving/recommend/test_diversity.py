from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hnlm_ray.serving.recommend.diversity import diversify, pool_size


def unit(vector: np.ndarray) -> np.ndarray:
    length = math.sqrt(float((vector.astype(np.float64) ** 2).sum()))
    return vector / length if length else vector * 0.0


def values(
    scores: np.ndarray, vectors: np.ndarray, chosen: list[int], weight: float
) -> dict[int, float]:  # fmt: skip
    """What each item that is left is worth after some were chosen, by the formula of the paper."""
    span = float(scores.max() - scores.min())
    units = [unit(vector) for vector in vectors]
    worth = {}
    for item in set(range(len(scores))) - {*chosen}:
        relevance = float(scores[item] - scores.min()) / span if span else 1.0
        closest = max(((float(units[item] @ units[other]) + 1) / 2 for other in chosen), default=0.0)
        worth[item] = (1 - weight) * relevance - weight * closest
    return worth


@st.composite
def pools(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, int, float]:
    n, dim = draw(st.integers(0, 25)), draw(st.integers(1, 5))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    scores = np.sort(rng.normal(size=n) * draw(st.sampled_from([0.0, 1e-3, 1.0, 1e6])))[::-1].astype(np.float32)
    vectors = rng.normal(size=(n, dim)).astype(np.float32)
    if n and draw(st.booleans()):
        vectors[rng.integers(n)] = 0.0
    weight = draw(st.sampled_from([0.0, 0.2, 0.5, 0.9, 1.0]) | st.floats(0, 1))
    return scores, vectors, draw(st.integers(1, 30)), weight


@settings(max_examples=300)
@given(pool=pools())
def test_every_choice_is_the_greedy_choice_of_a_plain_reference(
    pool: tuple[np.ndarray, np.ndarray, int, float],
) -> None:
    scores, vectors, k, weight = pool
    chosen = diversify(scores, vectors, k, weight).tolist()
    assert len(chosen) == len(set(chosen)) == min(k, len(scores))
    for place, item in enumerate(chosen):
        worth = values(scores, vectors, chosen[:place], weight)
        assert worth[item] == pytest.approx(max(worth.values()), abs=1e-5)


def test_weight_zero_is_the_order_of_the_scores() -> None:
    rng = np.random.default_rng(0)
    scores = np.sort(rng.integers(0, 9, size=50))[::-1].astype(np.float32)
    assert diversify(scores, rng.normal(size=(50, 4)).astype(np.float32), 30, 0.0).tolist() == list(range(30))


@pytest.mark.parametrize(("weight", "n_kinds"), [(0.0, 2), (0.5, 4), (1.0, 6)])
def test_the_more_weight_the_fewer_near_duplicates_until_there_are_none(weight: float, n_kinds: int) -> None:
    rng = np.random.default_rng(1)
    kinds = np.eye(6, 8, dtype=np.float32)
    kind = np.repeat(np.arange(6), 5)  # the five best are all but the same, then five of another kind
    vectors = kinds[kind] * rng.uniform(0.5, 2, size=(30, 1)) + 0.01 * rng.normal(size=(30, 8))
    scores = np.linspace(1.0, 0.9, 30, dtype=np.float32) + np.float32(3.0)
    chosen = diversify(scores, vectors.astype(np.float32), 12, weight)
    assert chosen[0] == 0
    assert len(set(kind[chosen[:6]].tolist())) == n_kinds


def test_items_that_all_score_alike_still_differ() -> None:
    vectors = np.array([[1, 0], [1, 0.01], [0, 1]], np.float32)
    assert diversify(np.ones(3, np.float32), vectors, 2, 0.5).tolist() == [0, 2]


def test_the_choice_is_among_a_hundred_or_five_times_as_many() -> None:
    assert [pool_size(k) for k in (1, 20, 21, 1000)] == [100, 100, 105, 5000]
