"""The plain sampler: never a positive, uniform over the rest, and the same on any shard."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from hnlm_ray.data.interactions import Interactions
from hnlm_ray.samplers.uniform import UniformSampler
from hnlm_ray.testing.worlds import random_world


def pairs_of(train: Interactions) -> tuple[np.ndarray, np.ndarray]:
    return train.users, train.items


@given(n_users=st.integers(1, 30), n_items=st.integers(2, 40), density=st.floats(0.0, 1.0), seed=st.integers(0, 2**31))
@settings(max_examples=80, deadline=None)
def test_never_draws_what_the_user_has_met(n_users: int, n_items: int, density: float, seed: int) -> None:
    train, _ = random_world(n_users, n_items, density, seed)
    users, items = pairs_of(train)
    for epoch in (1, 2, 3):
        negatives = UniformSampler(train, seed).draw(users, items, epoch)
        assert negatives.dtype == np.int32
        assert ((negatives >= 0) & (negatives < n_items)).all()
        assert not train.contains(users, negatives).any()


def test_every_unmet_item_is_equally_likely() -> None:
    train, _ = random_world(6, 17, 0.5, 3)
    sampler = UniformSampler(train, 11)
    for user in range(train.n_users):
        met = train.row(user)
        users = np.full(len(met), user, dtype=np.int32)
        draws = np.concatenate([sampler.draw(users, met, epoch) for epoch in range(2000)])
        counts = np.bincount(draws, minlength=train.n_items)
        assert counts[met].sum() == 0
        unmet = np.setdiff1d(np.arange(train.n_items), met)
        assert stats.chisquare(counts[unmet]).pvalue > 1e-4


@given(cut=st.integers(0, 20), seed=st.integers(0, 1000), epoch=st.integers(1, 50))
@settings(max_examples=40, deadline=None)
def test_draws_do_not_depend_on_the_shard(cut: int, seed: int, epoch: int) -> None:
    train, _ = random_world(20, 30, 0.3, seed)
    whole = UniformSampler(train, seed).draw(*pairs_of(train), epoch)
    parts = []
    for first, last in ((0, cut), (cut, 20)):
        block = train.slice_users(first, last)
        parts.append(UniformSampler(block, seed, first_user=first).draw(*pairs_of(block), epoch))
    np.testing.assert_array_equal(np.concatenate(parts), whole)


def test_draws_change_with_epoch_and_seed_and_not_with_order() -> None:
    train, _ = random_world(50, 200, 0.1, 0)
    users, items = pairs_of(train)
    first = UniformSampler(train, 0).draw(users, items, 1)
    assert (first != UniformSampler(train, 0).draw(users, items, 2)).mean() > 0.9
    assert (first != UniformSampler(train, 1).draw(users, items, 1)).mean() > 0.9
    order = np.random.default_rng(0).permutation(len(users))
    np.testing.assert_array_equal(UniformSampler(train, 0).draw(users[order], items[order], 1), first[order])


def test_a_user_who_has_met_every_item_gets_none() -> None:
    train = Interactions.from_pairs(np.array([0, 0, 0, 1, 1]), np.array([0, 1, 2, 0, 2]), n_users=2, n_items=3)
    negatives = UniformSampler(train, 0).draw(*pairs_of(train), 1)
    np.testing.assert_array_equal(negatives, [-1, -1, -1, 1, 1])
