"""Votes against the plain formula on dense matrices."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_array

from hnlm_ray.data.interactions import Interactions
from hnlm_ray.kernels.incidence import incidence
from hnlm_ray.kernels.votes import add_votes, scaled_votes


@given(seed=st.integers(0, 10_000), users=st.integers(0, 6), items=st.integers(1, 12))
def test_votes_are_sums_of_lists_over_their_deviation(seed: int, users: int, items: int) -> None:
    rng = np.random.default_rng(seed)
    seen = rng.random((users, items)) < 0.3
    lists = np.where(rng.random((items, items)) < 0.4, rng.random((items, items)), 0).astype(np.float32)
    history = Interactions.from_pairs(*np.nonzero(seen), users, items)
    votes = scaled_votes(history, csr_array(lists))
    expected = seen.astype(np.float64) @ lists
    deviations = expected.std(axis=1, keepdims=True)
    expected = np.divide(
        expected,
        deviations,
        out=np.zeros_like(expected),
        where=deviations > 1e-6 * np.abs(expected).max(axis=1, keepdims=True, initial=0),
    )
    np.testing.assert_allclose(votes.toarray(), expected, rtol=1e-3, atol=1e-4)
    scores = rng.normal(size=(users, items)).astype(np.float32)
    added = scores.copy()
    add_votes(added, votes)
    np.testing.assert_allclose(added, scores + votes.toarray(), rtol=1e-6)


def test_a_user_without_history_or_with_equal_votes_for_all_gets_none() -> None:
    history = Interactions.from_pairs(np.array([1]), np.array([0]), 2, 3)
    votes = scaled_votes(history, csr_array(np.ones((3, 3), np.float32)))
    assert not votes.toarray().any()
    assert incidence(history).shape == votes.shape == (2, 3)


def test_the_lists_stay_as_they_are() -> None:
    lists = csr_array(np.eye(3, dtype=np.float32)[[1, 2, 0]])
    before = lists.toarray()
    history = Interactions.from_pairs(np.array([0, 0]), np.array([0, 1]), 1, 3)
    assert scaled_votes(history, lists).toarray() == pytest.approx(np.array([[0.0, 1.0, 1.0]]) / np.std([0, 1, 1]))
    assert np.array_equal(lists.toarray(), before)
