"""Pair policy: how many, whose, and that neither order nor shard matters."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hnlm_ray.config.language import NegativesConfig
from hnlm_ray.errors import ConfigError
from hnlm_ray.language.pairs import choose_pairs

N_ITEMS = 50


@st.composite
def train_pairs(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    pairs = draw(st.sets(st.tuples(st.integers(0, 20), st.integers(0, N_ITEMS - 1)), min_size=1, max_size=150))
    user, item = np.array(sorted(pairs), np.int32).T
    return user, item


def choose(user: np.ndarray, item: np.ndarray, seed: int = 0, **policy: object) -> np.ndarray:
    """Chosen from parts of seven users, as they are read from a file."""
    pairs = user.astype(np.int64) * N_ITEMS + item
    parts = [pairs[user // 7 == number] for number in range(4)]
    return choose_pairs(parts, N_ITEMS, NegativesConfig(**policy), seed)


@given(train_pairs())
def test_all_is_every_train_pair(pairs: tuple[np.ndarray, np.ndarray]) -> None:
    user, item = pairs
    assert choose(user, item, policy="all").tolist() == sorted((user.astype(int) * N_ITEMS + item).tolist())


@given(train_pairs(), st.integers(1, 5))
def test_per_user_takes_as_many_of_each_user_as_there_are(pairs: tuple[np.ndarray, np.ndarray], n: int) -> None:
    user, item = pairs
    chosen = choose(user, item, policy="per_user", per_user=n)
    assert set(chosen.tolist()) <= set((user.astype(int) * N_ITEMS + item).tolist())
    assert len(set(chosen.tolist())) == len(chosen)
    has = np.bincount(user, minlength=21)
    assert np.bincount(chosen // N_ITEMS, minlength=21).tolist() == np.minimum(has, n).tolist()


@given(train_pairs(), st.integers(1, 200), st.randoms())
def test_the_choice_does_not_depend_on_the_order(pairs: tuple[np.ndarray, np.ndarray], n: int, random: object) -> None:
    user, item = pairs
    order = np.random.default_rng(n).permutation(len(user))
    for policy in ({"policy": "budget", "budget": n}, {"policy": "per_user", "per_user": n}):
        assert choose(user, item, **policy).tolist() == choose(user[order], item[order], **policy).tolist()


@given(train_pairs(), st.integers(1, 100))
def test_a_larger_budget_keeps_what_a_smaller_one_chose(pairs: tuple[np.ndarray, np.ndarray], n: int) -> None:
    small = choose(*pairs, policy="budget", budget=n)
    large = choose(*pairs, policy="budget", budget=n + 7)
    assert len(small) == min(n, len(pairs[0]))
    assert set(small.tolist()) <= set(large.tolist())


def test_one_user_is_chosen_the_same_alone_as_among_others() -> None:
    rng = np.random.default_rng(0)
    user = np.repeat(np.arange(30, dtype=np.int32), 12)
    item = np.concatenate([rng.choice(N_ITEMS, 12, replace=False) for _ in range(30)]).astype(np.int32)
    together = choose(user, item, policy="per_user", per_user=3)
    alone = choose(user[user == 7], item[user == 7], policy="per_user", per_user=3)
    assert together[together // N_ITEMS == 7].tolist() == alone.tolist()


def test_another_seed_chooses_other_pairs_and_all_are_equally_likely() -> None:
    user = np.repeat(np.arange(40, dtype=np.int32), 10)
    item = np.tile(np.arange(10, dtype=np.int32), 40)
    counts = np.zeros(10)
    for seed in range(50):
        chosen = choose(user, item, seed, policy="budget", budget=100)
        counts += np.bincount(chosen % N_ITEMS, minlength=10)
    assert counts.sum() == 50 * 100
    # 500 expected of each item; the standard deviation of a draw without replacement is about 19.
    assert np.abs(counts - 500).max() < 5 * 19


def test_no_train_pair_is_an_error_not_an_empty_table() -> None:
    with pytest.raises(ConfigError, match="no pair"):
        choose(np.zeros(0, np.int32), np.zeros(0, np.int32))
