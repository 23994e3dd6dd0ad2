"""Draws from unmet items: every number below the unmet weight belongs to the right item."""

from __future__ import annotations

from unittest import mock

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hnlm_ray.data.interactions import Interactions
from hnlm_ray.samplers import candidates
from hnlm_ray.samplers.candidates import UnseenItems, integer_weights

CPU = torch.device("cpu")


def in_turn(key: int, counters: torch.Tensor, bound: torch.Tensor | int) -> torch.Tensor:
    """Instead of a random number, each one below the bound, over and over."""
    return counters % bound


@st.composite
def weighted_worlds(draw: st.DrawFn) -> tuple[Interactions, np.ndarray]:
    n_items = draw(st.integers(2, 8))
    met = draw(st.lists(st.sets(st.integers(0, n_items - 1), max_size=n_items - 1), min_size=1, max_size=4))
    users = np.array([user for user, items in enumerate(met) for _ in items], dtype=int)
    items = np.array([item for items in met for item in items], dtype=int)
    weights = np.array(draw(st.lists(st.integers(1, 9), min_size=n_items, max_size=n_items)))
    return Interactions.from_pairs(users, items, len(met), n_items), weights


@given(world=weighted_worlds())
def test_every_unmet_item_covers_as_many_numbers_as_it_weighs(world: tuple[Interactions, np.ndarray]) -> None:
    train, weights = world
    for given_weights in (None, weights):
        each = np.ones(train.n_items, dtype=np.int64) if given_weights is None else weights
        items = UnseenItems(train, 0, CPU, weights=given_weights)
        for user in range(train.n_users):
            unmet = np.setdiff1d(np.arange(train.n_items), train.row(user))
            n = int(each[unmet].sum())
            with mock.patch.object(candidates, "random_below", in_turn):
                drawn = items.draw(torch.tensor([user]), torch.tensor([0]), 1, n).numpy().ravel()
            expected = np.where(np.isin(np.arange(train.n_items), unmet), each, 0)
            np.testing.assert_array_equal(np.bincount(drawn, minlength=train.n_items), expected)


@given(world=weighted_worlds())
def test_without_rejection_and_for_a_whole_batch_every_item_covers_its_weight(
    world: tuple[Interactions, np.ndarray],
) -> None:
    train, weights = world
    items = UnseenItems(train, 0, CPU, weights=weights, reject=False)
    n = int(weights.sum())
    with mock.patch.object(candidates, "random_below", in_turn):
        drawn = items.draw(torch.tensor([0]), torch.tensor([0]), 1, n).numpy().ravel()
        shared = items.shared(1, 0, n).numpy()
    np.testing.assert_array_equal(np.bincount(drawn, minlength=train.n_items), weights)
    np.testing.assert_array_equal(np.bincount(shared, minlength=train.n_items), weights)


def test_a_draw_belongs_to_its_place_whatever_else_is_drawn() -> None:
    train = Interactions.from_pairs(np.array([0, 1, 1]), np.array([0, 3, 5]), 2, 50)
    items = UnseenItems(train, 7, CPU)
    users, places = torch.tensor([0, 1, 0, 1]), torch.tensor([9, 2, 5, 4])
    whole = items.draw(users, places, 3, 6)
    assert torch.equal(items.draw(users[2:], places[2:], 3, 6), whole[2:])
    assert not torch.equal(whole[0], whole[2])
    for other in (items.draw(users, places, 4, 6), UnseenItems(train, 8, CPU).draw(users, places, 3, 6)):
        assert (whole != other).float().mean() > 0.7
    first, second = items.shared(3, 0, 40), items.shared(3, 1, 40)
    assert (first != second).float().mean() > 0.7


@given(
    weights=st.lists(st.floats(1e-300, 1e300), min_size=1, max_size=30),
)
def test_integer_weights_fit_and_keep_their_proportions(weights: list[float]) -> None:
    given_weights = np.array(weights) / max(weights)
    whole = integer_weights(given_weights)
    assert whole.min() >= 1
    assert whole.sum() < 2**31
    np.testing.assert_allclose(whole / whole.sum(), given_weights / given_weights.sum(), atol=1e-7)


@pytest.mark.parametrize("heavy", [0, 999])
def test_one_item_that_outweighs_all_others_leaves_them_drawable(heavy: int) -> None:
    weights = np.ones(1000)
    weights[heavy] = 1e12
    train = Interactions.from_pairs(np.array([0]), np.array([heavy]), 2, 1000)
    items = UnseenItems(train, 0, CPU, weights=integer_weights(weights))
    met, unmet = (items.draw(torch.tensor([user]), torch.tensor([0]), 1, 3000).unique() for user in (0, 1))
    assert heavy not in met
    assert len(met) > 900
    assert unmet.tolist() == [heavy]
