from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from hnlm_ray import seeds


def test_seeds_are_fixed_for_ever() -> None:
    assert seeds.derive(0, "train", 1) == 4090105134959256791


@given(st.integers(0, 2**40), st.integers(0, 2**31))
def test_purposes_do_not_collide_by_spelling(seed: int, number: int) -> None:
    assert seeds.derive(seed, "a", number) != seeds.derive(seed, "a", str(number))
    assert seeds.derive(seed, "a", "b") != seeds.derive(seed, "ab")


@given(st.integers(0, 2**62), st.lists(st.integers(0, 2**62), min_size=1, max_size=50))
def test_a_word_depends_on_its_counter_alone(key: int, counters: list[int]) -> None:
    array = np.array(counters, dtype=np.int64)
    together = seeds.hash_counters(key, array)
    assert together.tolist() == [seeds.hash_counters(key, array[i : i + 1])[0] for i in range(len(array))]


def test_integers_are_uniform() -> None:
    drawn = seeds.uniform_integers(seeds.derive(1, "x"), np.arange(200_000), 37)
    assert drawn.min() == 0
    assert drawn.max() == 36
    assert stats.chisquare(np.bincount(drawn, minlength=37)).pvalue > 1e-3
