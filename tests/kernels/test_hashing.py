"""Words on tensors are those of NumPy bit for bit, and rows of endless tables do not depend on who asks."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from hnlm_ray import seeds
from hnlm_ray.kernels.hashing import hash_words, random_below, uniform_rows

keys = st.integers(0, 2**63 - 1)
counters = st.lists(st.integers(-(2**63), 2**63 - 1), max_size=20)


@given(key=keys, numbers=counters)
def test_words_are_those_of_numpy_bit_for_bit(key: int, numbers: list[int]) -> None:
    array = np.array(numbers, dtype=np.int64)
    given_back = array.copy()
    words = hash_words(key, torch.from_numpy(array))
    np.testing.assert_array_equal(words.numpy().view(np.uint64), seeds.hash_counters(key, array))
    np.testing.assert_array_equal(array, given_back)


@given(key=keys, numbers=counters, bound=st.integers(1, 2**31 - 1))
def test_integers_are_those_of_numpy_and_below_their_bound(key: int, numbers: list[int], bound: int) -> None:
    array = np.array(numbers, dtype=np.int64)
    drawn = random_below(key, torch.from_numpy(array), bound)
    assert ((drawn >= 0) & (drawn < bound)).all()
    np.testing.assert_array_equal(drawn.numpy(), seeds.uniform_integers(key, array, bound))
    each = random_below(key, torch.from_numpy(array), torch.full(array.shape, bound))
    assert torch.equal(drawn, each)


def test_integers_are_alike_and_independent_of_their_neighbours() -> None:
    drawn = random_below(5, torch.arange(60_000), 6).numpy()
    assert stats.chisquare(np.bincount(drawn, minlength=6)).pvalue > 1e-4
    assert stats.chisquare(np.bincount(drawn[:-1] * 6 + drawn[1:], minlength=36)).pvalue > 1e-4


@given(first=st.integers(0, 2500), size=st.integers(0, 1500))
def test_rows_are_a_slice_of_one_endless_table(first: int, size: int) -> None:
    whole = uniform_rows(3, ("table", 1), 0, 4000, 2)
    rows = uniform_rows(3, ("table", 1), first, first + size, 2)
    assert rows.shape == (size, 2)
    assert torch.equal(rows, whole[first : first + size])


def test_rows_are_uniform_and_differ_by_seed_and_purpose() -> None:
    rows = uniform_rows(3, ("table", 1), 0, 3000, 4)
    assert rows.dtype == torch.float32
    assert stats.kstest(rows.numpy().ravel(), "uniform").pvalue > 1e-4
    assert not torch.equal(rows, uniform_rows(4, ("table", 1), 0, 3000, 4))
    assert not torch.equal(rows, uniform_rows(3, ("table", 2), 0, 3000, 4))
    assert not torch.equal(rows[:1024], rows[1024:2048])
