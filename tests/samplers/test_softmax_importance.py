"""Softmax(rho, N): weights are the formula of Shi et al. in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hnlm_ray.config.samplers import SoftmaxImportanceOptions
from hnlm_ray.samplers.candidates import UnseenItems
from hnlm_ray.samplers.softmax_importance import SoftmaxImportanceSampler, importance_log_weights
from hnlm_ray.testing.samplers import Tables, scene_of, setting_of
from hnlm_ray.testing.worlds import random_world

TRAIN, _ = random_world(7, 20, 0.3, 3)
SCENE = scene_of(TRAIN, Tables.random(TRAIN))


@pytest.mark.parametrize("rho", [0.1, 1.0, 10.0])
def test_weights_are_a_softmax_of_losses_over_a_temperature_of_their_own(rho: float) -> None:
    found = SoftmaxImportanceSampler(SoftmaxImportanceOptions(candidates=6, rho=rho), setting_of(TRAIN, 5))(SCENE)
    drawn = UnseenItems(TRAIN, 0, torch.device("cpu")).draw(SCENE.users, SCENE.places, 1, 6)
    assert torch.equal(found.vectors, SCENE.table[drawn])
    user, positive, table = (part.detach().double().numpy() for part in (SCENE.user, SCENE.positive, SCENE.table))
    assert found.log_weights is not None
    for pair, items in enumerate(drawn.tolist()):
        gaps = positive[pair] @ user[pair] - table[items] @ user[pair]
        losses = -np.log(1.0 / (1.0 + np.exp(-gaps)))
        weights = np.exp(losses / np.sqrt(losses.var() / (2.0 * rho)))
        np.testing.assert_allclose(found.log_weights[pair].exp(), weights / weights.sum(), rtol=1e-3)


def test_a_larger_rho_looks_at_harder_negatives() -> None:
    losses = torch.rand(50, 9, generator=torch.Generator().manual_seed(0))
    means = [(importance_log_weights(losses, rho).exp() * losses).sum(dim=1) for rho in (0.01, 1.0, 100.0)]
    assert (means[0] < means[1]).all()
    assert (means[1] < means[2]).all()
    torch.testing.assert_close(means[2], losses.max(dim=1).values, rtol=0.05, atol=0.05)


def test_equal_losses_weigh_alike_and_extreme_ones_stay_finite() -> None:
    for losses in (torch.full((2, 4), 3.0), torch.ones(2, 1), torch.tensor([[0.0, 1e30], [1e-30, 0.0]])):
        weights = importance_log_weights(losses, 1.0).exp()
        assert weights.isfinite().all()
        torch.testing.assert_close(weights.sum(dim=1), torch.ones(2))
    torch.testing.assert_close(importance_log_weights(torch.full((1, 4), 3.0), 1.0).exp(), torch.full((1, 4), 0.25))
