from __future__ import annotations

import tracemalloc

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from hnlm_ray.kernels.scan import Scan


@settings(max_examples=60)
@given(
    seed=st.integers(0, 2**32 - 1),
    n_items=st.sampled_from([1, 63, 64, 500, 5000]),
    dim=st.sampled_from([1, 3, 64, 200]),
    k=st.sampled_from([1, 7, 20, 600]),
    spread=st.sampled_from([0.0, 1e-20, 1.0, 1e15]),
    seen=st.sampled_from([0, 1, 40]),
)
def test_the_result_is_that_of_scoring_every_item(
    seed: int, n_items: int, dim: int, k: int, spread: float, seen: int
) -> None:
    rng = np.random.default_rng(seed)
    # Lengths differ by orders of magnitude, some items are zero: what is hard on a common scale.
    lengths = rng.exponential(size=(n_items, 1)) ** 3 * (rng.random((n_items, 1)) < 0.9)
    vectors = (rng.normal(size=(n_items, dim)) * lengths * spread).astype(np.float32)
    user = rng.normal(size=dim).astype(np.float32)
    met = rng.choice(n_items, min(seen, n_items), replace=False).astype(np.int32)
    forbidden = np.where(rng.random(n_items) < 0.2, -np.inf, 0.0).astype(np.float32)
    items, scores = Scan(vectors).best(user, k, met, forbidden)
    truth = vectors.astype(np.float64) @ user
    truth[met], truth[np.isinf(forbidden)] = -np.inf, -np.inf
    expected = np.sort(truth)[::-1][:k]
    expected = expected[expected > -np.inf]
    tolerance = 1e-5 * np.linalg.norm(user) * max(float(np.linalg.norm(vectors, axis=1).max()), 1e-30)
    np.testing.assert_allclose(truth[items], expected, atol=tolerance)
    np.testing.assert_allclose(scores, truth[items], atol=tolerance)
    assert len(set(items.tolist())) == len(items)


def test_ties_come_in_the_order_of_the_catalogue() -> None:
    rng = np.random.default_rng(0)
    vectors = rng.integers(-1, 2, (5000, 4)).astype(np.float32)  # sums that floats hold exactly, nearly all tied
    user = np.array([1, 2, 0, -1], np.float32)
    items, _ = Scan(vectors).best(user, 300, np.empty(0, np.int32), None)
    np.testing.assert_array_equal(items, np.argsort(-(vectors @ user), kind="stable")[:300])


def test_a_user_of_zeros_gets_the_first_items() -> None:
    vectors = np.random.default_rng(0).normal(size=(100, 8)).astype(np.float32)
    items, scores = Scan(vectors).best(np.zeros(8, np.float32), 5, np.array([1], np.int32), None)
    assert items.tolist() == [0, 2, 3, 4, 5]
    assert not scores.any()


def test_only_some_items_are_scored_in_full() -> None:
    """Those are copied, which shows in the memory; otherwise the first pass would be useless."""
    vectors = np.random.default_rng(0).normal(size=(20_000, 64)).astype(np.float32)
    scan, user = Scan(vectors), np.random.default_rng(1).normal(size=64).astype(np.float32)
    scan.best(user, 20, np.empty(0, np.int32), None)  # compiles, and makes the arrays that this thread works in
    tracemalloc.start()
    scan.best(user, 20, np.empty(0, np.int32), None)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert 20 * 64 * 4 <= peak < vectors.nbytes / 40
