"""The plain sampler: the rest of the catalogue alike, by each way to treat what the user has met."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from hnlm_ray.config.samplers import UniformOptions
from hnlm_ray.samplers.uniform import UniformSampler
from hnlm_ray.testing.samplers import Tables, scene_of, setting_of
from hnlm_ray.testing.worlds import random_world

TRAIN, _ = random_world(6, 17, 0.5, 3)
TABLES = Tables.random(TRAIN, dim=2)
SCENE = scene_of(TRAIN, TABLES)
MANY = 1500


def drawn_by(options: UniformOptions, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor | None]:
    found = UniformSampler(options, setting_of(TRAIN, 2, seed=seed))(SCENE)
    assert found.items is not None
    return found.items, found.log_weights


def counts_of(items: torch.Tensor, user: int) -> np.ndarray:
    return np.bincount(items[SCENE.users == user].ravel().numpy(), minlength=TRAIN.n_items)


def test_every_unmet_item_is_equally_likely() -> None:
    items, log_weights = drawn_by(UniformOptions(negatives=MANY))
    assert log_weights is None
    for user in range(TRAIN.n_users):
        counts, met = counts_of(items, user), TRAIN.row(user)
        assert counts[met].sum() == 0
        assert stats.chisquare(np.delete(counts, met)).pvalue > 1e-4


def test_without_rejection_met_items_are_drawn_and_used() -> None:
    items, log_weights = drawn_by(UniformOptions(negatives=MANY, rejection="none"))
    assert log_weights is None
    for user in range(TRAIN.n_users):
        assert stats.chisquare(counts_of(items, user)).pvalue > 1e-4


def test_skipped_draws_are_the_met_ones_and_count_for_nothing() -> None:
    items, log_weights = drawn_by(UniformOptions(negatives=MANY, rejection="skip"))
    assert log_weights is not None
    met = TRAIN.contains(SCENE.users.numpy()[:, None], items.numpy())
    assert met.any()
    np.testing.assert_array_equal(log_weights.numpy(), np.where(met, -np.inf, 0.0))
    for user in range(TRAIN.n_users):
        assert stats.chisquare(counts_of(items, user)).pvalue > 1e-4


@pytest.mark.parametrize("rejection", ["exact", "skip", "none"])
def test_a_shared_draw_is_the_same_for_all_and_masked_for_each(rejection: str) -> None:
    options = UniformOptions(negatives=400, shared=True, rejection=rejection)  # type: ignore[arg-type]
    found = UniformSampler(options, setting_of(TRAIN, 2))(SCENE)
    assert found.items is not None
    assert found.items.shape == (400,)
    assert torch.equal(found.vectors, SCENE.table[found.items])
    assert stats.chisquare(np.bincount(found.items.numpy(), minlength=TRAIN.n_items)).pvalue > 1e-4
    if rejection == "none":
        assert found.log_weights is None
        return
    met = TRAIN.contains(SCENE.users.numpy()[:, None], found.items.numpy()[None, :])
    assert found.log_weights is not None
    np.testing.assert_array_equal(found.log_weights.numpy(), np.where(met, -np.inf, 0.0))


def test_vectors_are_the_rows_of_the_items() -> None:
    found = UniformSampler(UniformOptions(negatives=3), setting_of(TRAIN, 2))(SCENE)
    assert found.items is not None
    assert torch.equal(found.vectors, SCENE.table[found.items])
