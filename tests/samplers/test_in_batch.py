"""Positives of the batch as negatives: masked for who has met them, corrected for how often they come."""

from __future__ import annotations

import numpy as np
import torch

from hnlm_ray.config.samplers import InBatchOptions
from hnlm_ray.data.interactions import Interactions
from hnlm_ray.samplers.in_batch import InBatchSampler
from hnlm_ray.testing.samplers import Tables, scene_of, setting_of
from hnlm_ray.testing.worlds import random_world

TRAIN, _ = random_world(9, 12, 0.3, 1)
SCENE = scene_of(TRAIN, Tables.random(TRAIN))


def test_negatives_are_the_batch_and_weigh_one_over_their_share() -> None:
    found = InBatchSampler(InBatchOptions(), setting_of(TRAIN, 5))(SCENE)
    assert SCENE.batch_items is not None
    assert torch.equal(found.vectors, SCENE.table[SCENE.batch_items])
    batch = SCENE.batch_items.numpy()
    met = TRAIN.contains(SCENE.users.numpy()[:, None], batch[None, :])
    with np.errstate(divide="ignore"):
        expected = np.where(met, -np.inf, -np.log(TRAIN.item_popularity[batch] / len(TRAIN))[None, :])
    assert found.log_weights is not None
    np.testing.assert_allclose(found.log_weights, expected, rtol=1e-5)
    own = found.log_weights[torch.arange(len(batch)), SCENE.positions]
    assert (own == -torch.inf).all()


def test_without_the_correction_all_count_alike() -> None:
    found = InBatchSampler(InBatchOptions(correct=False), setting_of(TRAIN, 5))(SCENE)
    assert found.log_weights is not None
    assert set(found.log_weights.ravel().tolist()) == {0.0, -np.inf}


def test_the_corrected_sum_over_a_batch_estimates_that_over_the_catalogue() -> None:
    """With every pair in the batch the estimate of a sum over all unmet items that anyone has met is exact."""
    found = InBatchSampler(InBatchOptions(), setting_of(TRAIN, 5))(SCENE)
    assert found.log_weights is not None
    scores = SCENE.user @ found.vectors.T
    estimate = (torch.exp(scores) * found.log_weights.exp()).sum(dim=1) / len(TRAIN)
    met = torch.from_numpy(TRAIN.contains(SCENE.users.numpy()[:, None], np.arange(12)[None, :]))
    known = torch.from_numpy(TRAIN.item_popularity > 0)
    exact = (torch.exp(SCENE.user @ SCENE.table.T) * (known & ~met)).sum(dim=1)
    torch.testing.assert_close(estimate, exact, rtol=1e-4, atol=1e-4)


def test_a_batch_whose_items_the_user_has_all_met_leaves_nothing() -> None:
    train = Interactions.from_pairs(np.array([0, 0]), np.array([0, 1]), 1, 3)
    scene = scene_of(train, Tables.random(train))
    weights = InBatchSampler(InBatchOptions(), setting_of(train, 5))(scene).log_weights
    assert weights is not None
    assert (weights == -torch.inf).all()
